package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
	"keywheel/xds/threshold"
)

// storyRoute is who hears of what in the user's story.
func storyRoute(e *event.Event) Route {
	r := Route{Log: true}
	if e.Kind == event.Threshold && e.Level != event.Info {
		r.Receivers = append(r.Receivers, "telegram")
		if e.Level == event.Critical {
			r.Receivers = append(r.Receivers, "email")
		}
	}
	return r
}

// newRoutedWorld is a world with receivers.
func newRoutedWorld(t tb, keys []KeyConfig, route func(*event.Event) Route) *world {
	t.Helper()
	w := newWorld(t, keys)
	w.route = route
	w.reopen()
	return w
}

// outboxSays is every notification, oldest first, as "seq receiver key percent% used state".
func (w *world) outboxSays() []string {
	w.Helper()
	var out []string
	for _, n := range w.Notifications(1 << 20) {
		e := n.Event
		out = append(out, fmt.Sprintf("%d %s key %s %d%% of %d %s", n.Seq, n.Receiver, e.Key, e.Percent, e.Used, n.State))
	}
	slices.Reverse(out)
	return out
}

func TestJumpIsNotifiedInOrder(t *testing.T) {
	w := newRoutedWorld(t, threeKeys(), storyRoute)
	e := w.newEnvoy()
	e.spend(today, "1.1", 10080) // 70 %
	w.send(e)
	if got := w.outboxSays(); got != nil {
		t.Errorf("at 70 %% the outbox has %q", got)
	}
	e.spend(today, "1.1", 3600) // 95 %
	for range 3 {
		w.send(e)
		w.reopen()
	}
	e.spend(today, "1.1", 720)
	w.send(e)
	want := []string{
		"1 telegram key 1 75% of 13680 waiting", "2 telegram key 1 90% of 13680 waiting", "3 email key 1 90% of 13680 waiting",
	}
	if diff := cmp.Diff(want, w.outboxSays()); diff != "" {
		t.Error(diff)
	}
	n := w.Waiting("email", 1)[0]
	if diff := cmp.Diff(w.Events(1, 1)[0], n.Event); diff != "" || n.Event.Remaining != 720 || n.Event.Keys != 3 {
		t.Errorf("the notification tells another event (-event +notification):\n%s", diff)
	}
	w.check()
}

// What a report crosses is in its commit: where that fails there is neither usage, event, notification nor line.
func TestThresholdIsInTheCommitOfItsReport(t *testing.T) {
	w := newRoutedWorld(t, threeKeys(), storyRoute)
	e := w.newEnvoy()
	w.send(e)
	e.spend(today, "1.1", 13000)
	r := e.report(w.Now())
	w.said()
	w.store.Before = func([]store.Record) error { return errors.New("no space left on device") }
	for range 3 {
		if _, err := w.Apply(t.Context(), e.peer, r); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v", err)
		}
		if len(w.Events(0, 0)) > 0 || len(w.outboxSays()) > 0 || w.key("1").Used > 0 {
			t.Fatalf("a commit that failed left %+v, %q", w.Events(0, 0), w.outboxSays())
		}
	}
	if said := w.said(); len(said) != 1 {
		t.Errorf("said %q, want only that the store fails", said)
	}
	if len(w.Outbox()) > 0 {
		t.Error("the dispatcher is woken for nothing")
	}
	var commits []map[string]int
	w.store.Before = func(writes []store.Record) error {
		buckets := map[string]int{}
		for _, r := range writes {
			buckets[r.Bucket]++
		}
		commits = append(commits, buckets)
		return nil
	}
	if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
		t.Fatal(err)
	}
	want := []map[string]int{{"crossed": 1, "events": 2, "gates": 1, "meta": 1, "outbox": 3, "series": 1, "sources": 6}} // grants move too
	if diff := cmp.Diff(want, commits); diff != "" {
		t.Errorf("commits (-want +got):\n%s", diff)
	}
	if len(w.Outbox()) != 1 {
		t.Error("the dispatcher is not woken")
	}
	w.check()
}

