package harness

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// Memory is what an Envoy holds, in bytes.
type Memory struct {
	Process   int64 // in main memory, all in all
	Wasm      int64 // linear memory of all its Wasm VMs; it never shrinks
	Allocated int64 // by Envoy itself, as its allocator counts; 0 where only the kernel was asked
}

// Memory is what this Envoy holds, as the kernel and Envoy's own allocator show it.
func (e *Envoy) Memory(t testing.TB) Memory {
	t.Helper()
	m := MemoryOf(t, e.Pid())
	m.Allocated = gjson.Get(e.AdminGet(t, "/memory"), "allocated").Int()
	if m.Allocated == 0 {
		t.Fatal("envoy's /memory shows nothing allocated")
	}
	return m
}

// ResidentMemory is what a process holds in main memory, in bytes.
func ResidentMemory(t testing.TB, pid int) int64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindStringSubmatch(procFile(t, pid, "status"))
	if found == nil {
		t.Fatalf("process %d shows no VmRSS", pid)
	}
	kib, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// MemoryOf reads an Envoy's memory, as the kernel shows it.
func MemoryOf(t testing.TB, pid int) Memory {
	t.Helper()
	m := Memory{Process: ResidentMemory(t, pid), Wasm: linearMemory(procFile(t, pid, "maps"))}
	if m.Wasm == 0 {
		t.Fatalf("process %d has no Wasm VM, or one whose memory is not seen:\n%s", pid, procFile(t, pid, "maps"))
	}
	return m
}

// linearMemory finds Wasm VMs' memory in a process's mappings: V8 reserves the whole 4 GiB that a module could address,
// and more, behind what is in use.
func linearMemory(maps string) int64 {
	var sum int64
	var usedEnd, used uint64 // of the newest mapping that can be written
	for line := range strings.Lines(maps) {
		var start, end uint64
		var mode string
		if n, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); n != 3 || err != nil {
			continue
		}
		switch mode {
		case "rw-p":
			usedEnd, used = end, end-start
		case "---p":
			if start == usedEnd && end-start > 4<<30 {
				sum += int64(used)
			}
		}
	}
	return sum
}
