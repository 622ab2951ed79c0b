package e2e

import (
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// Forty assignments come to an Envoy under load, each giving key 1 a new credential. No call fails for one, neither a
// stream nor one whose error the filter holds back at that moment, and in the end the ledger has every token.
func TestPushesUnderLoad(t *testing.T) {
	const pushes, clients = 40, 4 // clients of each kind
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000), Remember: -1},
		Settings: map[string]string{"KEYWHEEL_PUSH_INTERVAL": "50ms", "KEYWHEEL_REPORT_INTERVAL": "100ms"},
	})
	kinds := map[string]harness.Call{ // what fails is sent slowly, so that the filter holds it while assignments change
		"json":     {},
		"stream":   {Stream: true},
		"caller's": {Script: fakegroq.Rule{Fault: fakegroq.BadRequest, Piece: 16, Drip: fakegroq.Duration(10 * time.Millisecond)}},
		"limited":  {Script: fakegroq.Rule{Fault: fakegroq.RateBare, Only: "1", Piece: 16, Drip: fakegroq.Duration(10 * time.Millisecond)}},
	}
	var loads []*harness.Load
	served := map[string]map[string]int{} // by kind and key; each kind's is written by its own load
	for kind, call := range kinds {
		byKey, c := map[string]int{}, s.H1
		if call.Stream {
			c = s.H2
		}
		want := 200
		if kind == "caller's" {
			want = 400
		}
		served[kind] = byKey
		loads = append(loads, harness.StartLoad(t, c, clients, call, func(_ int, a harness.Answer, err error) bool {
			if err != nil || a.Err != nil || a.Status != want || want == 400 && a.ErrorMessage() == "" {
				t.Errorf("%s: %v, %s", kind, err, a)
				return false
			}
			byKey[a.Key]++
			return true
		}))
	}
	before := s.Keywheel.Proxies(t)[0].Config
	for range pushes {
		s.Keywheel.WaitGranted(t, s.Keywheel.Clear(t, "1"))
		if t.Failed() {
			break
		}
	}
	for _, load := range loads {
		load.Stop()
	}
	p := s.Keywheel.Proxies(t)
	if len(p) != 1 || p[0].Config < before+pushes || p[0].Rejected != 0 {
		t.Errorf("after %d pushes from generation %d on: %+v", pushes, before, p)
	}
	for kind, byKey := range served {
		if len(byKey) == 0 {
			t.Errorf("%s: no call was answered", kind)
		}
	}
	s.AssertOracle(t)
	t.Logf("served by kind and key: %v; %+v", served, p)
}
