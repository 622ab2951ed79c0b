package e2e

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// `keywheel run` that is stopped under load, by either signal, lets the calls that run end, cuts none, and takes the last
// reports in: whoever opens the same store next finds every token.
func TestCleanStopUnderLoad(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{
				Run: true, Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
				Settings: map[string]string{"KEYWHEEL_REPORT_INTERVAL": "1m"}, // only the last reports can have it all
			})
			var loads []*harness.Load
			for _, c := range s.Clients() {
				loads = append(loads, harness.StartLoad(t, c, 8, harness.Call{Stream: true}, func(_ int, a harness.Answer, err error) bool {
					switch {
					case err != nil: // nobody listens any more
						return false
					case a.Err != nil || a.Status != 200 || !strings.HasSuffix(string(a.Body), "data: [DONE]\n\n"):
						t.Errorf("%s", a)
					}
					return true
				}))
			}
			slow := s.H2.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterFirst}})
			waitTold(t, s, 500_000)
			s.Keywheel.Signal(t, sig)
			s.Keywheel.WaitLog(t, "Waiting for calls to end")
			for _, load := range loads {
				load.Wait(t)
			}
			s.Groq.Release(slow.ID)
			slow.ReadUntil(t, "[DONE]")
			if exit := s.Keywheel.Wait(t); exit != 0 {
				t.Errorf("the exit code is %d", exit)
			}
			if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
				t.Fatal(err)
			}
			s.Keywheel.Start(t, "serve") // without an Envoy: nothing comes in any more
			used := map[string]int64{}
			for id, k := range s.Keywheel.Keys(t) {
				used[id] = k.UsedTokens
			}
			if diff := cmp.Diff(harness.Oracle(s.Groq, s.Keys), used); diff != "" {
				t.Errorf("used tokens by key after the stop (-want +got):\n%s", diff)
			}
			t.Logf("the ledger has %v", used)
		})
	}
}

// An Envoy that dies under `keywheel run` is started again, and that is said.
func TestRunStartsADeadEnvoyAgain(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Run: true, Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Fatalf("before: %s", a)
	}
	s.AssertOracle(t) // it is reported
	dead := s.Keywheel.EnvoyPid(t)
	if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitLog(t, "Envoy died; it is started again")
	harness.Eventually(t, "calls are served again", func() error {
		a, err := s.H1.Try(harness.Context(t), harness.Call{})
		if err == nil && a.Status != 200 {
			return errors.New(a.String())
		}
		return err
	})
	if now := s.Keywheel.EnvoyPid(t); now == dead {
		t.Errorf("the same process %d serves", now)
	}
	s.AssertOracle(t)
}

// A call that ends right after a usage report has gone, and right before Envoy ends, is reported all the same.
func TestLastCallIsReported(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000), Remember: -1}})
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Fatalf("the first call: %s", a)
	}
	s.AssertOracle(t)
	last := s.H2.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterUsage}})
	last.ReadUntil(t, "total_tokens")
	reports := s.Keywheel.Proxies(t)[0].Reports
	harness.Eventually(t, "a report is taken in", func() error {
		for range 1000 { // without a pause: what follows must follow at once
			if s.Keywheel.Proxies(t)[0].Reports > reports {
				return nil
			}
		}
		return fmt.Errorf("there are still %d", reports)
	})
	s.Groq.Release(last.ID)
	last.ReadUntil(t, "[DONE]")
	if e, err := last.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after [DONE]: %+v, %v", e, err)
	}
	s.Envoy.Terminate(t)
	if lost := unreported(t, s)["1"]; lost != 0 {
		t.Errorf("%d tokens were never reported", lost)
	}
}
