package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
)

// onStoryDay has Keywheel's clock stand still.
var onStoryDay = []string{"--now", storyDay.Format(time.RFC3339), "--speed", "0"}

func from(team string) http.Header { return http.Header{"X-Team": {team}} }

// Three teams on two workers, streamed or not, rescued or refused: each is charged exactly what the simulated Groq
// told its calls, and Groq never hears of teams.
func TestUseByCaller(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"KEYWHEEL_CALLER_HEADER": "X-Team"},
		Args:     onStoryDay,
	})
	teams := map[string]int{"red": 40, "blue": 25, "green": 10}
	var all sync.WaitGroup
	for team, calls := range teams {
		for i := range calls {
			client, call := s.H1, harness.Call{Header: from(team), Stream: i%3 == 0, Tag: fmt.Sprintf("%s/%d", team, i)}
			if i%2 == 0 {
				client = s.H2
			}
			if i%10 == 9 {
				call.Script = fakegroq.Rule{Fault: fakegroq.Internal, Only: "1"}
			}
			all.Go(func() {
				if a, err := client.Try(harness.Context(t), call); err != nil || a.Err != nil || a.Status != 200 {
					t.Errorf("%s: %v, %s", call.Tag, err, a)
				}
			})
		}
	}
	all.Wait()
	calls := int64(75)
	for _, call := range []harness.Call{
		{Header: from("green"), Tag: "green/refused", Path: "/v1/files"},
		{Header: from("green"), Tag: "green/404", Script: fakegroq.Rule{Fault: fakegroq.ModelNotFound}},
		{Tag: "none/0"},
		{Tag: "none/1", Header: from("")},
		{Tag: "other/0", Header: from(strings.Repeat("x", 65))},
	} {
		s.H1.Do(t, call)
		calls++
	}
	want := map[string]protocol.CallerUsage{}
	for _, r := range s.Groq.Truth().Requests {
		if got := r.Header.Get("X-Team"); got != "" {
			t.Fatalf("Groq heard of team %s", got)
		}
		team, _, _ := strings.Cut(r.Tag, "/")
		u := want[team]
		u.Caller = team
		if r.Told {
			u.Prompt += r.Tokens.Prompt
			u.Completion += r.Tokens.Completion
			u.Total += r.Tokens.Total()
		}
		want[team] = u
	}
	for team, n := range map[string]int64{"red": 40, "blue": 25, "green": 12, "none": 2, "other": 1} {
		u := want[team]
		u.Requests = n
		want[team] = u
	}
	got := map[string]protocol.CallerUsage{}
	for _, u := range callersAtEnd(t, s, calls) {
		got[u.Caller] = u
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-truth +ledger)\n%s", diff)
	}
	t.Logf("%v", got)
}

// More callers than are counted apart, at once on two workers: the first 200 stand apart, whoever comes later is among the
// others, and no token is lost or counted twice.
func TestMoreCallersThanAreCounted(t *testing.T) {
	t.Parallel()
	const names, rounds = 300, 3
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"KEYWHEEL_CALLER_HEADER": "x-team"},
		Args:     onStoryDay,
	})
	for _, team := range []string{"red", "blue", "green"} {
		s.H1.Do(t, harness.Call{Header: from(team), Tag: team})
	}
	for range rounds {
		work := make(chan string)
		var all sync.WaitGroup
		for i := range 16 {
			client := s.H1
			if i%2 == 0 {
				client = s.H2
			}
			all.Go(func() {
				for name := range work {
					if a, err := client.Try(harness.Context(t), harness.Call{Header: from(name), Tag: name}); err != nil || a.Status != 200 {
						t.Errorf("%s: %v, %s", name, err, a)
					}
				}
			})
		}
		for i := range names {
			work <- fmt.Sprintf("caller-%d", i)
		}
		close(work)
		all.Wait()
	}
	told := map[string]int64{}
	for _, r := range s.Groq.Truth().Requests {
		told[r.Tag] += r.Tokens.Total()
	}
	uses := callersAtEnd(t, s, 3+names*rounds)
	var sum protocol.CallerUsage
	apart := map[string]bool{}
	for _, u := range uses[:len(uses)-1] {
		if u.Total != told[u.Caller] || u.Requests != rounds && !slices.Contains([]string{"red", "blue", "green"}, u.Caller) {
			t.Errorf("%+v, told %d", u, told[u.Caller])
		}
		apart[u.Caller] = true
	}
	for _, u := range uses {
		sum.Requests += u.Requests
		sum.Total += u.Total
	}
	if last := uses[len(uses)-1]; len(uses) != protocol.MaxCallers+1 || last.Caller != protocol.OtherCaller || last.Requests != rounds*(3+names-protocol.MaxCallers) {
		t.Errorf("%d callers, the last %+v", len(uses), last)
	}
	if !apart["red"] || !apart["blue"] || !apart["green"] {
		t.Error("who came first does not stand apart")
	}
	if truth := s.Groq.Truth().Told(); sum.Total != truth || sum.Requests != 3+names*rounds {
		t.Errorf("together %+v, of %d tokens told", sum, truth)
	}
}

