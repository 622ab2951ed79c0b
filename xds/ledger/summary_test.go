package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
	"keywheel/xds/summary"
)

// checkDaySummary finds the story's day summed up otherwise than in the story.
func checkDaySummary(t *testing.T, w *world) {
	t.Helper()
	want := summary.Summary{
		Window: today, Requests: 450, Succeeded: 450, TimeMS: 450 * 1200, Tokens: 24634, Rotations: 1,
		Alerts: []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 1}},
		Keys: []summary.Key{
			{ID: "1", Label: "Primary", Requests: 144, Tokens: 14400, Limit: 14400, Models: llama(14400)},
			{ID: "2", Label: "Backup", Requests: 306, Tokens: 10234, Limit: 14400, Models: llama(10234)},
			{ID: "3", Label: "Emergency", Limit: 14400},
		},
		Models:      llama(24634),
		RotationLog: []summary.Rotation{{At: at("12:15"), From: "1", To: "2", Reason: "exhausted"}},
	}
	s, ok := w.Summary(window(today))
	parts := cmpopts.IgnoreFields(summary.Model{}, "Prompt", "Completion") // of which the story does not speak
	if diff := cmp.Diff(want, s, parts); diff != "" || !ok || s.Models[0].Prompt+s.Models[0].Completion != 24634 {
		t.Errorf("the summary (-want +got):\n%s", diff)
	}
	const line = "📊 Daily Summary (2025-11-18): Total Requests 450 · Total Tokens 24,634 · Success Rate 100% · Avg Response Time 1.2s · " +
		"Keys Rotated 1 time (Key 1 → Key 2) · Alerts Sent 2 (Warning + Critical) · Downtime 0s"
	if s.Line() != line {
		t.Errorf("the line is\n%s, want\n%s", s.Line(), line)
	}
	told := w.summaries()
	if len(told) != 1 || told[0].Window != today || told[0].Detail != "📊 Daily Summary (2025-11-18)" {
		t.Fatalf("told %+v", told)
	}
	golden(t, "day-summary.txt", told[0].Text+"\n")
}

func llama(tokens int64) []summary.Model { return []summary.Model{{Name: "llama", Total: tokens}} }

// summaries are the events that tell of days.
func (w *world) summaries() []event.Event { return w.eventsOf(event.Summary) }

// wantTold finds other days told of.
func (w *world) wantTold(when string, want ...string) {
	w.Helper()
	var got []string
	for _, e := range w.summaries() {
		got = append(got, e.Window)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestSummaryWaitsForTheLiving(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	w.jump(at("23:59"))
	for _, e := range []*envoy{a, b} {
		e.spend(today, "1.1", 100)
		w.send(e)
	}
	w.tick()
	w.jump(at("24:00"))
	second := func(envoys ...*envoy) {
		w.tick()
		w.wait(time.Second)
		for _, e := range envoys {
			w.send(e)
		}
	}
	b.spend(today, "1.1", 23) // in the last second
	second(a)
	second(a)
	w.wantTold("before all have reported")
	second(a, b)
	w.wantTold("within a lease")
	second(a, b)
	w.tick()
	w.wantTold("then", today)
	if got := w.summaries()[0].Text; !strings.Contains(got, "Total Tokens: 223") {
		t.Errorf("it says\n%s", got)
	}
	for range 20 {
		second(a, b)
	}
	w.reopen()
	for range 20 {
		second(a, b)
	}
	w.wantTold("in the end", today)
	w.check()
}

func TestSummaryDoesNotWaitForTheDead(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	w.send(a)
	w.send(b)
	w.tick()
	w.jump(at("24:00"))
	w.tick()
	for range 3 {
		w.wait(time.Second)
		w.send(a)
		w.tick()
		w.wantTold("while the silent one may live")
	}
	w.wait(time.Second)
	w.send(a)
	w.tick()
	w.wantTold("when it is dead", today)
}

// A control plane that was away over midnight, or for days, tells what is over once it knows who lives; of the days
// between, of which nothing is known, it says nothing.
func TestSummaryAfterAnAbsence(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		want []string
	}{
		"over midnight":  {20 * time.Minute, []string{today}},
		"for three days": {3 * 24 * time.Hour, []string{today, "2025-11-20"}},
		"for a season":   {100 * 24 * time.Hour, []string{"2026-02-25"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			w.jump(at("23:50"))
			e := w.newEnvoy()
			e.spend(today, "1.1", 100)
			w.send(e)
			w.tick()
			w.jump(at("23:50").Add(c.away))
			w.host = w.host.Add(c.away)
			w.reopen()
			e.spend(today, "1.1", 11)
			for range 3 {
				w.tick()
				w.wantTold("before it is known who lives")
				w.wait(time.Second)
				if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); err != nil && !errors.Is(err, ErrGone) {
					t.Fatal(err)
				}
			}
			for range 5 {
				w.tick()
				w.wait(time.Second)
			}
			w.wantTold("then", c.want...)
			if c.want[0] == today {
				tokens := map[bool]string{true: "111", false: "100"}[len(c.want) == 1] // late usage counts while the day is not closed
				if text := w.summaries()[0].Text; !strings.Contains(text, "Total Tokens: "+tokens+"\n") {
					t.Errorf("it says\n%s", text)
				}
			}
			w.check()
		})
	}
}

