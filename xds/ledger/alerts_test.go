package ledger

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
)

func TestClockSkewIsToldOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	var ahead time.Duration
	e.host = func() time.Time { return w.mono().Add(ahead) }
	told := func() (seconds []int64) {
		for _, ev := range w.Events(0, 0) {
			if ev.Kind != event.ClockSkew || ev.Level != event.Warning || ev.Node != "envoy" {
				t.Errorf("event %+v", ev)
			}
			seconds = append(seconds, ev.SkewS)
		}
		return seconds
	}
	var want []int64
	for _, step := range []struct {
		ahead time.Duration
		told  bool
	}{
		{0, false}, {30 * time.Second, false}, {31 * time.Second, true}, {time.Hour, false}, {21 * time.Second, false}, {-31 * time.Second, false},
		{20 * time.Second, false}, {25 * time.Second, false}, {-31 * time.Second, true}, {-20 * time.Second, false}, {31 * time.Second, true},
	} {
		ahead = step.ahead
		if step.told {
			want = append(want, int64(ahead.Seconds()))
		}
		for range 2 {
			w.send(e)
			w.send(other)
			w.wait(time.Second)
		}
		if diff := cmp.Diff(want, told()); diff != "" {
			t.Fatalf("%v ahead (-want +got):\n%s", ahead, diff)
		}
	}
	if p := w.View().Proxies; len(p) != 2 || p[0].SkewMS+p[1].SkewMS != 31_000 {
		t.Errorf("proxies %+v", p)
	}
	ahead = 0
	old := e.report(w.Now())
	w.send(e)
	old.HostMS += 3_600_000 // one that was overtaken says nothing of now
	if _, err := w.Apply(t.Context(), e.peer, old); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("after an old report (-want +got):\n%s", diff)
	}
	w.check()
}

func TestClockSkewThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	e.host = func() time.Time { return w.mono().Add(time.Minute) }
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) || len(w.Events(0, 0)) > 0 {
		t.Fatal(err)
	}
	w.store.Before = nil
	for range 2 {
		w.send(e)
	}
	if n := len(w.Events(0, 0)); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestClockThatCannotBe(t *testing.T) {
	for _, ms := range []int64{math.MinInt64, math.MaxInt64, 0} {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		r := e.report(w.Now())
		r.HostMS = ms
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
		if ev := w.Events(0, 0); len(ev) != 1 || (ev[0].SkewS > 0) != (ms > 0) {
			t.Errorf("a host's clock at %d: %+v", ms, ev)
		}
	}
}

