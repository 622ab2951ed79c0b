package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// Another Envoy process takes over from the one that runs, by a hot restart, under load. No client sees anything but a
// connection that the old one lets go, streams included; the new process, whose memory is empty, is another incarnation
// to the control plane, and does not get the limit twice; and in the end the ledger has every token of both.
func TestHotRestartOfEnvoy(t *testing.T) {
	const limit = 400_000
	s := loaded(t, harness.Seed(t), limit, nil)
	load := startServed(t, s, 16)
	stream := s.H2.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterFirst, Prompt: 30, Completion: 30}})
	load.more(t, 500)
	before := s.Keywheel.Proxies(t)
	old := s.Envoy.HotRestart(t, 4*time.Second)
	s.Groq.Release(stream.ID)
	stream.ReadUntil(t, "[DONE]")
	load.more(t, 500)
	s.Envoy.WaitAssigned(t)
	if exit := old.Wait(t); exit != 0 {
		t.Errorf("the old process's exit code is %d", exit)
	}
	s.Keywheel.WaitKey(t, "1", "is spent", func(k harness.KeyState) error {
		if k.UsedTokens+reserved <= limit {
			return errors.New("it is not")
		}
		return nil
	})
	load.Stop()
	s.AssertOracle(t)
	if told := harness.Oracle(s.Groq, s.Keys)["1"]; told > limit {
		t.Errorf("key 1 served %d tokens, its limit is %d", told, limit)
	}
	after := s.Keywheel.Proxies(t)
	if len(before) != 1 || !slices.ContainsFunc(after, func(p harness.ProxyState) bool {
		return p.Connected && p.Incarnation != before[0].Incarnation && p.Reports > 0
	}) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	t.Logf("%d calls; %+v", load.calls, after)
}

// An Envoy that drains and then ends, as an orchestrator has it do, reports all that it served.
func TestDrainedEnvoyLosesNothing(t *testing.T) {
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000), Remember: -1},
		Settings: map[string]string{"KEYWHEEL_REPORT_INTERVAL": "1m"}, // only the last reports can have it all
	})
	var ended bool
	load := harness.StartLoad(t, s.H1, 8, harness.Call{Stream: true}, func(_ int, a harness.Answer, err error) bool {
		switch {
		case err != nil: // nobody listens any more
			return !ended
		case a.Err != nil || a.Status != 200 || !strings.HasSuffix(string(a.Body), "data: [DONE]\n\n"):
			t.Errorf("%s", a)
		}
		return true
	})
	waitTold(t, s, 300_000)
	s.Envoy.Drain(t)
	told := harness.Oracle(s.Groq, s.Keys)["1"]
	waitTold(t, s, told+50_000)
	load.Look(func() { ended = true })
	load.Stop() // every call that began ends
	if exit := s.Envoy.Terminate(t); exit != 0 {
		t.Errorf("the exit code is %d", exit)
	}
	for id, lost := range unreported(t, s) {
		if lost != 0 {
			t.Errorf("%d tokens of key %s were served and not reported", lost, id)
		}
	}
}