func TestLateThresholdNotifiesNobody(t *testing.T) {
	everybody := func(*event.Event) Route { return Route{Log: true, Receivers: []string{"telegram", "email"}} }
	w := newRoutedWorld(t, threeKeys(), everybody)
	e := w.newEnvoy()
	w.send(e)
	w.jump(at("24:00").Add(time.Minute))
	w.tick()
	w.said()
	before := len(w.outboxSays())
	e.spend(today, "1.1", 14400)
	w.send(e)
	late := 0
	for _, ev := range w.Events(0, 0) {
		if ev.Late && ev.Window == today {
			late++
		}
	}
	if said := w.said(); late != 3 || len(said) > 0 || len(w.outboxSays()) != before {
		t.Errorf("%d late events, said %q, the outbox has %q", late, said, w.outboxSays())
	}
	w.check()
}

func TestRouteWithoutLogSaysNothing(t *testing.T) {
	w := newRoutedWorld(t, threeKeys(), func(e *event.Event) Route {
		if e.Kind == event.Threshold {
			return Route{Receivers: []string{"webhook"}}
		}
		return Route{}
	})
	e := w.newEnvoy()
	w.send(e)
	w.said()
	e.spend(today, "1.1", 13000)
	e.note(w.Now(), rotated("1.1", "2.1", "cooling"))
	e.found = []protocol.Finding{{Credential: "3.1", Kind: protocol.Invalid, RemainingMS: 60_000}}
	w.send(e)
	w.jump(at("24:00"))
	w.tick()
	if said := w.said(); len(said) > 0 {
		t.Errorf("said %q", said)
	}
	if got := w.outboxSays(); len(got) != 2 {
		t.Errorf("the outbox has %q", got)
	}
	var kinds []event.Kind
	for _, ev := range w.Events(0, 0) {
		kinds = append(kinds, ev.Kind)
	}
	want := []event.Kind{event.Threshold, event.Threshold, event.KeyInvalid, event.Rotated, event.KeyRecovered, event.Reset}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	w.check()
}

// A label that people gave is in the event; the one that stands for the rank is not.
func TestEventsNameLabelsThatPeopleGave(t *testing.T) {
	keys := threeKeys()
	keys[1].Label = "Team"
	w := newWorld(t, keys)
	e := w.newEnvoy()
	e.spend(today, "1.1", 11000)
	e.spend(today, "2.1", 11000)
	w.send(e)
	if ev := w.Events(0, 0); len(ev) != 2 || ev[0].Label != "" || ev[1].Label != "Team" {
		t.Errorf("events %+v", ev)
	}
}

// toldOnce finds a threshold told twice, in the wrong order, or to other people than the route says; or one that
// was reached today and not told.
func (w *world) toldOnce() {
	w.Helper()
	type crossing struct {
		key, window string
		level       int
	}
	seen, highest := map[crossing]bool{}, map[[2]string]int{}
	want, got := map[string]int{}, map[string]int{}
	for _, e := range w.Events(0, 0) {
		if e.Kind != event.Threshold {
			continue
		}
		c := crossing{e.Key, e.Window, e.Percent}
		if seen[c] {
			w.Fatalf("%+v is told twice", c)
		}
		seen[c] = true
		if e.Late {
			continue
		}
		if of := [2]string{e.Key, e.Window}; e.Percent < highest[of] {
			w.Fatalf("%+v is told after %d %%", c, highest[of])
		} else {
			highest[of] = e.Percent
		}
		for _, receiver := range storyRoute(&e).Receivers {
			want[fmt.Sprint(receiver, " ", e.ID)] = 1
		}
	}
	ids := map[string]bool{}
	for _, n := range w.Notifications(1 << 20) {
		got[fmt.Sprint(n.Receiver, " ", n.Event.ID)]++
		ids[n.ID] = true
	}
	if diff := cmp.Diff(want, got); diff != "" || len(ids) != len(got) {
		w.Fatalf("%d IDs, notifications (-want +got):\n%s", len(ids), diff)
	}
	for _, k := range w.View().Keys {
		for _, level := range threshold.Crossed(0, k.Used, k.LimitTokens, k.Thresholds) {
			if !seen[crossing{k.ID, quota.WindowAt(w.Now()).String(), level}] {
				w.Fatalf("key %s used %d of %d: %d %% is not told", k.ID, k.Used, k.LimitTokens, level)
			}
		}
	}
}

