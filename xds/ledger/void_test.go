package ledger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
)

// What a process counted leaves the account, and it is refused from then on; what others counted stays, and they get what
// it held.
func TestVoid(t *testing.T) {
	w := newWorld(t, threeKeys())
	good, bad := w.newEnvoy(), w.newEnvoy()
	good.spend(today, "1.1", 1000)
	w.send(good)
	bad.spend(today, "1.1", 12_000)
	bad.spend("2025-11-17", "2.1", 300)
	bad.window(today).Callers = []protocol.CallerUsage{{Caller: "x", Requests: 1, Total: 12_000}}
	w.send(bad)
	w.send(good)
	told := len(w.eventsOf(event.Threshold))
	if w.key("1").Used != 13_000 || told == 0 {
		t.Fatalf("used %d, %d thresholds", w.key("1").Used, told)
	}
	if err := w.Void(t.Context(), bad.id, audit.Entry{Who: audit.Admin}); err != nil {
		t.Fatal(err)
	}
	w.check()
	for _, p := range w.View().Proxies {
		if p.Voided != (p.Incarnation == bad.id) || p.Voided == p.Connected {
			t.Errorf("shown is %+v", p)
		}
	}
	if k := w.key("1"); k.Used != 1000 || k.Requests != 1 {
		t.Errorf("used %d in %d requests", k.Used, k.Requests)
	}
	if d, _ := w.Day(window("2025-11-17")); len(d.Credentials) != 0 || w.View().Pool.Requests != 1 || len(w.Callers(window(today))) != 0 {
		t.Errorf("the day before has %+v", d)
	}
	if by, _ := w.Series(window(today)); sumOf(by["1"].Tokens) != 1000 {
		t.Errorf("the chart has %v", by["1"])
	}
	for range 3 {
		_, err := w.Apply(t.Context(), bad.peer, bad.report(w.Now()))
		if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "voided") {
			t.Errorf("its report: %v", err)
		}
		if p := w.shown(bad.id); !p.Voided || !p.RefusedAt.Equal(w.Now()) {
			t.Errorf("it runs on, and shown is %+v", p)
		}
		w.reopen()
		if p := w.shown(bad.id); p.Voided {
			t.Errorf("nothing was heard of it, and shown is %+v", p)
		}
	}
	a := w.send(good)
	if a.Allowances[0].Tokens < 14_000 {
		t.Errorf("what it held is not free: %+v", a.Allowances[0])
	}
	if e := w.Newest(1)[0]; e.Kind != event.Voided || e.Level != event.Warning || e.Node != "envoy" || e.Detail != bad.id || e.Used != 12_300 || e.By != audit.Admin {
		t.Errorf("the event is %+v", e)
	}
	e := w.Audits(1)[0]
	if e.What != "void proxy" || !strings.Contains(e.Detail, bad.id) {
		t.Errorf("the audit has %+v", e)
	}
	good.spend(today, "1.1", 11_000)
	w.send(good)
	if len(w.eventsOf(event.Threshold)) == told {
		t.Error("a threshold that is really reached now is not told")
	}
	w.check()
	if err := w.Void(t.Context(), "019a9564-7c00-7000-8000-00000000dead", audit.Entry{}); !errors.Is(err, ErrNoIncarnation) {
		t.Error(err)
	}
	if n := len(w.eventsOf(event.Voided)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// shown is an incarnation as people see it; the zero value if they do not.
func (w *world) shown(incarnation string) ProxyView {
	for _, p := range w.View().Proxies {
		if p.Incarnation == incarnation {
			return p
		}
	}
	return ProxyView{}
}

func sumOf(values []int64) (sum int64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

func TestVoidThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 11_000)
	w.send(e)
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	if err := w.Void(t.Context(), e.id, audit.Entry{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	w.store.Before = nil
	e.spend(today, "1.1", 10)
	w.send(e)
	w.check()
	if used := w.key("1").Used; used != 11_010 || len(w.Audits(1)) != 0 {
		t.Errorf("used %d", used)
	}
}

// A voided process stays so over a restore of a backup that does not know it, and for as long as it may report.
func TestVoidedStaysVoided(t *testing.T) {
	w := newWorld(t, threeKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	w.send(other)
	without := w.memory.Records()
	e.spend(today, "1.1", 100)
	w.send(e)
	with := w.memory.Records()
	if err := w.Void(t.Context(), e.id, audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrGone) || w.key("1").Used != 0 {
			t.Errorf("%v, used %d", err, w.key("1").Used)
		}
	}
	w.restore(without)
	refused()
	w.restore(with)
	refused()
	for range 80 {
		w.wait(12 * time.Hour)
		w.send(other)
		w.tick()
		w.wait(settled)
		w.tick()
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrGone) {
			t.Fatalf("after days: %v", err)
		}
	}
	w.check()
}
