package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/audit"
	"keywheel/xds/event"
)

func TestInvalidKey(t *testing.T) {
	w := newWorld(t, threeKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	w.send(e)
	w.said()
	e.found = []protocol.Finding{{Credential: "1.1", Org: "key-1", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: 3_600_000, AgeMS: 2000}}
	w.send(e)
	before, _ := w.memory.Commits()
	for _, ms := range []int64{-700, 1200} { // the same, seen a little sooner or later
		e.found[0].RemainingMS += ms
		w.send(e)
	}
	if after, _ := w.memory.Commits(); after != before {
		t.Error("a finding that is known is written again")
	}
	e.found[0].RemainingMS = 3_600_000
	if diff := cmp.Diff([]string{"ERROR Groq Key 1 refused by Groq (invalid_api_key)"}, w.said()); diff != "" {
		t.Error(diff)
	}
	k := w.key("1")
	if k.Status != quota.Invalid || k.Reason != "invalid_api_key" || !k.InvalidSince.Equal(w.Now().Add(-2*time.Second)) || w.View().Pool.KeyInUse != "2" || w.View().Health != 95 {
		t.Errorf("key %+v", k)
	}
	want := []protocol.Finding{{Credential: "1.1", Org: "key-1", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: 3_600_000, AgeMS: 2000}}
	if diff := cmp.Diff(want, w.send(other).Findings); diff != "" {
		t.Errorf("others learn (-want +got):\n%s", diff)
	}
	w.reopen()
	if w.key("1").Status != quota.Invalid {
		t.Error("forgotten by a restart")
	}
	generation, err := w.Clear(t.Context(), "1", audit.Entry{})
	if err != nil || generation != w.Assignment().Generation {
		t.Errorf("generation %d of %d, %v", generation, w.Assignment().Generation, err)
	}
	w.send(e) // it still says so, of the credential before
	if k := w.key("1"); k.Status != quota.Active || k.Credential != "1.2" || w.Stats().IgnoredFindings != 1 {
		t.Errorf("after a clear %+v, stats %+v", k, w.Stats())
	}
	w.check()
}

func TestClearKeepsTheUsageAndClearsTheOrganization(t *testing.T) {
	keys := bigKeys()
	keys[1].Org = keys[0].Org
	w := newWorld(t, keys)
	e := w.newEnvoy()
	e.spend(today, "1.1", 500)
	e.found = []protocol.Finding{
		{Credential: "1.1", Kind: protocol.Restricted, Code: "organization_restricted", RemainingMS: 60_000},
		{Credential: "3.1", Kind: protocol.Cooling, RemainingMS: 60_000},
	}
	w.send(e)
	if w.key("2").Status != quota.Invalid || w.key("3").Status != quota.Cooling {
		t.Errorf("key 2 %s, key 3 %s", w.key("2").Status, w.key("3").Status)
	}
	held := w.held("1")
	if _, err := w.Clear(t.Context(), "2", audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	if k := w.key("1"); k.Used != 500 || k.Credential != "1.2" || k.Status != quota.Active {
		t.Errorf("key 1 %+v", k)
	}
	if w.key("2").Credential != "2.2" || w.key("3").Credential != "3.1" || w.key("3").Status != quota.Cooling {
		t.Error("other keys")
	}
	if w.held("1") != held {
		t.Error("what Envoys may still spend of the old credential was forgotten")
	}
	old := func(a *protocol.Answer) (n int64) {
		for _, x := range a.Allowances {
			if x.Credential == "1.1" && x.Window == today {
				n = x.Tokens
			}
		}
		return n
	}
	e.found = nil
	if got := old(w.send(e)); got != 500 {
		t.Errorf("of the old credential %d are allowed", got)
	}
	if got := old(w.send(e)); got != 0 {
		t.Error("the old credential is spoken of after it was given up")
	}
	if a := w.send(e); a.Allowances[0].Credential != "1.2" || a.Allowances[0].Tokens != 144000-500-2880 {
		t.Errorf("of the new credential %+v", a.Allowances[0])
	}
	if _, err := w.Clear(t.Context(), "9", audit.Entry{}); err == nil {
		t.Error("cleared a key that is not there")
	}
	w.check()
}

func TestNewSecretStartsAtZero(t *testing.T) {
	keys := threeKeys()
	w := newWorld(t, keys)
	e := w.newEnvoy()
	e.spend(today, "1.1", 14400)
	e.found = []protocol.Finding{{Credential: "1.1", Kind: protocol.Invalid, RemainingMS: 60_000}}
	w.send(e)
	before := w.Assignment()
	w.reopen()
	if diff := cmp.Diff(before, w.Assignment()); diff != "" {
		t.Errorf("the same keys are another assignment after a restart:\n%s", diff)
	}
	keys[0].SecretHash = [32]byte{99}
	w.reopen()
	if k := w.key("1"); k.Used != 0 || k.Credential != "1.2" || k.Status != quota.Active {
		t.Errorf("key %+v", k)
	}
	revision, base, hash, ok := w.Credential("1")
	if revision != 2 || base != 2 || hash != keys[0].SecretHash || !ok {
		t.Errorf("credential %d %d %x %v", revision, base, hash, ok)
	}
	e.spend(today, "1.1", 5) // a request in flight
	w.send(e)
	if w.key("1").Used != 0 {
		t.Error("the old secret's usage counts for the new one")
	}
	w.check()
}

func TestCoolingOfEveryModelInUse(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 5) // of model llama
	e.found = []protocol.Finding{{Credential: "1.1", Kind: protocol.Cooling, Model: "qwen", Code: "rate_limit_exceeded", RemainingMS: 60_000}}
	w.send(e)
	if w.key("1").Status != quota.Active {
		t.Error("cooling for a model that nobody uses")
	}
	e.found = append(e.found, protocol.Finding{Credential: "1.1", Kind: protocol.Cooling, Model: "llama", Code: "rate_limit_exceeded", RemainingMS: 20_000})
	w.send(e)
	if k := w.key("1"); k.Status != quota.Cooling || !k.CoolingUntil.Equal(w.Now().Add(20*time.Second)) || k.Reason != "rate_limit_exceeded" {
		t.Errorf("key %+v", k)
	}
	e.found = nil
	w.wait(20 * time.Second)
	if w.key("1").Status != quota.Active {
		t.Error("it cools on")
	}
	w.tick()
	if len(w.findings) != 1 {
		t.Errorf("%d findings are kept", len(w.findings))
	}
	w.check()
}

func TestFindingsAreBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.found = []protocol.Finding{
		{Credential: "1.1", Kind: protocol.Cooling, RemainingMS: 1 << 50, AgeMS: 1 << 50},
		{Credential: "2.1", Kind: protocol.Cooling, RemainingMS: 0},
		{Credential: "3.1", Kind: "other", RemainingMS: 1000},
		{Credential: "3.7", Kind: protocol.Invalid, RemainingMS: 1000},
		{Credential: "8.1", Kind: protocol.Invalid, RemainingMS: 1000},
	}
	a := w.send(e)
	if len(a.Findings) != 1 || a.Findings[0].RemainingMS != maxAge.Milliseconds() {
		t.Errorf("findings %+v", a.Findings)
	}
	if w.Stats().IgnoredFindings != 3 {
		t.Errorf("stats %+v", w.Stats())
	}
	events := w.Events(0, 0)
	if len(events) != 1 || events[0].Kind != event.KeyCooling {
		t.Errorf("events %+v", events)
	}
	w.wait(maxAge)
	w.tick()
	if events := w.Events(1, 0); len(events) != 2 || events[0].Kind != event.KeyRecovered || events[1].Kind != event.Reset {
		t.Errorf("events %+v", events)
	}
	w.check()
}