// Who was told of a trouble hears that it is over when a person clears the key; of what nobody was told nobody hears.
func TestClearTellsOfRecovery(t *testing.T) {
	keys := threeKeys()
	keys[1].Org = keys[0].Org
	w := newWorld(t, keys)
	e := w.newEnvoy()
	hour := time.Hour.Milliseconds()
	e.found = []protocol.Finding{
		{Credential: "2.1", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: hour},
		{Credential: "1.1", Kind: protocol.Cooling, Model: "llama", RemainingMS: hour},
		{Credential: "1.1", Kind: protocol.Cooling, Model: "qwen", RemainingMS: 10_000}, // not for long
		{Credential: "1.1", Kind: protocol.Blocked, Model: "gpt", RemainingMS: hour},    // nobody is told
		{Credential: "3.1", Kind: protocol.Restricted, RemainingMS: hour},
	}
	w.send(e)
	e.found = nil
	last := w.Events(0, 0)[2].ID
	w.said()
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	if _, err := w.Clear(t.Context(), "1", audit.Entry{}); !errors.Is(err, ErrUnavailable) || len(w.Events(last, 0)) > 0 {
		t.Fatal(err, w.Events(last, 0))
	}
	w.store.Before = nil
	w.tick()
	w.said()
	if _, err := w.Clear(t.Context(), "1", audit.Entry{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range w.Events(last, 0) {
		got = append(got, string(ev.Kind)+" "+ev.Key+" "+ev.Reason+" "+ev.Detail)
	}
	want := []string{"key_cleared 1  ", "key_recovered 1 cooling llama", "key_recovered 2 invalid "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	lines := []string{
		"INFO Groq Key 1 cleared: what was learned of its organization is forgotten", "INFO Groq Key 1 may serve again", "INFO Groq Key 2 may serve again",
	}
	if diff := cmp.Diff(lines, w.said()); diff != "" {
		t.Error(diff)
	}
	w.wait(2 * time.Hour)
	w.tick()
	if after := w.Events(last+3, 0); len(after) != 1 || after[0].Key != "3" || after[0].Reason != string(protocol.Restricted) {
		t.Errorf("in the end %+v", after)
	}
	w.check()
}

// The alert that all keys are out says when the first of them is back.
func TestFirstKeyBack(t *testing.T) {
	spent := func(c protocol.CredentialID) func(*envoy) { return func(e *envoy) { e.spend(today, c, 14400) } }
	found := func(c protocol.CredentialID, kind protocol.FindingKind, model string, d time.Duration) func(*envoy) {
		return func(e *envoy) {
			e.found = append(e.found, protocol.Finding{Credential: c, Kind: kind, Model: model, RemainingMS: d.Milliseconds()})
		}
	}
	for name, c := range map[string]struct {
		disabled string
		troubles []func(*envoy)
		want     time.Time
	}{
		"all exhausted": {"", []func(*envoy){spent("1.1"), spent("2.1"), spent("3.1")}, at("24:00")},
		"one cools down": {"", []func(*envoy){
			spent("1.1"), found("2.1", protocol.Cooling, "", 20*time.Minute), found("3.1", protocol.Cooling, "", 30*time.Minute),
		}, at("08:20")},
		"the first is invalid": {"", []func(*envoy){
			found("1.1", protocol.Invalid, "", time.Minute), found("2.1", protocol.Restricted, "", time.Minute), found("3.1", protocol.Cooling, "", time.Hour),
		}, at("09:00")},
		"all invalid or disabled": {"1", []func(*envoy){found("2.1", protocol.Invalid, "", time.Hour), found("3.1", protocol.Restricted, "", time.Hour)}, time.Time{}},
		"exhausted, and cools down longer": {"1", []func(*envoy){
			spent("2.1"), found("2.1", protocol.Cooling, "", 20*time.Hour), found("3.1", protocol.Invalid, "", time.Minute),
		}, at("08:00").Add(20 * time.Hour)},
		"cools down for one model of two": {"1", []func(*envoy){
			func(e *envoy) {
				e.spend(today, "2.1", 10)
				u := e.credential(today, "2.1")
				u.Models = append(u.Models, protocol.ModelUsage{Model: "qwen", Total: 5})
			},
			found("2.1", protocol.Cooling, "llama", 40*time.Second), found("3.1", protocol.Invalid, "", time.Minute),
		}, at("08:00").Add(40 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			keys := threeKeys()
			for i := range keys {
				keys[i].Disabled = keys[i].ID == c.disabled
			}
			w := newWorld(t, keys)
			e := w.newEnvoy()
			for _, trouble := range c.troubles {
				trouble(e)
			}
			g := &e.window(today).Gate
			g.Requests, g.Refused, g.FirstRefusalMS, g.LastRefusalMS, g.LastServedMS = g.Requests+1, 1, 1, 1, 5000
			e.note(w.Now(), protocol.Note{Kind: protocol.NoteOut, Window: today})
			w.send(e)
			events := w.eventsOf(event.AllOut)
			if len(events) != 1 || !events[0].Until.Equal(c.want) || events[0].Until.IsZero() != c.want.IsZero() {
				t.Errorf("events %+v, want one with %v", events, c.want)
			}
			if !w.View().Pool.AllOut {
				t.Error("the view does not say so")
			}
		})
	}
}

// A configuration that a filter could not use is told of once, and another again; what was refused before this control
// plane was started is not.
func TestRefusedConfigurationIsTold(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	send := func(refused int64) {
		t.Helper()
		r := e.report(w.Now())
		r.BadConfigs = refused
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
	}
	told := func(want int) {
		t.Helper()
		events := w.Events(0, 0)
		for _, ev := range events {
			if ev.Kind != event.Rejected || ev.Level != event.Warning || ev.Node != "envoy" || ev.Detail == "" {
				t.Errorf("event %+v", ev)
			}
		}
		if len(events) != want {
			t.Errorf("told %d times, want %d", len(events), want)
		}
	}
	send(1)
	send(1)
	told(1)
	send(2)
	told(2)
	w.reopen()
	send(2)
	send(2)
	told(2)
	send(3)
	told(3)
}

// Bugs of a filter are told of once for each process, whatever is repeated or started again, and all are counted. A filter
// that says nothing of them is as good as any.
func TestFilterBugsAreToldOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	send := func(e *envoy, bugs int64) {
		t.Helper()
		r := e.report(w.Now())
		r.Panics = bugs
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
	}
	want := func(events int, shown, counted int64) {
		t.Helper()
		told := w.eventsOf(event.Panicked)
		for _, ev := range told {
			if ev.Level != event.Warning || ev.Node != "envoy" || ev.Detail == "" {
				t.Errorf("event %+v", ev)
			}
		}
		if p := w.shown(e.id); len(told) != events || p.Panics != shown || w.Stats().Panics != counted {
			t.Errorf("told %d times, shown are %d, counted %d; want %d, %d, %d", len(told), p.Panics, w.Stats().Panics, events, shown, counted)
		}
	}
	send(e, 0)
	want(0, 0, 0)
	send(e, 2)
	send(e, 2)
	send(e, 1) // overtaken
	want(1, 2, 2)
	send(e, 5)
	want(1, 5, 5)
	w.reopen()
	want(1, 5, 0)
	send(e, 5)
	send(e, 6)
	send(e, 0) // as after a change to an older filter
	want(1, 6, 1)
	send(other, 1)
	want(2, 6, 2)

	backup := w.memory.Records()
	send(e, 9)
	w.restore(backup)
	send(e, 9)
	want(2, 9, 5)
	w.store.Before = func([]store.Record) error { return errors.New("no space left") }
	r := e.report(w.Now())
	r.Panics = 11
	if _, err := w.Apply(t.Context(), e.peer, r); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.store.Before = nil
	want(2, 9, 5)
	w.check()
}
