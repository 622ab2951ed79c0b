package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// storyDay is a time at which a test's clock stands still: ten hours before the reset.
var storyDay = time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)

// When every key is spent, Envoy itself refuses with the exact answer, and Groq is not asked. Until then no call fails.
func TestAllKeysExhausted(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Keys:     harness.Keys(3, 600),
		Groq:     fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40)},
		Settings: map[string]string{"KEYWHEEL_REQUIRED_TOKENS": "100"},
		Args:     []string{"--now", storyDay.Format(time.RFC3339), "--speed", "0"},
	})
	served := 0
	var out harness.Answer
	harness.Eventually(t, "all keys are spent", func() error {
		for {
			switch out = s.H1.Do(t, harness.Call{}); {
			case out.Status == 200:
				served++
			case out.Status == 429 && out.ErrorCode() == "all_keys_exhausted":
				return nil
			case out.Status == 429 && out.ErrorCode() == "keys_busy" && out.Header.Get("retry-after") == "1":
				return fmt.Errorf("keys are busy after %d answers", served) // for as long as an allowance is on its way
			default:
				t.Fatalf("after %d answers: %s", served, out)
			}
		}
	})
	if served != 18 {
		t.Errorf("%d calls were served, want 18: three keys of six", served)
	}
	s.AssertOracle(t)

	before := s.Groq.Truth().Received
	const until = "exhausted until 2025-11-19T00:00:00Z"
	want := "All 3 Groq keys are out: key 1 " + until + ", key 2 " + until + ", key 3 " + until + ". Try again in 10h0m."
	for _, call := range []harness.Call{{}, {Stream: true}, {Path: "/v1/chat/completions"}} {
		for name, c := range s.Clients() {
			a := c.Do(t, call)
			if a.Status != 429 || a.ErrorCode() != "all_keys_exhausted" || a.ErrorMessage() != want {
				t.Errorf("%s: %s", name, a)
			}
			if a.Header.Get("retry-after") != "36000" || a.Header.Get("x-should-retry") != "false" || a.Key != "" {
				t.Errorf("%s: headers %v", name, a.Header)
			}
		}
	}
	if got := s.Groq.Truth().Received; got != before {
		t.Errorf("%d calls reached Groq after all keys were out", got-before)
	}
	for id, k := range s.Keywheel.Keys(t) {
		if k.Status != "exhausted" || k.UsedTokens != 600 {
			t.Errorf("key %s: %+v", id, k)
		}
	}
}

// When Groq's own limit stops every key, the last one's answer passes unchanged, its Retry-After being the earliest over
// all keys. After that Envoy refuses by itself.
func TestAllKeysCooling(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for id, wait := range map[string]time.Duration{"1": 20 * time.Minute, "2": 5 * time.Minute, "3": 10 * time.Minute} {
		s.Script(t, id, fakegroq.Rule{Fault: fakegroq.RateTPD, Wait: fakegroq.Duration(wait)})
	}
	a := s.H2.Do(t, harness.Call{})
	attempts := s.Attempts(t, a.Tag)
	if got := harness.KeysOf(attempts); got != "1 2 3" {
		t.Fatalf("tried keys %q, want each once: %s", got, a)
	}
	if a.Status != 429 || a.SHA256 != attempts[2].AnswerSHA256 || a.ErrorCode() != "rate_limit_exceeded" {
		t.Errorf("the last answer was changed: %s", a)
	}
	retryWithin(t, a, 5*time.Minute)

	before := s.Groq.Truth().Received
	a = s.H1.Do(t, harness.Call{Stream: true})
	if a.Status != 429 || a.ErrorCode() != "all_keys_exhausted" || a.Header.Get("x-should-retry") != "false" {
		t.Errorf("the next call: %s, %v", a, a.Header)
	}
	retryWithin(t, a, 5*time.Minute)
	if got := s.Groq.Truth().Received; got != before {
		t.Errorf("%d calls reached Groq though all keys are cooling", got-before)
	}

	// Another model has limits of its own.
	for _, k := range s.Keys {
		s.Groq.ClearScript(k.Secret)
	}
	if a := s.H1.Do(t, harness.Call{Model: "another-model"}); a.Status != 200 || a.Key != "1" {
		t.Errorf("another model: %s", a)
	}
}

// retryWithin checks a Retry-After that runs from when a limit was learned: at most that long, and not much less.
func retryWithin(t *testing.T, a harness.Answer, most time.Duration) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("retry-after"))
	wait := time.Duration(seconds) * time.Second
	if err != nil || wait > most || wait < most-harness.Deadline {
		t.Errorf("Retry-After is %q, want %s or a little less", a.Header.Get("retry-after"), most)
	}
}

// Keys of one organization share its limits: when one is limited, the other is not even asked.
func TestOrganizationsLimitHoldsForAllItsKeys(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Keys: []harness.Key{{ID: "1", Org: "a"}, {ID: "2", Org: "a"}, {ID: "3", Org: "b"}}})
	a := s.H1.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1", Wait: fakegroq.Duration(time.Hour)}})
	if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != 200 || got != "1 3" {
		t.Errorf("tried keys %q: %s", got, a)
	}
}

// A key that Groq does not know is shown as invalid and not asked again, and serves again once it is cleared.
func TestInvalidKeyIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.Groq.RemoveKey(s.Keys[0].Secret)
	for i, want := range []string{"1 2", "2", "2"} {
		a := s.H1.Do(t, harness.Call{})
		if got := harness.KeysOf(named(s, s.Attempts(t, a.Tag))); a.Status != 200 || got != want {
			t.Errorf("call %d tried keys %q, want %q: %s", i, got, want, a)
		}
	}
	s.Keywheel.WaitKey(t, "1", "is invalid", func(k harness.KeyState) error {
		if k.Status != "invalid" {
			return fmt.Errorf("its status is %s", k.Status)
		}
		return nil
	})
	s.Keywheel.WaitLog(t, "Groq Key 1 refused by Groq (invalid_api_key)")
	s.Groq.AddKey(fakegroq.Key{Secret: s.Keys[0].Secret, Name: "1"})
	s.Recover(t)
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
		t.Errorf("after it was cleared: %s", a)
	}
}

// named gives attempts with a secret that the simulated Groq does not know (any more) their key's name.
func named(s *harness.Stack, attempts []fakegroq.Request) []fakegroq.Request {
	for i, a := range attempts {
		if at := slices.IndexFunc(s.Keys, func(k harness.Key) bool { return k.Secret == a.Secret }); at >= 0 {
			attempts[i].Key = s.Keys[at].ID
		}
	}
	return attempts
}
