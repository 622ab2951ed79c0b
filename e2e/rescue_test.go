package e2e

import (
	"fmt"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// upstreams are the ways to reach Groq over which a rescue must work.
var upstreams = map[string]fakegroq.Options{
	"plain": {TokensFor: fakegroq.UniqueTokens(1000)},
	"tls":   {TokensFor: fakegroq.UniqueTokens(1000), TLS: &fakegroq.TLS{}},
}

// each calls test for every fault, streamed and not, changing the HTTP version in between. Every case has a model of
// its own, so that what is learned of one model's limit does not reach into the next.
func each(t *testing.T, s *harness.Stack, faults []fakegroq.Fault, test func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault)) {
	clients := []*harness.Client{s.H1, s.H2}
	for i, f := range faults {
		for j, way := range []string{"json", "stream"} {
			t.Run(fmt.Sprintf("%s/%s", f, way), func(t *testing.T) {
				call := harness.Call{Stream: way == "stream", Model: fmt.Sprintf("model-%s-%s", f, way)}
				test(t, clients[(i+j)%2], call, f)
			})
		}
	}
}

// When key 1 cannot serve, the client gets one 200 all the same, from key 2, with nothing in it of the failure. Only
// what was served is charged.
func TestAnotherKeyRescuesTheCall(t *testing.T) {
	t.Parallel()
	faults := []fakegroq.Fault{
		fakegroq.RateTPM, fakegroq.RateTPD, fakegroq.RateRPM, fakegroq.RateRPD, fakegroq.RateBare, fakegroq.RateVague,
		fakegroq.InvalidKey, fakegroq.OrgRestricted, fakegroq.SpendLimit, fakegroq.TermsRequired, fakegroq.Permission,
		fakegroq.Internal, fakegroq.BadGateway, fakegroq.OverCapacity, fakegroq.GatewayTimeout,
	}
	for name, groq := range upstreams {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Groq: groq})
			each(t, s, faults, func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault) {
				rescued(t, s, c, call, f)
			})
			s.AssertOracle(t)
		})
	}
}

// The same when the connection to Groq is reset before an answer. Groq may have charged key 1 for such a call, so that
// it may be charged an estimate; key 2 is charged exactly.
func TestAnotherKeyRescuesTheCallFromAReset(t *testing.T) {
	t.Parallel()
	for name, groq := range upstreams {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Groq: groq})
			each(t, s, []fakegroq.Fault{fakegroq.ResetBeforeBody, fakegroq.ResetAfterBody}, func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault) {
				rescued(t, s, c, call, f)
			})
			if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
				t.Fatal(err)
			}
			want := harness.Oracle(s.Groq, s.Keys)["2"]
			s.Keywheel.WaitKey(t, "2", "agrees", func(k harness.KeyState) error {
				if k.UsedTokens != want {
					return fmt.Errorf("used %d, want %d", k.UsedTokens, want)
				}
				return nil
			})
			// Four short prompts, of which each may be estimated with room to spare.
			if used := s.Keywheel.Keys(t)["1"].UsedTokens; used > 4*1000 {
				t.Errorf("key 1 is charged %d tokens for four short calls that were reset", used)
			}
		})
	}
}

// rescued makes one call that fails on key 1 and checks that the client sees nothing of it.
func rescued(t *testing.T, s *harness.Stack, c *harness.Client, call harness.Call, f fakegroq.Fault) {
	t.Helper()
	defer s.Recover(t)
	call.Script = fakegroq.Rule{Fault: f, Only: "1"}
	a := c.Do(t, call)
	if a.Status != 200 || a.Err != nil || a.Key != "2" {
		t.Fatalf("want one 200 from key 2, got %s", a)
	}
	for _, header := range []string{"retry-after", "set-cookie", "x-keywheel-rotate"} {
		if v := a.Header.Get(header); v != "" {
			t.Errorf("the answer has %s: %s", header, v)
		}
	}
	attempts := s.Attempts(t, a.Tag)
	if got := harness.KeysOf(attempts); got != "1 2" {
		t.Fatalf("tried keys %q, want 1, then 2", got)
	}
	if last := attempts[1]; last.AnswerSHA256 != a.SHA256 || last.BodySHA256 == "" || !last.Told {
		t.Errorf("the client did not get the bytes that key 2 was answered: %+v", last)
	}
	if first := attempts[0]; first.BodySHA256 != "" && first.BodySHA256 != attempts[1].BodySHA256 {
		t.Error("key 2 was asked something else than key 1")
	}
}

// What is the caller's own fault, or nobody's key's, passes unchanged, is tried once, and costs the key nothing: it goes
// on serving, healthy.
func TestCallersFaultsPassUnchanged(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	faults := []fakegroq.Fault{
		fakegroq.TooLarge, fakegroq.EntityTooLarge, fakegroq.OTPM, fakegroq.BadRequest, fakegroq.ToolUseFailed,
		fakegroq.ModelNotFound, fakegroq.Unprocessable, fakegroq.Network, fakegroq.Edge,
	}
	each(t, s, faults, func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault) {
		call.Script = fakegroq.Rule{Fault: f}
		a := c.Do(t, call)
		attempts := s.Attempts(t, a.Tag)
		if got := harness.KeysOf(attempts); got != "1" {
			t.Fatalf("tried keys %q, want key 1 once; answer %s", got, a)
		}
		if groq := attempts[0]; a.Status != groq.Status || a.SHA256 != groq.AnswerSHA256 || a.Err != nil {
			t.Errorf("Groq's answer of %d was changed: %s", groq.Status, a)
		}
		call.Script = fakegroq.Rule{}
		if a := c.Do(t, call); a.Status != 200 || a.Key != "1" {
			t.Errorf("afterwards key 1 does not serve: %s", a)
		}
	})
	s.AssertOracle(t)
	if k := s.Keywheel.Keys(t)["1"]; k.Status != "active" || k.Health != 100 || k.CoolingUntil != nil {
		t.Errorf("key 1 is blamed: %+v", k)
	}
}

// A stream that fails inside its 200 passes as it is: it cannot be taken back, and the key is not blamed.
func TestErrorInsideAStreamPasses(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for name, c := range s.Clients() {
		a := c.Do(t, harness.Call{Stream: true, Script: fakegroq.Rule{Fault: fakegroq.StreamError}})
		attempts := s.Attempts(t, a.Tag)
		if a.Status != 200 || len(attempts) != 1 || a.SHA256 != attempts[0].AnswerSHA256 {
			t.Errorf("%s: %s, tried keys %q", name, a, harness.KeysOf(attempts))
		}
		if a := c.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
			t.Errorf("%s: afterwards %s", name, a)
		}
	}
}
