package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// faulty is a stack whose filter has a bug in every callback, which calls bring about by a header.
func faulty(t *testing.T, opts harness.Options) *harness.Stack {
	t.Helper()
	harness.EnvoyBinary(t)
	if opts.Settings == nil {
		opts.Settings = map[string]string{}
	}
	opts.Settings["KEYWHEEL_WASM"] = harness.BuildWasm(t, "e2e/testdata/faulty", "-tags=faults")
	return harness.Start(t, opts)
}

func fault(how, place string) http.Header { return http.Header{"X-Fault": {how + " " + place}} }

// A panic in any callback costs the call that met it, and no other. Where a request met it, the call ends with a 500 and
// Groq is not asked; where an answer did, it passes unchanged and is charged. What was held comes back: in the end the key
// can be spent to its limit.
func TestAPanicCostsOneCall(t *testing.T) {
	const limit = 6000
	s := faulty(t, harness.Options{
		Keys: harness.Keys(1, limit), Groq: fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40)},
		Settings: map[string]string{"KEYWHEEL_REQUIRED_TOKENS": "100"}, Concurrency: 1,
	})
	unseen := int64(0) // tokens of calls whose end met the bug
	for _, c := range []struct {
		place  string
		status int
		rule   fakegroq.Rule
		unseen int64
	}{
		{"request headers", 500, fakegroq.Rule{}, 0},
		{"request body", 500, fakegroq.Rule{}, 0},
		{"attempt", 500, fakegroq.Rule{}, 0},
		{"attempt with its key", 500, fakegroq.Rule{}, 0},
		{"attempt's answer", 200, fakegroq.Rule{}, 0},
		{"attempt's answer body", 400, fakegroq.Rule{Fault: fakegroq.BadRequest}, 0},
		{"held answer", 400, fakegroq.Rule{Fault: fakegroq.BadRequest, Piece: 8, Drip: fakegroq.Duration(200 * time.Millisecond)}, 0},
		{"response headers", 200, fakegroq.Rule{}, 0},
		{"response body", 200, fakegroq.Rule{}, 0},
		{"meter", 200, fakegroq.Rule{}, 0},
		{"stream done", 200, fakegroq.Rule{}, 100},
		{"start", 200, fakegroq.Rule{}, 0},
		{"tick", 200, fakegroq.Rule{}, 0},
		{"done", 200, fakegroq.Rule{}, 0},
		{"the answer to a report", 200, fakegroq.Rule{}, 0},
	} {
		t.Run(c.place, func(t *testing.T) {
			for version, client := range s.Clients() {
				unseen += c.unseen
				before := s.Envoy.Stats(t, "keywheel.panics")["wasmcustom.keywheel.panics"]
				a := client.Do(t, harness.Call{Header: fault("panic", c.place), Script: c.rule})
				attempts := s.Attempts(t, a.Tag)
				if a.Status != c.status || a.Err != nil || (c.status == 500) != (len(attempts) == 0) {
					t.Fatalf("%s: want one %d, got %s; Groq saw %d calls", version, c.status, a, len(attempts))
				}
				if c.status == 500 && a.ErrorCode() != "keywheel_internal_error" || c.status != 500 && a.SHA256 != attempts[0].AnswerSHA256 {
					t.Errorf("%s: %s", version, a)
				}
				if c.place == "start" || c.place == "done" {
					s.Keywheel.WaitGranted(t, s.Keywheel.Clear(t, "1")) // a push
				}
				harness.Eventually(t, "the panic is counted", func() error {
					if n := s.Envoy.Stats(t, "keywheel.panics")["wasmcustom.keywheel.panics"]; n <= before {
						return fmt.Errorf("%d are", n)
					}
					return nil
				})
				if a := client.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
					t.Errorf("%s: the next call: %s", version, a)
				}
			}
		})
	}
	var out harness.Answer
	harness.Eventually(t, "the key is spent", func() error {
		for {
			switch out = s.H1.Do(t, harness.Call{}); {
			case out.Status == 200:
			case out.ErrorCode() == "all_keys_exhausted":
				return nil
			case out.ErrorCode() == "keys_busy":
				return fmt.Errorf("something is still held: %s", out)
			default:
				t.Fatal(out)
			}
		}
	})
	told := harness.Oracle(s.Groq, s.Keys)["1"]
	if want := int64(limit) + unseen; told != want {
		t.Errorf("Groq told %d tokens, want the limit and the %d whose call's end met the bug: %d", told, unseen, want)
	}
	s.Keywheel.WaitLedger(t, map[string]int64{"1": told - unseen})
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "Envoy's log", Data: s.Envoy.Log()})
}

