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

// untold is how many calls of a key a busy worker counts before it tells others, at most.
const untold = 128

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
	t.Parallel()
	const limit = 20_000
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
				if c.place == "start" { // the worker takes the push over at its next tick
					harness.Eventually(t, "the push is taken over", func() error {
						if a := client.Do(t, harness.Call{}); a.Status != 200 {
							return fmt.Errorf("%s", a)
						}
						return nil
					})
				}
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
	counted := s.Envoy.Stats(t, "keywheel.panics")["wasmcustom.keywheel.panics"]
	harness.Eventually(t, "the control plane knows of the panics", func() error {
		if p := s.Keywheel.Proxies(t); len(p) != 1 || float64(p[0].Panics) != float64(counted) {
			return fmt.Errorf("%+v, Envoy counted %v", p, counted)
		}
		return nil
	})
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "Envoy's log", Data: s.Envoy.Log()})
}

// What no recover stops, a stack that overflows or memory that is used up, ends the worker's VM, with all calls in it. That
// worker refuses calls until the module is loaded again; others go on. What it held comes back within seconds, and the
// ledger lacks at most the calls that were in flight, and those that had ended there since the worker's last tick.
func TestACrashedWorkerComesBack(t *testing.T) {
	t.Parallel()
	s := faulty(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40), Remember: -1}})
	for _, how := range []string{"overflow", "memory"} {
		for _, place := range []string{"request body", "attempt with its key", "response body", "stream done", "tick"} {
			t.Run(how+"/"+place, func(t *testing.T) { crash(t, s, how, place) })
		}
	}
	s.Envoy.WaitLog(t, "took back what a worker that ended held of credential 1.1")
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "Envoy's log, with what the VMs wrote as they ended", Data: s.Envoy.Log()})
}

// calls counts what clients saw.
type calls struct {
	sync.Mutex
	served, failed int
	inARow         int // served since the last that failed
	causes         map[string]int
}

func (c *calls) took(_ int, a harness.Answer, err error) bool {
	c.Lock()
	defer c.Unlock()
	if err == nil && a.Err == nil && a.Status == 200 {
		c.served++
		c.inARow++
		return true
	}
	cause := fmt.Sprint(a.Status)
	if err != nil || a.Err != nil {
		cause += " broke off"
	}
	c.causes[cause]++
	c.failed++
	c.inARow = 0
	return true
}

// read returns one of the counts.
func (c *calls) read(count *int) int {
	c.Lock()
	defer c.Unlock()
	return *count
}

func (c *calls) wait(t *testing.T, count *int, least int) {
	t.Helper()
	harness.Eventually(t, "calls are served", func() error {
		if n := c.read(count); n < least {
			return fmt.Errorf("%d of %d", n, least)
		}
		return nil
	})
}

// crash has one call end a worker's VM while clients go on calling, each time over a new connection, so that they meet
// every worker, and waits until all are served again.
func crash(t *testing.T, s *harness.Stack, how, place string) {
	t.Helper()
	const clients = 8
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	lost, reloads := missing(t, s), reloaded(t, s)
	seen := &calls{causes: map[string]int{}}
	load := harness.StartLoad(t, s.H1, clients, harness.Call{Header: http.Header{"Connection": {"close"}}}, seen.took)
	seen.wait(t, &seen.served, 50)
	began := time.Now()
	header := fault(how, place)
	header.Set("Connection", "close")
	if a, err := s.H1.Try(harness.Context(t), harness.Call{Header: header}); place != "tick" && err == nil && a.Err == nil && a.Status == 200 && place != "stream done" {
		t.Errorf("the call that ends the VM is served: %s", a)
	}
	before := seen.read(&seen.served)
	if place != "tick" { // that can be the main thread's, which serves nobody
		harness.Eventually(t, "the module is loaded again", func() error {
			if n := reloaded(t, s); n <= reloads {
				return fmt.Errorf("loaded again %d times, before %d", n, reloads)
			}
			return nil
		})
	}
	took, meanwhile := time.Since(began), seen.read(&seen.served)-before
	seen.wait(t, &seen.inARow, 200)
	load.Stop()
	if seen.failed > 100 && seen.served-before < 100 {
		t.Errorf("%d calls failed and %d were served: others did not go on", seen.failed, seen.served-before)
	}
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the ledger has all but what was in flight or had just ended", func() error {
		if now := missing(t, s) - lost; now > (clients+1+untold)*100 {
			return fmt.Errorf("%d tokens are missing", now)
		}
		return nil
	})
	t.Logf("%d calls failed (%v), %d were served meanwhile; loaded again after %s; %d calls that were in flight or had just ended are in no report",
		seen.failed, seen.causes, meanwhile, took.Round(time.Millisecond), (missing(t, s)-lost)/100)
}

// reloaded is how often Envoy loaded the module again.
func reloaded(t *testing.T, s *harness.Stack) (n int64) {
	t.Helper()
	for _, v := range s.Envoy.Stats(t, `vm_reload_success$`) {
		n += v
	}
	return n
}

// missing is how many tokens Groq told of that the ledger does not have.
func missing(t *testing.T, s *harness.Stack) (tokens int64) {
	t.Helper()
	ledger := s.Keywheel.Keys(t)
	for id, told := range harness.Oracle(s.Groq, s.Keys) {
		tokens += told - ledger[id].UsedTokens
	}
	return tokens
}
