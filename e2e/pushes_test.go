package e2e

import (
	"slices"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// pusher changes the assignment over and over, and sees that each change reaches Envoy.
type pusher struct {
	*harness.Stack
	relay   *harness.Relay
	changes int
}

// push has so many assignments, each other than the one before, taken over by both roles, one after the other.
func (p *pusher) push(t *testing.T, n int) {
	t.Helper()
	c := adminOf(t, p.Keywheel)
	for range n {
		before := p.Envoy.Reloads(t)
		p.changes++
		priority := 10 + p.changes%2
		if _, err := c.ChangeKey(harness.Context(t), "2", admin.KeyFields{Priority: &priority}); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "Envoy takes an assignment over", func() error { return p.Envoy.Reloaded(t, before+1) })
	}
}

// longestWait is the longest time between two acknowledged reports, as the filter got their answers, from begun to ended.
func (p *pusher) longestWait(begun, ended time.Time) time.Duration {
	var longest time.Duration
	last := begun
	for _, r := range p.relay.Reports() {
		if r.Acked.After(last) && r.Acked.Before(ended) {
			longest = max(longest, r.Acked.Sub(last))
			last = r.Acked
		}
	}
	return max(longest, ended.Sub(last))
}

// Assignments that change are pushed to an Envoy under load as often as settings allow. No call fails, reports are
// acknowledged as often as they are without pushes, and what Envoy keeps of each push is next to nothing.
func TestManyPushes(t *testing.T) {
	const interval = time.Second
	warm, pushes, most := harness.Scale(60, 200), harness.Scale(120, 1800), int64(2<<10)
	seed := harness.Seed(t)
	p := &pusher{}
	p.Stack = harness.Start(t, harness.Options{
		Keys:      harness.Keys(3, 0),
		Groq:      fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, 400), Remember: -1},
		Settings:  map[string]string{"KEYWHEEL_PUSH_INTERVAL": "50ms", "KEYWHEEL_REPORT_INTERVAL": interval.String()},
		Bootstrap: func(b harness.Bootstrap) { p.relay = b.PutRelay(t) },
	})
	load := startServed(t, p.Stack, 8)
	calm := time.Now()
	waitReports(t, p.relay, 5)
	yardstick := max(p.longestWait(calm, time.Now()), interval)

	p.push(t, warm)
	before := p.quietly(t, load)
	load = startServed(t, p.Stack, 8)
	begun := time.Now()
	var held []int64
	for range 6 {
		p.push(t, pushes/6)
		held = append(held, harness.MemoryOf(t, p.Envoy.Pid()).Process>>10)
	}
	ended := time.Now()
	after := p.quietly(t, load)
	p.AssertOracle(t)

	wait := p.longestWait(begun, ended)
	grown := map[string]int64{
		"Envoy's own": after.Allocated - before.Allocated, "the filter's": after.Wasm - before.Wasm, "the process's": after.Process - before.Process,
	}
	t.Logf("%d pushes in %s; bytes that memory grew: %v; the process in KiB: %v; longest wait for an acknowledgement %s, %s without pushes",
		pushes, ended.Sub(begun).Round(time.Second), grown, held, wait, yardstick)
	if !harness.Soak() { // what grows in steps has not settled in so few
		delete(grown, "the filter's")
		delete(grown, "the process's")
	}
	for what, n := range grown {
		if n > most*int64(pushes) {
			t.Errorf("%d pushes left %d bytes of %s memory behind, %d each", pushes, n, what, n/int64(pushes))
		}
	}
	if wait > 3*yardstick {
		t.Errorf("no report was acknowledged for %s; the interval is %s, and without pushes it was %s at most", wait, interval, yardstick)
	}
	if r := p.Envoy.Stats(t, `keywheel\.(gate|attempt)\.(config_fail|config_conflict|update_rejected)$`); slices.ContainsFunc(values(r), positive) {
		t.Errorf("Envoy refused assignments: %v", r)
	}
}

func positive(n int64) bool { return n > 0 }

func values(m map[string]int64) []int64 {
	var all []int64
	for _, n := range m {
		all = append(all, n)
	}
	return all
}

// quietly is Envoy's memory once the load has ended: the least of several looks, as what is freed goes back by and by.
func (p *pusher) quietly(t *testing.T, load *served) harness.Memory {
	t.Helper()
	load.Stop()
	if err := p.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	least := p.Envoy.Memory(t)
	for range 20 {
		if m := p.Envoy.Memory(t); m.Allocated+m.Wasm < least.Allocated+least.Wasm {
			least = m
		}
	}
	return least
}

// waitReports waits for so many more acknowledged reports.
func waitReports(t *testing.T, relay *harness.Relay, n int) {
	t.Helper()
	for range n {
		waitAcknowledged(t, relay, len(relay.Reports()))
	}
}
