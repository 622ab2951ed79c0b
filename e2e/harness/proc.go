package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Environ is a process's environment as it was started with, as the kernel shows it.
func Environ(t testing.TB, pid int) string {
	t.Helper()
	return procFile(t, pid, "environ")
}

// CommandLine is a process's arguments, as the kernel shows them.
func CommandLine(t testing.TB, pid int) string {
	t.Helper()
	return procFile(t, pid, "cmdline")
}

func procFile(t testing.TB, pid int, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// EnvoyPid is the Envoy that `keywheel run` started.
func (k *Keywheel) EnvoyPid(t testing.TB) int {
	t.Helper()
	var envoy int
	Eventually(t, "keywheel run has an Envoy", func() error {
		if err := k.alive(); err != nil {
			t.Fatal(err)
		}
		var err error
		envoy, err = childOf(k.Pid(), "--use-dynamic-base-id", "envoy")
		return err
	})
	return envoy
}

// childOf finds the child of a process whose command line holds one of these words.
func childOf(parent int, words ...string) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// The name stands in brackets and may hold anything; the state and the parent come after it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		commandLine, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err != nil {
			continue
		}
		for _, w := range words {
			if strings.Contains(string(commandLine), w) {
				return strconv.Atoi(filepath.Base(filepath.Dir(path)))
			}
		}
	}
	return 0, fmt.Errorf("process %d has no child that is an Envoy", parent)
}
