package e2e

import (
	"testing"
	"time"

	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// Every connection to the control plane is cut again and again, while the keys change, and the control plane is stopped and
// started between; after that Envoy cannot reach it at all for a while. No call fails. After the last cut the newest
// assignment reaches Envoy, what was used is counted once, and no Envoy is counted twice.
func TestConnectionsAreCut(t *testing.T) {
	cuts := harness.Scale(8, 120)
	seed := harness.Seed(t)
	random := harness.Random(seed, 1)
	s, relay := relayed(t, seed, nil)
	load := startServed(t, s, 8)
	c := adminOf(t, s.Keywheel)
	var generation int64
	closed := 0
	for i := range cuts {
		priority := 10 + i%2
		changed, err := c.ChangeKey(harness.Context(t), "2", admin.KeyFields{Priority: &priority})
		if err != nil {
			t.Fatal(err)
		}
		generation = changed.Generation
		load.more(t, 1+random.IntN(1000))
		closed += relay.Cut()
		if i == cuts/2 {
			s.Keywheel.Terminate(t)
			load.more(t, 500)
			s.Keywheel.Start(t, "serve")
		}
	}
	s.Keywheel.WaitGranted(t, generation)

	relay.Shut(true)
	closed += relay.Cut()
	load.more(t, 2000)
	relay.Shut(false)
	priority := 20
	changed, err := c.ChangeKey(harness.Context(t), "2", admin.KeyFields{Priority: &priority})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	s.Keywheel.WaitGranted(t, changed.Generation)
	t.Logf("%d cuts of %d connections; the newest assignment was in force %s after Envoy could connect again", cuts, closed, time.Since(begun))
	load.Stop()
	s.AssertOracle(t)
	if p := s.Keywheel.Proxies(t); len(p) != 1 || p[0].Rejected != 0 {
		t.Errorf("want one Envoy that refused nothing: %+v", p)
	}
	if closed < cuts {
		t.Errorf("%d cuts met %d connections", cuts, closed)
	}
}
