package e2e

import (
	"fmt"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// One worker and one client spend a key to its limit: the last call may cost more than it was taken to, and no other goes
// out with that key.
func TestOneWorkerToTheLimit(t *testing.T) {
	const limit, most = 5_000, 4 * reserved
	seed := harness.Seed(t)
	s := harness.Start(t, harness.Options{
		Keys: []harness.Key{{ID: "1", LimitTokens: limit}, {ID: "2"}}, Concurrency: 1,
		Groq:     fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, most)},
		Settings: map[string]string{"KEYWHEEL_REQUIRED_TOKENS": fmt.Sprint(reserved)},
	})
	var spent, after int64
	for after < 3 {
		a := s.H1.Do(t, harness.Call{})
		switch {
		case a.Status != 200:
			t.Fatal(a)
		case a.Key == "2":
			after++
		case spent+reserved > limit:
			t.Fatalf("with %d of %d tokens spent, a call went out with key 1", spent, limit)
		default:
			spent += a.Tokens()
		}
	}
	if spent+reserved <= limit || spent > limit+most-reserved {
		t.Errorf("%d of %d tokens were spent", spent, limit)
	}
	s.AssertOracle(t)
}

// Whatever Groq's 429 says of when to come back, another key serves the call, and the one that is limited rests for a time
// that is neither none nor more than a day.
func TestStrangeRetryAfter(t *testing.T) {
	t.Parallel()
	waits := []string{"0", "99999999999999999999999", "-1", "soon", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "7, 9"}
	s := harness.Start(t, harness.Options{Keys: harness.Keys(len(waits)+1, 0)})
	for i, wait := range waits {
		id, next := fmt.Sprint(i+1), fmt.Sprint(i+2)
		s.Script(t, id, fakegroq.Rule{Fault: fakegroq.RateTPM, RetryAfter: wait, Count: 1})
		a := s.H1.Do(t, harness.Call{})
		if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != 200 || a.Key != next || got != id+" "+next {
			t.Fatalf("retry-after %q: tried keys %q: %s", wait, got, a)
		}
		k := s.Keywheel.WaitKey(t, id, "rests", func(k harness.KeyState) error {
			if k.CoolingUntil == nil {
				return fmt.Errorf("retry-after %q: it is %s", wait, k.Status)
			}
			return nil
		})
		rest := time.Until(*k.CoolingUntil)
		if rest > 24*time.Hour {
			t.Errorf("retry-after %q: key %s rests for %s", wait, id, rest)
		}
		t.Logf("retry-after %q: %s", wait, rest.Round(time.Second))
	}
	s.AssertOracle(t)
}