// Whatever is repeated, overtaken, lost or refused by the store, however the limits move and whenever the process dies:
// each level of a key is told once a day, the lower before the higher, and to each receiver once.
func TestThresholdsAreToldOnceWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRoutedWorld(t, threeKeys(), storyRoute)
		ctx := context.Background()
		envoys := []*envoy{w.newEnvoy(), w.newEnvoy()}
		var sent []*protocol.Report
		broken := errors.New("broken")
		for range rapid.IntRange(5, 40).Draw(t, "steps") {
			e := envoys[rapid.IntRange(0, 1).Draw(t, "envoy")]
			day := quota.WindowAt(w.Now())
			w.store.Before, w.store.After = nil, nil
			switch rapid.IntRange(0, 5).Draw(t, "store") {
			case 0:
				w.store.Before = func([]store.Record) error { return broken }
			case 1:
				w.store.After = func([]store.Record) error { return broken }
			}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			default:
				name := day.String()
				if name != today && rapid.IntRange(0, 3).Draw(t, "late") == 0 {
					name = (day - 1).String()
				}
				e.spend(name, rapid.SampledFrom([]string{"1.1", "2.1"}).Draw(t, "key"), rapid.Int64Range(0, 9000).Draw(t, "tokens"))
				r := e.report(w.Now())
				sent = append(sent, r)
				_, _ = w.Apply(ctx, e.peer, r) // lost where the store fails; its counts come again
			case 5: // an old one, again
				if len(sent) > 0 {
					_, _ = w.Apply(ctx, e.peer, sent[rapid.IntRange(0, len(sent)-1).Draw(t, "which")])
				}
			case 6, 7:
				keys := threeKeys()
				keys[0].LimitTokens = rapid.SampledFrom([]int64{1, 7000, 14400, 20000, 100_000}).Draw(t, "limit")
				if w.SetKeys(ctx, keys) == nil {
					w.keys = keys
				}
			case 8:
				w.store.Before, w.store.After = nil, nil
				w.reopen()
			case 9:
				w.wait(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 9 * time.Hour}).Draw(t, "time"))
				_ = w.Tick(ctx)
			}
		}
		w.store.Before, w.store.After = nil, nil
		for _, e := range envoys {
			if _, err := w.Apply(ctx, e.peer, e.report(w.Now())); err != nil && !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
		}
		w.toldOnce()
		w.check()
		before := w.outboxSays()
		w.reopen()
		if diff := cmp.Diff(before, w.outboxSays()); diff != "" {
			t.Fatalf("after a restart:\n%s", diff)
		}
	})
}

// Many reports at once, each of which crosses something, and limits that are set meanwhile.
func TestThresholdsAreToldOnceInARace(t *testing.T) {
	w := newRoutedWorld(t, threeKeys(), storyRoute)
	var reports []*protocol.Report
	for i := range 4 {
		e := w.newEnvoy()
		for range 5 {
			e.spend(today, fmt.Sprint(1+i%2, ".1"), 1500)
			reports = append(reports, e.report(w.Now()))
		}
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range reports {
				if _, err := w.Apply(context.Background(), Peer{}, reports[(i*5+j)%len(reports)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := w.SetKeys(context.Background(), threeKeys()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	w.toldOnce()
	if n := len(w.Events(0, 0)); n != 6 {
		t.Errorf("%d events, want three levels of two keys", n)
	}
	w.check()
}
