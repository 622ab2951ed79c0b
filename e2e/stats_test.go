package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// Envoy's own statistics say what the simulated Groq says: every attempt and every token, by key. Rotations, rescues and
// refusals are those that were made.
func TestEnvoyStats(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	limited := fakegroq.Rule{Fault: fakegroq.RateTPD, Wait: fakegroq.Duration(time.Hour)}
	limitedOn1 := limited
	limitedOn1.Only = "1"
	clients := []*harness.Client{s.H1, s.H2}
	for i, step := range []struct {
		call   harness.Call
		status int
		tried  string
	}{
		{harness.Call{}, 200, "1"},
		{harness.Call{Stream: true}, 200, "1"},
		{harness.Call{Script: fakegroq.Rule{Fault: fakegroq.BadRequest}}, 400, "1"},
		{harness.Call{Script: limitedOn1}, 200, "1 2"}, // the rescue, and a rotation to key 2
		{harness.Call{}, 200, "2"},
		{harness.Call{Stream: true}, 200, "2"},
		{harness.Call{Script: limited}, 429, "2 3"}, // Groq's own answer passes; a rotation to key 3
		{harness.Call{}, 429, ""},                   // the refusal
		{harness.Call{Model: "another-model"}, 200, "1"},
	} {
		a := clients[i%2].Do(t, step.call)
		if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != step.status || got != step.tried {
			t.Fatalf("step %d tried keys %q, want %q: %s", i, got, step.tried, a)
		}
	}
	s.AssertOracle(t)

	const prefix = "wasmcustom.keywheel."
	want := map[string]int64{prefix + "rotations": 2, prefix + "rescues": 1, prefix + "refusals": 1}
	for _, k := range s.Keys {
		account := s.Groq.Ledger()[k.Secret]
		want[prefix+"key."+k.ID+".picks"] = account.Requests
		want[prefix+"key."+k.ID+".tokens"] = account.Tokens.Total() // both are there once the key is used
	}
	harness.Eventually(t, "Envoy's statistics agree", func() error {
		if diff := cmp.Diff(want, s.Envoy.Stats(t, `^wasmcustom\.keywheel\.`)); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
	t.Logf("%v", want)
	s.Keywheel.WaitPool(t, "the pool agrees", func(p harness.PoolState) error {
		if p.Rotations != 2 || p.Refused != 1 {
			return fmt.Errorf("it is %+v", p)
		}
		return nil
	})
}
