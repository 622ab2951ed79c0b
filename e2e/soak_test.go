package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// soakTime is after how long a soak ends, however far it is.
const soakTime = 15 * time.Minute

// holding is what the processes hold at one time.
type holding struct {
	calls                      int
	envoy, plane               int64 // bytes in main memory
	envoyFiles, planeFiles     int   // open
	goroutines, wasm, heldByUs int64 // the control plane's; the filter's bytes; Envoy's own bytes
}

// Calls of every kind go on and on, with clients that go away, errors, changes of keys and cut connections among them.
// Neither Envoy nor the control plane holds more and more: files and goroutines stay as they are, and in the long form
// memory does too.
func TestSoak(t *testing.T) {
	samples, calls := 20, harness.Scale(8_000, 2_000_000)
	seed := harness.Seed(t)
	s, relay := relayed(t, seed, map[string]string{"KEYWHEEL_REPORT_INTERVAL": "1s", "KEYWHEEL_PUSH_INTERVAL": ""})
	loads := soakLoads(t, s)
	c := adminOf(t, s.Keywheel)
	var held []holding
	begun := time.Now()
	for i := range samples {
		for _, l := range loads[:len(loads)-1] { // those that are cut take their time
			l.more(t, calls/samples/len(loads))
		}
		priority := 10 + i%2
		if _, err := c.ChangeKey(harness.Context(t), "2", admin.KeyFields{Priority: &priority}); err != nil {
			t.Fatal(err)
		}
		if i%5 == 2 {
			relay.Cut()
		}
		held = append(held, holds(t, s, loads))
		t.Logf("after %s: %+v", time.Since(begun).Round(time.Second), held[i])
		if time.Since(begun) > soakTime {
			break
		}
	}
	for _, l := range loads {
		l.Stop()
	}
	if len(held) < 8 {
		t.Fatalf("%d samples in %s say nothing", len(held), time.Since(begun))
	}
	early, late := held[len(held)/4:len(held)/2], held[3*len(held)/4:]
	for what, of := range map[string]func(holding) int64{
		"files of Envoy's":      func(h holding) int64 { return int64(h.envoyFiles) },
		"files of Keywheel's":   func(h holding) int64 { return int64(h.planeFiles) },
		"goroutines":            func(h holding) int64 { return h.goroutines },
		"bytes of Envoy's":      func(h holding) int64 { return h.envoy },
		"bytes of Keywheel's":   func(h holding) int64 { return h.plane },
		"bytes of the filter's": func(h holding) int64 { return h.wasm },
	} {
		before, after := median(early, of), median(late, of)
		slope := float64(after-before) / float64(late[len(late)/2].calls-early[len(early)/2].calls) * 1000
		t.Logf("%s: %d, later %d: %.2f for each 1,000 calls", what, before, after, slope)
		if most := before + before/10 + 16; after > most && (harness.Soak() || before < 1<<16) {
			t.Errorf("%s grew from %d to %d", what, before, after)
		}
	}
}

// soakLoads are calls of every kind that clients make at once.
func soakLoads(t *testing.T, s *harness.Stack) []*served {
	t.Helper()
	var loads []*served
	for _, kind := range []struct {
		client *harness.Client
		call   harness.Call
		status int
	}{
		{s.H1, harness.Call{}, 200},
		{s.H2, harness.Call{Stream: true, IncludeUsage: true}, 200},
		{s.H2, harness.Call{Pad: 20_000}, 200},
		{s.H1, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.BadRequest}}, 400},
		{s.H1, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.ResetMid}, Stream: true}, 200}, // is cut
	} {
		l := &served{}
		failed := 0
		l.Load = harness.StartLoad(t, kind.client, 2, kind.call, func(_ int, a harness.Answer, err error) bool {
			l.calls++
			if cut := kind.call.Script.Fault == fakegroq.ResetMid; err != nil || a.Status != kind.status || (a.Err != nil) != cut {
				t.Errorf("call %d: %v, %s", l.calls, err, a)
				failed++
			}
			return failed < 10
		})
		loads = append(loads, l)
	}
	return loads
}

func median(of []holding, what func(holding) int64) int64 {
	var all []int64
	for _, h := range of {
		all = append(all, what(h))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// holds is what the processes hold now.
func holds(t *testing.T, s *harness.Stack, loads []*served) holding {
	t.Helper()
	m := s.Envoy.Memory(t)
	h := holding{
		envoy: m.Process, wasm: m.Wasm, heldByUs: m.Allocated, plane: harness.ResidentMemory(t, s.Keywheel.Pid()),
		envoyFiles: openFiles(t, s.Envoy.Pid()), planeFiles: openFiles(t, s.Keywheel.Pid()),
	}
	for _, l := range loads {
		l.Look(func() { h.calls += l.calls })
	}
	found := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(s.Keywheel.Page(t, "/metrics"))
	if found == nil {
		t.Fatal("/metrics shows no go_goroutines")
	}
	var err error
	if h.goroutines, err = strconv.ParseInt(found[1], 10, 64); err != nil {
		t.Fatal(err)
	}
	return h
}

// openFiles is how many files and connections a process has open.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
