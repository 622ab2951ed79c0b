package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// A call costs Envoy hardly more with a thousand keys than with three, measured side by side; a change of one of a thousand
// is in force as soon as any; and the account of a thousand keys is exact.
func TestThousandKeys(t *testing.T) {
	const few, many, clients = 3, 1000, 4
	rounds, calls := harness.Scale(4, 20), 2000
	seed := harness.Seed(t)
	stacks := map[int]*harness.Stack{}
	for _, n := range []int{few, many} {
		keys := harness.Keys(n, 1_000_000)
		stacks[n] = harness.Start(t, harness.Options{
			Keys:     keys,
			Groq:     fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, 100), Remember: -1},
			Settings: map[string]string{"KEYWHEEL_REPORT_INTERVAL": "1s"},
		})
	}
	cost := map[int]time.Duration{}
	for range rounds {
		for _, n := range []int{few, many} {
			s := stacks[n]
			before := cpuTime(t, s.Envoy.Pid())
			load := startServed(t, s, clients)
			load.more(t, calls)
			load.Stop()
			cost[n] += (cpuTime(t, s.Envoy.Pid()) - before) / time.Duration(load.calls)
		}
	}
	ratio := float64(cost[many]) / float64(cost[few])
	s := stacks[many]
	c := adminOf(t, s.Keywheel)
	priority := 7
	begun := time.Now()
	changed, err := c.ChangeKey(harness.Context(t), "900", admin.KeyFields{Priority: &priority})
	if err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitGranted(t, changed.Generation)
	t.Logf("CPU of a call: %s with %d keys, %s with %d: %.2f times; a change was in force after %s; Envoy of %d keys: %+v, of %d: %+v",
		cost[few]/time.Duration(rounds), few, cost[many]/time.Duration(rounds), many, ratio, time.Since(begun),
		few, stacks[few].Envoy.Memory(t), many, s.Envoy.Memory(t))
	if ratio > 3 {
		t.Errorf("a call with %d keys costs %.1f times one with %d", many, ratio, few)
	}
	for _, n := range []int{few, many} {
		stacks[n].AssertOracle(t)
	}
}

// cpuTime is what a process has used of the processor, in the kernel's ticks of 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // user and system
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
