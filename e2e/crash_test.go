package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// relayed is a stack with a relay between Envoy and the control plane, whose keys have no limit and whose answers are
// drawn from the seed.
func relayed(t *testing.T, seed uint64, settings map[string]string) (*harness.Stack, *harness.Relay) {
	t.Helper()
	var relay *harness.Relay
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(2, 0), Settings: settings,
		Groq:      fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, 400), Remember: -1},
		Bootstrap: func(b harness.Bootstrap) { relay = b.PutRelay(t) },
	})
	return s, relay
}

// The control plane is killed at random moments under load, every second time while a usage report is with it, and
// started again. No client sees anything of it. What was acknowledged is there after each start, at no time does the
// ledger have more than was served, and in the end it has exactly that.
func TestControlPlaneKilledAtRandom(t *testing.T) {
	kills := harness.Scale(10, 100)
	seed := harness.Seed(t)
	random := harness.Random(seed, 1)
	s, relay := relayed(t, seed, map[string]string{"KEYWHEEL_REPORT_INTERVAL": "100ms"})
	load := startServed(t, s, 8)
	var recoveries []time.Duration
	for i := range kills {
		load.more(t, 1+random.IntN(200))
		if i%2 == 1 {
			waitForReport(t, relay, time.Duration(random.Int64N(int64(5*time.Millisecond))))
		}
		s.Keywheel.Kill(t)
		relay.Treat(nil)
		acked, reports := relay.Acknowledged(), len(relay.Reports())
		begun := time.Now()
		s.Keywheel.Start(t, "serve")
		for id, k := range s.Keywheel.Keys(t) {
			if k.UsedTokens < acked[id] {
				t.Fatalf("kill %d: key %s has %d tokens, %d were acknowledged before", i+1, id, k.UsedTokens, acked[id])
			}
			if told := harness.Oracle(s.Groq, s.Keys)[id]; k.UsedTokens > told {
				t.Fatalf("kill %d: key %s has %d tokens, only %d were served", i+1, id, k.UsedTokens, told)
			}
		}
		recoveries = append(recoveries, waitAcknowledged(t, relay, reports).Sub(begun))
	}
	load.Stop()
	s.AssertOracle(t)
	slices.Sort(recoveries)
	t.Logf("%d kills, %d calls, %d reports; from a start to the next acknowledged report: median %s, at most %s; the ledger has %v",
		kills, load.calls, len(relay.Reports()), recoveries[len(recoveries)/2], recoveries[len(recoveries)-1], harness.Oracle(s.Groq, s.Keys))
}

// waitForReport returns a moment after a usage report came.
func waitForReport(t *testing.T, relay *harness.Relay, moment time.Duration) {
	t.Helper()
	came := make(chan struct{}, 1)
	relay.Treat(func(harness.Report) harness.Treatment {
		select {
		case came <- struct{}{}:
		default:
		}
		return harness.Delivered
	})
	select {
	case <-came:
	case <-harness.Context(t).Done():
		t.Fatal("no usage report came")
	}
	for end := time.Now().Add(moment); time.Now().Before(end); { // too short for a timer
	}
}

// waitAcknowledged returns when the first report after the first so many was acknowledged.
func waitAcknowledged(t *testing.T, relay *harness.Relay, reports int) time.Time {
	t.Helper()
	var at time.Time
	harness.Eventually(t, "a report is acknowledged", func() error {
		for _, r := range relay.Reports()[reports:] {
			if r.Status == 200 && !r.Acked.IsZero() {
				at = r.Acked
				return nil
			}
		}
		return fmt.Errorf("%d reports came", len(relay.Reports())-reports)
	})
	return at
}

// Every second usage report, or its answer, gets lost on the way, and every other is delivered again, after a newer one
// too, while each answer stands for another number of tokens. What was used is counted once: after each report, and in
// the end exactly.
func TestReportsLostAndRepeated(t *testing.T) {
	t.Parallel()
	seed := harness.Seed(t)
	random := harness.Random(seed, 1)
	draws := make(chan harness.Treatment)
	go func() { // reports may come at once, and chances have one order
		defer close(draws)
		for range 1 << 20 {
			how := [...]harness.Treatment{harness.Delivered, harness.RequestLost, harness.AnswerLost, harness.Repeated}[random.IntN(4)]
			select {
			case draws <- how:
			case <-t.Context().Done():
				return
			}
		}
	}()
	s, relay := relayed(t, seed, map[string]string{"KEYWHEEL_REPORT_INTERVAL": "100ms"})
	load := startServed(t, s, 8)
	var mu sync.Mutex
	count := map[harness.Treatment]int{}
	relay.Treat(func(harness.Report) harness.Treatment {
		how := <-draws
		mu.Lock()
		defer mu.Unlock()
		count[how]++
		return how
	})
	kinds := func() int { // of what befell reports so far
		mu.Lock()
		defer mu.Unlock()
		return len(count)
	}
	for i := 0; i < harness.Scale(20, 200) || kinds() < 4 && i < 10_000; i++ {
		load.more(t, 50)
		acked := relay.Acknowledged()
		for id, k := range s.Keywheel.Keys(t) {
			if told := harness.Oracle(s.Groq, s.Keys)[id]; k.UsedTokens > told || k.UsedTokens < acked[id] {
				t.Fatalf("key %s has %d tokens; %d were served, %d acknowledged", id, k.UsedTokens, told, acked[id])
			}
		}
	}
	load.Stop()
	s.AssertOracle(t)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d calls; %d reports delivered, %d lost, %d answers lost, %d repeated", load.calls, count[harness.Delivered],
		count[harness.RequestLost], count[harness.AnswerLost], count[harness.Repeated])
	for _, how := range []harness.Treatment{harness.RequestLost, harness.AnswerLost, harness.Repeated} {
		if count[how] == 0 {
			t.Errorf("no report had treatment %d", how)
		}
	}
}