// What no recover stops, a stack that overflows or memory that is used up, ends the worker's VM. That worker refuses calls
// until the module is loaded again; others go on. What it held comes back within seconds, and the ledger lacks at most the
// calls that were in flight there.
func TestACrashedWorkerComesBack(t *testing.T) {
	const clients, each = 16, 1000 // tokens of an answer, at most
	s := faulty(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(each), Remember: -1}})
	for _, how := range []string{"overflow", "memory"} {
		for _, place := range []string{"request body", "attempt with its key", "response body", "stream done", "tick"} {
			t.Run(how+"/"+place, func(t *testing.T) { crash(t, s, clients, fault(how, place)) })
		}
	}
	log := s.Envoy.Log()
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "Envoy's log, with what the VMs wrote as they ended", Data: log})
}

// crash has one call end a worker's VM while clients go on calling, each over a connection of its own, and waits until all
// are served again.
func crash(t *testing.T, s *harness.Stack, clients int, header http.Header) {
	t.Helper()
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	before := missing(t, s)
	type seen struct{ served, failed, after int }
	var mu sync.Mutex
	all := make([]seen, clients)
	var crashed, back time.Time
	var loads []*harness.Load
	for i := range clients {
		loads = append(loads, harness.StartLoad(t, harness.NewClient(t, s.Keywheel.Listen, false), 1, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
			mu.Lock()
			defer mu.Unlock()
			switch mine := &all[i]; {
			case err == nil && a.Err == nil && a.Status == 200:
				mine.served++
				if mine.failed > 0 {
					mine.after++
				}
			default:
				mine.failed++
				back = time.Now()
			}
			return true
		}))
	}
	servedBy := func(most func(seen) int, least int) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			for i := range all {
				if n := most(all[i]); n < least {
					return fmt.Errorf("client %d: %+v", i, all[i])
				}
			}
			return nil
		}
	}
	harness.Eventually(t, "all clients are served", servedBy(func(c seen) int { return c.served }, 3))
	crashed = time.Now()
	a, err := s.H2.Try(harness.Context(t), harness.Call{Header: header})
	t.Logf("the call that brings it about: %v %s", err, a)
	harness.Eventually(t, "some calls fail", func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			if c.failed > 0 {
				return nil
			}
		}
		return fmt.Errorf("none does")
	})
	harness.Eventually(t, "whoever failed is served again", servedBy(func(c seen) int {
		if c.failed == 0 {
			return 20
		}
		return c.after
	}, 20))
	for _, l := range loads {
		l.Stop()
	}
	hurt, failed := 0, 0
	for _, c := range all {
		failed += c.failed
		if c.failed > 0 {
			hurt++
		}
	}
	if hurt == clients {
		t.Error("no connection was spared: the other worker did not go on")
	}
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	var lost int64
	harness.Eventually(t, "the ledger has all but what was in flight", func() error {
		if lost = missing(t, s) - before; lost > int64(hurt+1)*1000 {
			return fmt.Errorf("%d tokens are missing", lost)
		}
		return nil
	})
	t.Logf("%d of %d connections failed %d calls in %s; %d tokens of calls in flight are in no report", hurt, clients, failed, back.Sub(crashed).Round(time.Millisecond), lost)
}

// missing is how many tokens Groq told of that the ledger does not have.
func missing(t *testing.T, s *harness.Stack) (tokens int64) {
	t.Helper()
	for id, told := range harness.Oracle(s.Groq, s.Keys) {
		tokens += told - s.Keywheel.Keys(t)[id].UsedTokens
	}
	return tokens
}
