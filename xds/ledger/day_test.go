package ledger

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// traffic is one Envoy that reports once a minute, and a clock that ticks as often.
type traffic struct {
	*world
	*envoy
	log []string
}

// until lets the time pass.
func (d *traffic) until(clock string) {
	d.Helper()
	for to := at(clock); d.Now().Before(to); {
		d.wait(time.Minute)
		d.send(d.envoy)
		d.tick()
		for _, line := range d.said() {
			d.log = append(d.log, d.Now().Format("15:04 ")+line)
		}
	}
}

// serve is n requests that take so many tokens in all. The first takes first.
func (d *traffic) serve(c protocol.CredentialID, n int, first, tokens int64) {
	d.spend(today, c, first)
	tokens -= first
	for i := 1; i < n; i++ {
		part := tokens / int64(n-i)
		d.spend(today, c, part)
		tokens -= part
	}
}

// TestDay is the user's story, told to the ledger as a filter would.
func TestDay(t *testing.T) {
	w := newWorld(t, threeKeys())
	d := &traffic{world: w, envoy: w.newEnvoy()}
	d.until("08:05")
	d.note(w.Now(), protocol.Note{Kind: protocol.NoteReturned, Window: today, To: "1.1"})
	d.note(w.Now(), protocol.Note{Kind: protocol.NoteCompletion, Window: today, To: "1.1", Ordinal: 1, Tokens: 84})
	d.serve("1.1", 12, 84, 1234)
	d.until("08:15")
	for _, step := range []struct {
		clock    string
		requests int
		tokens   int64
	}{{"08:30", 22, 2222}, {"08:45", 22, 2222}, {"09:00", 22, 2212}, {"10:00", 29, 2910}, {"11:30", 22, 2160}} {
		d.until(at(step.clock).Add(-time.Minute).Format("15:04"))
		d.serve("1.1", step.requests, 90, step.tokens)
		d.until(step.clock)
	}
	if k := d.key("1"); k.Status != quota.Critical || k.Used != 12960 || k.Remaining != 1440 || k.Percent != 90 || !k.InUse {
		t.Errorf("at 11:30 key 1 is %+v", k)
	}
	d.until("12:14")
	d.serve("1.1", 15, 96, 1440)
	d.note(w.Now(), protocol.Note{Kind: protocol.NoteRotated, Window: today, From: "1.1", To: "2.1", Reason: "exhausted"})
	d.note(w.Now(), protocol.Note{Kind: protocol.NoteCompletion, Window: today, To: "2.1", Ordinal: 145, Tokens: 123})
	d.serve("2.1", 1, 123, 123)
	d.until("13:59")
	d.serve("2.1", 255, 30, 8500-123)
	d.until("14:00")
	checkAfternoon(t, w.View())
	d.serve("2.1", 50, 30, 1734)
	d.until("18:00")
	v := w.View()
	if v.Pool.Requests != 450 || v.Pool.Used != 24634 || v.Pool.Rotations != 1 || v.Pool.Remaining != 43200-24634 || v.Keys[0].Requests != 144 || v.Keys[1].Requests != 306 || v.Keys[1].Used != 10234 {
		t.Errorf("at 18:00 %+v, %+v", v.Pool, v.Keys)
	}
	d.until("24:00")
	v = w.View()
	if v.Keys[0].Status != quota.Active || v.Keys[1].Status != quota.Standby || v.Keys[2].Status != quota.Standby || v.Pool.Used != 0 || v.Health != 100 || v.Window.String() != "2025-11-19" {
		t.Errorf("at midnight %+v", v)
	}
	d.until("24:02")
	golden(t, "day.log", strings.Join(d.log, "\n")+"\n")
	checkDayEvents(t, w.Events(0, 0))
	checkDaySummary(t, w)
	w.check()
}

func checkAfternoon(t *testing.T, v View) {
	t.Helper()
	var status []quota.Status
	for _, k := range v.Keys {
		status = append(status, k.Status)
	}
	if diff := cmp.Diff([]quota.Status{quota.Exhausted, quota.Active, quota.Standby}, status); diff != "" {
		t.Errorf("statuses at 14:00:\n%s", diff)
	}
	if v.Health != 95 || v.Pool.KeyInUse != "2" || v.Pool.Requests != 400 || v.Keys[1].Percent != 59 || v.ResetsAt.Sub(v.Now) != 10*time.Hour {
		t.Errorf("at 14:00 health %v, pool %+v, key 2 %v %%, %v to the reset", v.Health, v.Pool, v.Keys[1].Percent, v.ResetsAt.Sub(v.Now))
	}
	if v.Keys[2].Score != 70 {
		t.Errorf("a fresh last key scores %v, want 70", v.Keys[2].Score)
	}
}