// callersAtEnd waits until the ledger has all calls, stops the control plane, and returns what its store has by caller.
func callersAtEnd(t *testing.T, s *harness.Stack, calls int64) []ledger.CallerUse {
	t.Helper()
	s.AssertOracle(t)
	s.Keywheel.WaitPool(t, "all calls are counted", func(p harness.PoolState) error {
		if p.Requests != calls {
			return fmt.Errorf("%d calls, want %d", p.Requests, calls)
		}
		return nil
	})
	if exit := s.Keywheel.Interrupt(t); exit != 0 {
		t.Fatalf("the control plane ended with %d", exit)
	}
	store, err := bolt.Open(filepath.Join(s.Keywheel.Dir, "keywheel.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Options{Store: store, Now: func() time.Time { return storyDay }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Callers(quota.WindowAt(storyDay))
}

// tried makes a call and checks its status, its error code, and the keys that it was sent with, in order.
func tried(t *testing.T, s *harness.Stack, c *harness.Client, call harness.Call, status int, code, keys string) harness.Answer {
	t.Helper()
	a := c.Do(t, call)
	if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != status || a.ErrorCode() != code || got != keys {
		t.Errorf("want %d %q with keys %q, got keys %q: %s", status, code, keys, got, a)
	}
	return a
}

func wanting(key string) http.Header { return http.Header{"X-Keywheel-Use-Key": {key}} }

// A client that asks for one key gets that key or a true answer, never another. For everybody else nothing changes.
func TestAKeyThatIsAskedFor(t *testing.T) {
	t.Parallel()
	keys := harness.Keys(3, 0)
	keys[2].LimitTokens = 200
	s := harness.Start(t, harness.Options{
		Keys: keys, Groq: fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40)},
		Settings: map[string]string{"KEYWHEEL_USE_KEY_HEADER": "true", "KEYWHEEL_REQUIRED_TOKENS": "100"},
		Args:     onStoryDay,
	})
	calls := int64(0)
	for name, c := range s.Clients() {
		tried(t, s, c, harness.Call{}, 200, "", "1")
		tried(t, s, c, harness.Call{Header: wanting("2")}, 200, "", "2")
		a := tried(t, s, c, harness.Call{Header: wanting("7")}, 400, "unknown_key", "")
		if want := "There is no Groq key 7; there is key 1, key 2, key 3."; a.ErrorMessage() != want || a.Header.Get("x-keywheel-refused") != "" {
			t.Errorf("%s: %s, %v", name, a.ErrorMessage(), a.Header)
		}
		tried(t, s, c, harness.Call{Header: wanting("2"), Script: fakegroq.Rule{Fault: fakegroq.Internal}}, 500, "", "2")
		tried(t, s, c, harness.Call{Header: wanting("2"), Script: fakegroq.Rule{Fault: fakegroq.InvalidKey, Only: "1"}}, 200, "", "2")
		calls += 5
	}
	served := 0
	harness.Eventually(t, "key 3 is spent", func() error {
		for {
			a := s.H2.Do(t, harness.Call{Header: wanting("3"), Stream: true})
			calls++
			switch {
			case a.Status == 200 && a.Key == "3":
				served++
			case a.Status == 429 && a.ErrorCode() == "all_keys_exhausted":
				return nil
			case a.Status == 429 && a.ErrorCode() == "keys_busy" && a.Header.Get("retry-after") == "1":
				return fmt.Errorf("it is busy after %d answers", served) // for as long as an allowance is on its way
			default:
				t.Fatalf("after %d answers: %s", served, a)
			}
		}
	})
	if served != 2 {
		t.Errorf("key 3 served %d calls of 100 tokens, want 2", served)
	}
	for name, c := range s.Clients() {
		a := c.Do(t, harness.Call{Header: wanting("3")})
		calls++
		const want = "The Groq key that was asked for is out: key 3 exhausted until 2025-11-19T00:00:00Z. Try again in 10h0m."
		if a.Status != 429 || a.ErrorMessage() != want || a.Header.Get("retry-after") != "36000" || a.Header.Get("x-should-retry") != "false" {
			t.Errorf("%s: %s, %v", name, a, a.Header)
		}
	}
	limited := fakegroq.Rule{Fault: fakegroq.RateTPM, Wait: fakegroq.Duration(7 * time.Second)}
	a := tried(t, s, s.H1, harness.Call{Header: wanting("2"), Script: limited}, 429, "rate_limit_exceeded", "2")
	if got := a.Header.Get("retry-after"); got != "7" {
		t.Errorf("Groq's 429 says to come back in %s s, want 7", got)
	}
	a = tried(t, s, s.H2, harness.Call{Header: wanting("2")}, 429, "all_keys_exhausted", "")
	if got := a.Header.Get("retry-after"); got != "7" {
		t.Errorf("come back in %s s, want 7", got)
	}
	tried(t, s, s.H2, harness.Call{}, 200, "", "1")
	calls += 3

	s.AssertOracle(t)
	s.Keywheel.WaitPool(t, "nothing changed for others", func(p harness.PoolState) error {
		if p.Requests != calls || p.Refused != 0 || p.Rotations != 0 || p.Rescues != 0 || p.KeyInUse == nil || *p.KeyInUse != "1" {
			return fmt.Errorf("pool %+v, want %d calls", p, calls)
		}
		return nil
	})
}

// When the connection breaks before an answer, Envoy tries again by itself: with the same key.
func TestAKeyThatIsAskedForIsTheOnlyOneAfterAReset(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Settings: map[string]string{"KEYWHEEL_USE_KEY_HEADER": "true"}})
	for name, c := range s.Clients() {
		a, err := c.Try(harness.Context(t), harness.Call{Header: wanting("2"), Script: fakegroq.Rule{Fault: fakegroq.ResetBeforeBody}})
		if err != nil {
			t.Fatal(err)
		}
		keys := harness.KeysOf(s.Attempts(t, a.Tag))
		if !strings.HasPrefix(keys, "2 2") || strings.Trim(keys, "2 ") != "" {
			t.Errorf("%s: tried keys %q, want key 2 alone, more than once: %s", name, keys, a)
		}
	}
}
