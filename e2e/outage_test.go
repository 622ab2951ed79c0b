package e2e

import (
	"fmt"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// The control plane is stopped, then killed, while 5,000 calls are served by an Envoy that it did not start, and is
// started again each time. No client sees anything of it, also where a key's limit is reached meanwhile, and in the end
// the ledger has every token.
func TestControlPlaneOutage(t *testing.T) {
	t.Parallel()
	const clients, calls, perOutage = 16, 5_000, 2_000
	s := harness.Start(t, harness.Options{
		Keys: []harness.Key{{ID: "1", LimitTokens: 2_000_000}, {ID: "2", LimitTokens: 4_000_000}, {ID: "3"}},
		Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(500), Remember: -1},
	})
	served := 0
	byKey := map[string]int{}
	load := harness.StartLoad(t, s.H1, clients, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
		if err != nil || a.Err != nil || a.Status != 200 {
			t.Errorf("after %d answers: %v, %s", served, err, a)
			return false
		}
		served++
		byKey[a.Key]++
		return true
	})
	reach := func(n int) {
		t.Helper()
		load.WaitFor(t, "more calls are served", func() bool { return served >= n || t.Failed() })
		if t.Failed() {
			t.FailNow()
		}
	}
	end := map[string]func(){
		"stopped": func() {
			if exit := s.Keywheel.Terminate(t); exit != 0 {
				t.Errorf("on SIGTERM the exit code is %d", exit)
			}
		},
		"killed": func() { s.Keywheel.Kill(t) },
	}
	next := 500
	for _, how := range []string{"stopped", "killed"} {
		reach(next)
		end[how]()
		from, keys := 0, ""
		load.Look(func() { from, keys = served, fmt.Sprint(byKey) })
		reach(from + perOutage)
		s.Keywheel.Start(t, "serve")
		load.Look(func() {
			t.Logf("%s after %d calls (%s); there again after %d (%s)", how, from, keys, served, fmt.Sprint(byKey))
			next = served + 250
		})
	}
	reach(max(next, calls))
	load.Stop()
	s.AssertOracle(t)
	t.Logf("%d calls, by key: %s", served, fmt.Sprint(byKey))
}