func checkDayEvents(t *testing.T, events []event.Event) {
	t.Helper()
	var got []string
	for i, e := range events {
		if e.ID != int64(i+1) {
			t.Errorf("event %d has ID %d", i+1, e.ID)
		}
		got = append(got, strings.Join([]string{string(e.Kind), string(e.Level), e.Key, quota.Group(e.Used), e.From + ">" + e.To}, " "))
	}
	want := []string{
		"threshold warning 1 10,800 >", "threshold critical 1 12,960 >", "threshold info 1 14,400 >", "rotated info 2 0 1>2", "reset info  0 >", "summary info  0 >",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// A day that the filters' clock and the ledger's do not agree on, late reports, and jumps of the clock lose nothing.
func TestJumpsOfTheClock(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 11000)
	w.send(e)
	w.tick()
	for _, to := range []time.Duration{-9 * time.Hour, 25 * time.Hour, 50 * time.Hour, 0} {
		w.jump(at("08:00").Add(to))
		for range 3 {
			w.tick()
			w.wait(time.Second)
			if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); err != nil && to != 50*time.Hour {
				t.Fatalf("after a jump of %v: %v", to, err)
			}
		}
	}
	e.spend(today, "1.1", 500)
	w.send(e)
	if got := w.key("1").Used; got != 11500 {
		t.Errorf("used %d, want 11500", got)
	}
	thresholds, resets := 0, 0
	for _, ev := range w.Events(0, 0) {
		switch ev.Kind {
		case event.Threshold:
			thresholds++
		case event.Reset:
			resets++
		}
	}
	if thresholds != 1 || resets != 2 {
		t.Errorf("%d thresholds and %d resets, want 1 and 2: %+v", thresholds, resets, w.Events(0, 0))
	}
	w.check()
}

func TestMidnightWhileStopped(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 14400)
	w.send(e)
	w.said()
	w.jump(at("23:58"))
	e.spend(today, "2.1", 10) // at 23:59, charged to the day
	e.spend("2025-11-19", "1.1", 20)
	w.jump(at("23:58").Add(7 * time.Minute))
	w.reopen()
	w.tick()
	w.send(e)
	v := w.View()
	if v.Keys[0].Used != 20 || v.Keys[0].Status != quota.Active || v.Keys[1].Used != 0 {
		t.Errorf("keys %+v", v.Keys)
	}
	d, _ := w.Day(window(today))
	if len(d.Credentials) != 2 || d.Credentials[0].Models[0].Total != 14400 || d.Credentials[1].Models[0].Total != 10 {
		t.Errorf("the day before has %+v", d)
	}
	if said := w.said(); len(said) != 1 || said[0] != "INFO New day 2025-11-19 (UTC): all keys at 0" {
		t.Errorf("said %q", said)
	}
}

func TestFoldingKeepsTheSums(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	for i := range 20 {
		a.spend(today, "1.1", int64(100+i))
		b.spend(today, "1.1", int64(7*i))
		b.spend(today, "2.1", 5)
	}
	b.note(w.Now(), protocol.Note{Kind: protocol.NoteRotated, Window: today, From: "1.1", To: "2.1", Reason: "cooling"})
	w.send(a)
	w.send(b)
	before, _ := w.Day(window(today))
	next := func() {
		w.jump(w.Now().Add(24 * time.Hour))
		for range 3 {
			w.tick()
			w.wait(6 * time.Minute)
			for _, e := range []*envoy{a, b} {
				if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); err != nil {
					t.Log(err)
				}
			}
		}
	}
	next()
	if after, _ := w.Day(window(today)); len(w.sources) == 0 || cmp.Diff(before, after) != "" {
		t.Errorf("yesterday is %+v", after)
	}
	next()
	for id := range w.sources {
		if id.window <= window(today) {
			t.Errorf("source %v is still there", id)
		}
	}
	after, ok := w.Day(window(today))
	if diff := cmp.Diff(before, after); !ok || diff != "" {
		t.Errorf("folded (-before +after):\n%s", diff)
	}
	if after.Rotations != 1 || after.Gate.Requests != 60 {
		t.Errorf("the day has %+v", after)
	}
	foldedIsClosed(t, w)
	w.check()
	w.reopen()
	if again, _ := w.Day(window(today)); cmp.Diff(before, again) != "" {
		t.Errorf("after a restart %+v", again)
	}
	forgetsInTheEnd(t, w)
}

// foldedIsClosed reports for a folded window, from Envoys that were not heard of.
func foldedIsClosed(t *testing.T, w *world) {
	t.Helper()
	w.jump(at("12:00").Add(24 * time.Hour)) // the clock goes back, to when that was yesterday
	for _, started := range []time.Duration{-24 * time.Hour, 0} {
		e := newEnvoy(w.host.Add(started))
		e.spend(today, "1.1", 1)
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrGone) {
			t.Errorf("a folded window was counted in again: %v", err)
		}
	}
	old := newEnvoy(w.host.Add(-24 * time.Hour))
	if _, err := w.Apply(t.Context(), old.peer, old.report(w.Now())); !errors.Is(err, ErrGone) {
		t.Errorf("an incarnation that may have been folded away: %v", err)
	}
}

func forgetsInTheEnd(t *testing.T, w *world) {
	t.Helper()
	w.jump(at("12:00").Add(40 * 24 * time.Hour))
	for range 3 {
		w.tick()
		w.wait(6 * time.Minute)
	}
	if _, ok := w.Day(window(today)); ok || len(w.incarnations) > 0 {
		t.Errorf("a day beyond the history is kept, or %d incarnations are", len(w.incarnations))
	}
	w.check()
}
