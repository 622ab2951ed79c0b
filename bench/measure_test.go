package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// figures are what one way does with one shape of call.
type figures struct {
	rate       []float64 // calls a second over many connections, one value a round
	cpu        []float64 // microseconds of Envoy's CPU a call, one value a round
	one, many  []float64 // microseconds of single calls over one connection, and over many, of all rounds
	oneMedians []float64 // of each round
}

func sorted(v []float64) []float64 { return slices.Sorted(slices.Values(v)) }

func median(v []float64) float64 { return percentile(v, 50) }

func percentile(v []float64, p int) float64 {
	v = sorted(v)
	return v[(len(v)-1)*p/100]
}

// cpu is the microseconds of CPU that a process's threads have used, by the kernel's scheduler; 0 for none.
func cpu(t testing.TB, pid int) float64 {
	t.Helper()
	if pid == 0 {
		return 0
	}
	stats, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "schedstat"))
	if err != nil || len(stats) == 0 {
		t.Fatalf("process %d shows no schedstat: %v", pid, err)
	}
	var sum float64
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(content), " ")
		n, err := strconv.ParseFloat(ns, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum / 1e3
}

// rss is a process's resident memory in megabytes.
func rss(t testing.TB, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb float64
			if _, err := fmt.Sscan(v, &kb); err != nil {
				t.Fatal(err)
			}
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
