package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
)

// post records n events of which so many receivers hear.
func (w *world) post(n int, receivers ...string) {
	w.Helper()
	w.Ledger.route = func(*event.Event) Route { return Route{Receivers: receivers} }
	err := w.do(context.Background(), func(t *tx) error {
		for range n {
			t.tell(event.Event{Kind: event.Edge, Level: event.Info})
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// outboxOf is a receiver's whole outbox, oldest first.
func (w *world) outboxOf(receiver string) []event.Notification {
	var out []event.Notification
	for _, n := range w.Notifications(1 << 20) {
		if n.Receiver == receiver {
			out = append(out, n)
		}
	}
	slices.Reverse(out)
	return out
}

// states counts a receiver's notifications by state, and in brackets why they failed.
func (w *world) states(receiver string) map[string]int {
	out := map[string]int{}
	for _, n := range w.outboxOf(receiver) {
		state := string(n.State)
		if n.State == event.Failed {
			state += " (" + n.Error + ")"
		}
		out[state]++
	}
	return out
}

func TestOutboxInOrder(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(3, "telegram", "email")
	w.post(2, "telegram")
	all := w.Waiting("telegram", 100)
	if len(all) != 5 || len(w.Waiting("email", 100)) != 3 || len(w.Waiting("webhook", 100)) != 0 {
		t.Fatalf("telegram waits for %+v", all)
	}
	ids := map[string]bool{}
	for i, n := range all {
		if n.ID == "" || n.Message != n.ID || n.Event.ID != int64(i+1) || n.State != event.Waiting || i > 0 && n.Seq <= all[i-1].Seq {
			t.Errorf("notification %d is %+v", i+1, n)
		}
		ids[n.ID] = true
	}
	for _, n := range w.Waiting("email", 100) {
		ids[n.ID] = true
	}
	if len(ids) != 8 {
		t.Errorf("%d IDs of 8 notifications", len(ids))
	}
	w.reopen()
	if diff := cmp.Diff(all[:2], w.Waiting("telegram", 2)); diff != "" {
		t.Errorf("the first two after a restart:\n%s", diff)
	}
	newest := w.Notifications(2)
	if len(newest) != 2 || newest[0].Seq != 8 || newest[1].Seq != 7 {
		t.Errorf("the newest are %+v", newest)
	}
	w.check()
}

func TestOutcomesAreKept(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(4, "telegram")
	w.wait(time.Minute)
	now, ctx, ns := w.Now(), t.Context(), w.Waiting("telegram", 4)
	for _, err := range []error{
		w.Bundle(ctx, ns[1:3]),
		w.Postpone(ctx, ns[:3], 47*time.Second, "too many requests"),
		w.Sent(ctx, ns[1:3]),
		w.GiveUp(ctx, ns[3:], "chat not found"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := slices.Clone(ns)
	for i := range want[:3] {
		want[i].Attempts, want[i].Error, want[i].TriedAt, want[i].NextAt = 1, "too many requests", now, now.Add(47*time.Second)
	}
	for i := 1; i < 3; i++ {
		want[i].Message, want[i].State, want[i].Attempts, want[i].Error = ns[1].ID, event.Sent, 2, ""
		want[i].SettledAt, want[i].NextAt = now, time.Time{}
	}
	want[3].State, want[3].Attempts, want[3].Error, want[3].TriedAt, want[3].SettledAt = event.Failed, 1, "chat not found", now, now
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, w.outboxOf("telegram")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("at once")
	w.reopen()
	check("after a restart")
	w.wait(time.Hour) // what is settled stays as it is
	for _, err := range []error{
		w.Bundle(ctx, ns[1:]), w.Sent(ctx, ns[1:]), w.Postpone(ctx, ns[1:], time.Hour, "no"), w.GiveUp(ctx, ns[1:], "no"),
		w.GiveUpOthers(ctx, []string{"telegram"}), w.Sent(ctx, nil), w.Sent(ctx, []event.Notification{{Seq: 99}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	check("after calls that come late")
	if got := w.Notifications(10, event.Failed, event.Waiting); len(got) != 2 || got[0].Seq != 4 || got[1].Seq != 1 {
		t.Errorf("failed and waiting are %+v", got)
	}
	w.check()
}

func TestReceiversThatAreGoneAreGivenUp(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(2, "telegram", "email", "slack")
	if err := w.Sent(t.Context(), w.Waiting("slack", 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.GiveUpOthers(t.Context(), []string{"email", "webhook"}); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	const gone = "failed (the receiver is not configured any more)"
	for receiver, want := range map[string]map[string]int{
		"telegram": {gone: 2}, "email": {"waiting": 2}, "slack": {"sent": 1, gone: 1},
	} {
		if diff := cmp.Diff(want, w.states(receiver)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", receiver, diff)
		}
	}
	w.check()
}

func TestOutboxIsBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(maxWaiting+3, "telegram")
	w.post(1, "telegram", "email")
	w.tick()
	full := fmt.Sprintf("failed (more than %d wait for this receiver)", maxWaiting)
	if diff := cmp.Diff(map[string]int{"waiting": maxWaiting, full: 4}, w.states("telegram")); diff != "" {
		t.Errorf("too many wait (-want +got):\n%s", diff)
	}
	if first := w.Waiting("telegram", 1)[0]; first.Event.ID != 5 {
		t.Errorf("the oldest that waits is of event %d, want the newest kept", first.Event.ID)
	}
	if diff := cmp.Diff(map[string]int{"waiting": 1}, w.states("email")); diff != "" {
		t.Errorf("others (-want +got):\n%s", diff)
	}
	for range 2 {
		w.post(1500, "email")
		if err := errors.Join(w.Sent(t.Context(), w.Waiting("telegram", 1<<20)), w.Sent(t.Context(), w.Waiting("email", 1<<20))); err != nil {
			t.Fatal(err)
		}
	}
	w.post(1, "telegram")
	w.tick()
	all := w.Notifications(1 << 20)
	if len(all) != maxSettled+1 || all[0].State != event.Waiting || all[len(all)-1].Seq != all[0].Seq-maxSettled {
		t.Errorf("%d are kept, from %d on", len(all), all[len(all)-1].Seq)
	}
	w.check()
	w.reopen()
	if diff := cmp.Diff(all, w.Notifications(1<<20)); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
}

// What is older than the history goes, once the clock has stood there for a while. What waits does not: it is given up
// by whoever sends it.
func TestOldNotificationsGo(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(2, "telegram")
	w.post(0) // of what the clock brings nobody hears
	sent := w.Waiting("telegram", 1)
	if err := w.Sent(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.tick()
		w.wait(time.Second)
	}
	begin := w.Now()
	w.jump(begin.Add(40 * 24 * time.Hour))
	w.tick()
	w.jump(begin)
	w.tick()
	if n, e := len(w.outboxOf("telegram")), len(w.Events(0, 0)); n != 2 || e != 3 {
		t.Fatalf("a moment in which the clock was wrong left %d notifications and %d events", n, e)
	}
	w.jump(begin.Add(DefaultHistoryDays * 24 * time.Hour))
	stay := func(want int) {
		t.Helper()
		for range 3 {
			w.tick()
			w.wait(settled)
		}
		if got := w.outboxOf("telegram"); len(got) != want {
			t.Errorf("%d are kept, want %d: %+v", len(got), want, got)
		}
	}
	stay(2)
	w.jump(begin.Add((DefaultHistoryDays + 1) * 24 * time.Hour))
	w.tick()
	w.wait(settled)
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	events := w.Events(0, 0)
	if err := w.Tick(t.Context()); !errors.Is(err, ErrUnavailable) || len(w.outboxOf("telegram")) != 2 || cmp.Diff(events, w.Events(0, 0)) != "" {
		t.Errorf("a commit that failed dropped something: %v", err)
	}
	w.store.Before = nil
	stay(1)
	w.post(1, "telegram")
	w.check()
	w.reopen()
	w.post(1, "telegram")
	if got := w.outboxOf("telegram"); len(got) != 3 || got[0].ID == sent[0].ID || got[2].Seq != 4 {
		t.Errorf("numbers are used again: %+v", got)
	}
	w.check()
}

func TestOutboxWakesOneReader(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.post(1)
	if len(w.Outbox()) != 0 {
		t.Error("woken though nobody is to hear of it")
	}
	w.post(1, "telegram")
	w.post(1, "telegram", "email")
	if len(w.Outbox()) != 1 {
		t.Error("not woken")
	}
	select {
	case <-w.Outbox():
	default:
	}
	if err := w.Postpone(t.Context(), w.Waiting("telegram", 1), time.Minute, "no"); err != nil || len(w.Outbox()) != 0 {
		t.Error("woken by its own writing", err)
	}
}

func TestDamagedNotificationsAreRefused(t *testing.T) {
	for key, value := range map[string]string{"7": "{}", number(7): "{", "x": "{}"} {
		w := newWorld(t, threeKeys())
		_ = w.memory.Commit([]store.Record{{Bucket: noticeBucket, Key: key, Value: []byte(value)}})
		if _, err := Open(t.Context(), Options{Store: w.memory.Open()}); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "outbox") {
			t.Errorf("%s %s: error %v", key, value, err)
		}
	}
}

// Against a list that is kept by hand: whatever the dispatcher does and the store refuses, memory and store are what was
// acknowledged.
func TestAnyHistoryOfTheOutbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, threeKeys())
		ctx := context.Background()
		model := map[string]event.State{}
		check := func() {
			got := map[string]event.State{}
			for _, n := range w.Notifications(1 << 20) {
				got[n.ID] = n.State
			}
			if diff := cmp.Diff(model, got); diff != "" {
				t.Fatalf("(-acknowledged +kept):\n%s", diff)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.store.Before, w.store.After = nil, nil
			receiver := rapid.SampledFrom([]string{"telegram", "email"}).Draw(t, "receiver")
			waiting := w.Waiting(receiver, rapid.IntRange(0, 4).Draw(t, "limit"))
			what := rapid.IntRange(0, 6).Draw(t, "what")
			broken := func([]store.Record) error { return errors.New("broken") }
			if what >= 2 {
				switch rapid.IntRange(0, 4).Draw(t, "store") {
				case 0:
					w.store.Before = broken
				case 1:
					w.store.After = broken
				}
			}
			become := event.Waiting
			var err error
			switch what {
			case 0:
				w.post(rapid.IntRange(1, 3).Draw(t, "events"), "telegram", "email")
				for _, n := range w.Notifications(1 << 20) {
					if _, known := model[n.ID]; !known {
						model[n.ID] = event.Waiting
					}
				}
			case 1:
				w.post(1) // writes again what a commit that failed may have left
				w.reopen()
			case 2:
				err = w.Bundle(ctx, waiting)
			case 3:
				err = w.Postpone(ctx, waiting, time.Second, "no")
			case 4:
				become, err = event.Sent, w.Sent(ctx, waiting)
			case 5:
				become, err = event.Failed, w.GiveUp(ctx, waiting, "no")
			case 6:
				become, err = event.Failed, w.GiveUpOthers(ctx, []string{"telegram", "email"})
				waiting = nil
			}
			if err == nil {
				for _, n := range waiting {
					if what >= 2 {
						model[n.ID] = become
					}
				}
			}
			check()
			if len(w.unsure) == 0 {
				w.check()
			}
		}
	})
}
