package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// A configuration that was made for something else, with the README's fragments pasted into it, rotates: a call is
// served, and when key 1 is limited, key 2 serves inside the same call. All else that goes through it stays the same, byte
// for byte, for its clients and for what stands behind it.
func TestForeignEnvoyWithTheFragmentsOfTheREADME(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	plain := harness.NewForeign(t, b.ForeignUpstreams)
	without := harness.NewEnvoyFile(t, plain.File, plain.Admin)
	without.Concurrency = 1
	without.Start(t)
	edge := harness.ForeignWithKeywheel(t, b.ForeignUpstreams, true)
	s := startForeign(t, b, edge)
	t.Run("other routes stay the same", func(t *testing.T) {
		want, got := exchanges(t, b, plain), exchanges(t, b, edge)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-without Keywheel +with it)\n%s", diff)
		}
		if got := s.Groq.Truth().Received; got != 0 {
			t.Errorf("%d of other routes' requests reached Groq", got)
		}
	})
	t.Run("Groq's rotates", func(t *testing.T) { rotates(t, s, harness.LLMHost) })
}

func startForeign(t *testing.T, b *backend, edge *harness.ForeignEdge) *harness.Stack {
	t.Helper()
	return harness.StartFile(t, edge.File, harness.FileOptions{
		Listen: edge.Edge, Admin: edge.Admin, Concurrency: 1, // one connection to each upstream, in order
		Groq: fakegroq.Options{TLS: &fakegroq.TLS{CA: b.ca}, TokensFor: fakegroq.UniqueTokens(1000)},
	})
}

// A configuration that says nothing of the node gets that fragment too. Without one, Envoy would not start.
func TestForeignEnvoyWithoutANode(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	s := startForeign(t, b, harness.ForeignWithKeywheel(t, b.ForeignUpstreams, false))
	rotates(t, s, harness.LLMHost)
}

// rotates makes calls by a stack's Envoy: one is served, one is rescued by key 2 from key 1's 429, and the ledger agrees.
func rotates(t *testing.T, s *harness.Stack, host string) {
	t.Helper()
	for name, c := range s.Clients() {
		for _, stream := range []bool{false, true} {
			call := harness.Call{Host: host, Stream: stream, Header: http.Header{"Cookie": {"session=of-the-client"}}}
			call.Model = fmt.Sprintf("model-%s-%t", name, stream) // what is learned of one's limit does not reach the next
			if a := c.Do(t, call); a.Status != 200 || a.Key != "1" {
				t.Fatalf("%s: %s", name, a)
			}
			call.Script = fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1"}
			a := c.Do(t, call)
			attempts := s.Attempts(t, a.Tag)
			if a.Status != 200 || a.Key != "2" || harness.KeysOf(attempts) != "1 2" || a.SHA256 != attempts[len(attempts)-1].AnswerSHA256 {
				t.Fatalf("%s: tried keys %q: %s", name, harness.KeysOf(attempts), a)
			}
			for _, r := range attempts {
				if r.Host != fakegroq.GroqHost || r.SNI != fakegroq.GroqHost || r.Path != harness.ChatPath || r.Header.Get("Cookie") != "" {
					t.Errorf("%s: Groq got %s of %s (SNI %s), headers %v", name, r.Path, r.Host, r.SNI, slices.Sorted(maps.Keys(r.Header)))
				}
			}
			if v := a.Header.Get("x-keywheel-rotate") + a.Header.Get("set-cookie"); v != "" {
				t.Errorf("%s: the answer has what was meant for Envoy, or Groq's cookie: %q", name, v)
			}
		}
	}
	s.AssertOracle(t)
	s.Keywheel.WaitPool(t, "four calls were rescued", func(p harness.PoolState) error {
		if p.Requests != 8 || p.Succeeded != 8 || p.Rescues != 4 {
			return fmt.Errorf("pool %+v", p)
		}
		return nil
	})
}
