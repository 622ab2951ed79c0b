package harness

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// Memory is what a process holds in main memory, in bytes.
type Memory struct {
	Now  int64
	Peak int64 // since ResetPeak
}

// MemoryOf reads a process's memory, as the kernel shows it.
func MemoryOf(t testing.TB, pid int) Memory {
	t.Helper()
	status := procFile(t, pid, "status")
	read := func(field string) int64 {
		found := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindStringSubmatch(status)
		if found == nil {
			t.Fatalf("process %d shows no %s", pid, field)
		}
		kib, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
	return Memory{Now: read("VmRSS"), Peak: read("VmHWM")}
}

// ResetPeak makes Memory.Peak begin anew.
func ResetPeak(t testing.TB, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}
