package ledger

import (
	"strconv"

	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// happened is an event as it is kept.
type happened struct {
	event.Event
	gone bool
}

func (e *happened) place() (string, string) { return eventBucket, number(e.ID) }
func (e *happened) kept() any {
	if e.gone {
		return nil
	}
	return e.Event
}

// number is a number as text that sorts as numbers do.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	return "0000000000000000000"[min(19, len(s)):] + s
}

// maxEvents bounds the events that are kept; the oldest go first.
const maxEvents = 10_000

// Route is who hears of an event.
type Route struct {
	Log       bool     // the log
	Receivers []string // by name; each gets a notification of its own
}

// tell records something that happened, with its ID, time and, where it has none, window; in the same commit the
// notifications to those who are to hear of it; and, if the log is to, the lines that say it.
func (t *tx) tell(e event.Event, lines ...line) {
	l := t.l
	m := change(t, l.meta)
	m.LastEvent++
	e.ID, e.At, e.Keys = m.LastEvent, t.now.UTC(), len(l.keys)
	if e.Window == "" {
		e.Window = t.window.String()
	}
	if k := l.byID[e.Key]; k != nil && k.Label != quota.RankLabel(k.Rank) {
		e.Label = k.Label
	}
	kept := &happened{Event: e}
	old := l.events
	t.undo = append(t.undo, func() { l.events, kept.gone = old, true })
	l.events = append(l.events, kept)
	t.dirty[kept] = struct{}{}
	if e.Late { // nobody can do anything about it any more
		return
	}
	route := l.route(&e)
	if route.Log {
		t.lines = append(t.lines, lines...)
	}
	for _, receiver := range route.Receivers {
		t.notify(receiver, &e)
	}
}

// pruneEvents drops what is older than a window, and the oldest of too many.
func (t *tx) pruneEvents(oldest quota.Window) {
	l := t.l
	n := max(0, len(l.events)-maxEvents)
	for n < len(l.events) && quota.WindowAt(l.events[n].At) < oldest {
		n++
	}
	if n == 0 {
		return
	}
	old := l.events
	t.undo = append(t.undo, func() { l.events = old })
	for _, e := range old[:n] {
		change(t, e)
		e.gone = true
	}
	l.events = append([]*happened(nil), old[n:]...)
}

// Events returns the events after the one with ID after, oldest first, at most limit of them (0: all that are kept).
func (l *Ledger) Events(after int64, limit int) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []event.Event{}
	for _, e := range l.events {
		if e.ID > after && (limit <= 0 || len(out) < limit) {
			out = append(out, e.Event)
		}
	}
	return out
}

// Newest returns the newest events, at most limit of them, oldest first.
func (l *Ledger) Newest(limit int) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []event.Event{}
	for _, e := range l.events[max(0, len(l.events)-limit):] {
		out = append(out, e.Event)
	}
	return out
}