// A day stays what it came to: with usage that came after it was told, when its sources are folded, after a restart.
func TestSummaryIsKept(t *testing.T) {
	w := newWorld(t, threeKeys())
	g := w.newGateway()
	g.spend(today, "1.1", 13000)
	g.send()
	g.note(w.Now(), rotated("1.1", "2.1", "cooling"))
	g.window(today).Gate.Rescues++
	g.send()
	g.window(today).Gate.Rescues++ // in the same minute
	g.credential(today, "1.1").Attempts["limited"] = 5
	g.window(today).Gate.Limited, g.window(today).Gate.Failed, g.window(today).Gate.Requests = 2, 2, 4
	g.refuse()
	g.send()
	day := func() {
		w.jump(w.Now().Add(24 * time.Hour))
		for range 4 {
			w.tick()
			w.wait(4 * time.Second)
			g.now() // a report tells of today
			g.send()
		}
	}
	day()
	w.wantTold("the day after", today)
	g.spend(today, "2.1", 1000) // what an Envoy that was cut off had not told yet
	g.send()
	before, _ := w.Summary(window(today))
	want := summary.Summary{
		Window: today, Requests: 5 + 1, Succeeded: 2, Refused: 1, Failed: 2, TimeMS: 2400, Tokens: 14000, Rotations: 1, Rescues: 2,
		Limited: 5, Absorbed: 3, Down: time.Second, Alerts: []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 1}},
		Keys: before.Keys, Models: before.Models, RotationLog: before.RotationLog,
		RescueLog: []summary.Moment{{At: at("08:00"), N: 2}},
		DownLog:   []summary.Span{{From: at("08:00").Add(-time.Millisecond), To: at("08:00").Add(time.Second - time.Millisecond)}},
	}
	if diff := cmp.Diff(want, before); diff != "" || len(before.Keys) != 3 || before.Keys[1].Tokens != 1000 || len(before.RotationLog) != 1 {
		t.Errorf("with late usage (-want +got):\n%s", diff)
	}
	day()
	w.host = w.host.Add(settled)
	w.tick()
	if len(w.days[window(today)].Folded.Credentials) != 2 {
		t.Fatal("it is not folded")
	}
	keys := threeKeys()
	keys[0].LimitTokens, keys[1].Label = 99, "Other" // of days that are over it changes nothing
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		after, ok := w.Summary(window(today))
		if diff := cmp.Diff(before, after); diff != "" || !ok {
			t.Errorf("folded (-before +after):\n%s", diff)
		}
		w.check()
		w.reopen()
	}
}

func TestSummaryOfADayWithoutTraffic(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.tick()
	w.jump(at("24:00"))
	e := w.newEnvoy() // which is granted something of the next day, too
	w.send(e)
	w.said()
	for range 6 {
		w.send(e)
		w.tick()
		w.wait(time.Second)
	}
	want := []string{
		"INFO 📊 Daily Summary (2025-11-18): Total Requests 0 · Total Tokens 0 · Success Rate no requests · Avg Response Time none · Keys Rotated 0 times · Alerts Sent 0 · Downtime 0s",
	}
	if diff := cmp.Diff(want, w.said()); diff != "" {
		t.Error(diff)
	}
	if _, ok := w.Summary(window(tomorrow)); !ok {
		t.Error("today has no summary")
	}
	for _, name := range []string{"2025-11-01", "2025-11-20"} {
		if s, ok := w.Summary(window(name)); ok {
			t.Errorf("%s, of which nothing is known, has %+v", name, s)
		}
	}
}

func TestSummaryThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.tick()
	w.jump(at("24:00"))
	w.tick()
	w.wait(5 * time.Second)
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	for range 3 {
		if err := w.Tick(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	w.wantTold("while the store fails")
	w.store.Before = nil
	w.tick()
	w.tick()
	w.wantTold("then", today)
	w.check()
}

func TestSummaryOfKeysThatAreGone(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 10)
	e.spend(today, "3.1", 30)
	w.send(e)
	keys := threeKeys()[:2]
	keys[0].SecretHash = [32]byte{9} // a new secret: the key's use of the day stays one
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	e.spend(today, "1.2", 5)
	w.send(e)
	s, _ := w.Summary(window(today))
	var got []string
	for _, k := range s.Keys {
		got = append(got, fmt.Sprint(k.ID, " ", k.Label, " ", k.Requests, " ", k.Tokens, " ", len(k.Models)))
	}
	if diff := cmp.Diff([]string{"1 Primary 2 15 1", "2 Backup 0 0 0", "3 removed 1 30 1"}, got); diff != "" || s.Tokens != 45 {
		t.Errorf("%d tokens, %s", s.Tokens, diff)
	}
}

func TestSummaryNamesAlerts(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	err := w.do(context.Background(), func(t *tx) error {
		for _, ev := range []event.Event{
			{Kind: event.ClockSkew, Level: event.Warning}, {Kind: event.KeyInvalid, Level: event.Critical}, {Kind: event.AllOut, Level: event.Critical},
			{Kind: event.Threshold, Level: event.Critical}, {Kind: event.AllOut, Level: event.Critical}, {Kind: event.Threshold, Level: event.Critical},
			{Kind: event.Threshold, Level: event.Info}, {Kind: event.Threshold, Level: event.Warning, Late: true}, // the last six are none
			{Kind: event.Forecast, Level: event.Warning, Key: "1"}, {Kind: event.PoolForecast, Level: event.Critical},
			{Kind: event.Test, Level: event.Warning}, {Kind: event.AllOut, Level: event.Critical, Window: "2025-11-17"},
		} {
			t.tell(ev)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := w.Summary(window(today))
	want := []summary.Count{{What: "Clock skew", N: 1}, {What: "Key invalid", N: 1}, {What: "All keys out", N: 2}, {What: "Critical", N: 2}}
	if diff := cmp.Diff(want, s.Alerts); diff != "" || s.AlertCount() != 6 {
		t.Errorf("%d alerts\n%s", s.AlertCount(), diff)
	}
}

// However the clock jumps, the control plane restarts and the store fails: no day is told twice, none while it is
// today's, and each in its turn.
func TestNoDayIsToldTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		told := 0
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				jump := rapid.SampledFrom([]time.Duration{-time.Hour, 25 * time.Hour, -25 * time.Hour, 3 * time.Hour, 72 * time.Hour, -72 * time.Hour}).Draw(t, "jump")
				w.jump(w.Now().Add(jump))
			case 1:
				w.reopen()
			case 2:
				w.store.Before = func([]store.Record) error { return errors.New("broken") }
				_ = w.Tick(context.Background())
				w.store.Before = nil
			}
			clear(e.windows)
			e.spend(quota.WindowAt(w.Now()).String(), "1.1", 10)
			if _, err := w.Apply(context.Background(), e.peer, e.report(w.Now())); err != nil && !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			w.tick()
			w.wait(rapid.SampledFrom([]time.Duration{time.Second, 4 * time.Second, settled}).Draw(t, "time"))
			summaries := w.summaries()
			for i, s := range summaries {
				if i > 0 && s.Window <= summaries[i-1].Window {
					t.Fatalf("%s is told after %s", s.Window, summaries[i-1].Window)
				}
				if i >= told && s.Window >= quota.WindowAt(s.At).String() {
					t.Fatalf("%s is told while it is %s", s.Window, s.At)
				}
			}
			told = len(summaries)
		}
	})
}
