package ledger

import (
	"strconv"
	"time"

	"keywheel/shared/quota"
)

// EventKind says what happened.
type EventKind string

// The kinds of event.
const (
	EventThreshold     EventKind = "threshold"      // so many percent of a key's limit are used
	EventRotated       EventKind = "rotated"        // the key in use left because it cannot serve, another took over
	EventKeyInvalid    EventKind = "key_invalid"    // Groq does not know the secret
	EventKeyRestricted EventKind = "key_restricted" // Groq serves the organization nothing
	EventKeyCooling    EventKind = "key_cooling"    // for long
	EventKeyRecovered  EventKind = "key_recovered"
	EventKeyCleared    EventKind = "key_cleared" // by a person or a probe
	EventAllOut        EventKind = "all_out"     // no key could serve a call
	EventAllBack       EventKind = "all_back"
	EventReset         EventKind = "reset"    // a new window began
	EventEdge          EventKind = "edge"     // the network or Groq's edge refused us, not the key
	EventRejected      EventKind = "rejected" // an Envoy refused the assignment
	EventOldEnvoy      EventKind = "old_envoy"
	EventQuarantined   EventKind = "quarantined" // usage that cannot be was set aside
)

// EventLevel says how much an event matters.
type EventLevel string

// The levels. Warning and above are alerts.
const (
	LevelInfo     EventLevel = "info"
	LevelWarning  EventLevel = "warning"
	LevelCritical EventLevel = "critical"
)

// Event is something that happened. It is kept in the same commit as what caused it.
type Event struct {
	ID     int64      `json:"id"` // 1 more than the one before
	At     time.Time  `json:"at"` // the ledger's time
	Kind   EventKind  `json:"kind"`
	Level  EventLevel `json:"level"`
	Key    string     `json:"key,omitempty"`
	Window string     `json:"window"` // that it is about

	// A threshold's percentage and the actual figures; a threshold of requests says so in Unit.
	Percent   int    `json:"percent,omitempty"`
	Used      int64  `json:"used,omitempty"`
	Limit     int64  `json:"limit,omitempty"`
	Remaining int64  `json:"remaining,omitempty"`
	Unit      string `json:"unit,omitempty"` // "tokens" or "requests"
	Late      bool   `json:"late,omitempty"` // its window was over when it became known

	From   string `json:"from,omitempty"` // key IDs of a rotation
	To     string `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
	Code   string `json:"code,omitempty"` // Groq's
	Node   string `json:"node,omitempty"`
	Detail string `json:"detail,omitempty"`

	gone bool
}

func (e *Event) place() (string, string) { return eventBucket, eventKey(e.ID) }
func (e *Event) kept() any {
	if e.gone {
		return nil
	}
	return e
}

// eventKey is an ID as text that sorts as numbers do.
func eventKey(id int64) string {
	s := strconv.FormatInt(id, 10)
	return "0000000000000000000"[min(19, len(s)):] + s
}

// maxEvents bounds the events that are kept; the oldest go first.
const maxEvents = 10_000

// event records something that happened, with its ID, time and, where it has none, window.
func (t *tx) event(e Event) {
	l := t.l
	m := change(t, l.meta)
	m.LastEvent++
	e.ID, e.At = m.LastEvent, t.now.UTC()
	if e.Window == "" {
		e.Window = t.window.String()
	}
	kept := &e
	old := l.events
	t.undo = append(t.undo, func() { l.events, kept.gone = old, true })
	l.events = append(l.events, kept)
	t.dirty[kept] = struct{}{}
}

// pruneEvents drops what is older than the history, and the oldest of too many.
func (t *tx) pruneEvents() {
	l := t.l
	oldest := t.window - quota.Window(l.historyDays)
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
	l.events = append([]*Event(nil), old[n:]...)
}

// Events returns the events after the one with ID after, oldest first, at most limit of them (0: all that are kept).
func (l *Ledger) Events(after int64, limit int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Event{}
	for _, e := range l.events {
		if e.ID > after && (limit <= 0 || len(out) < limit) {
			out = append(out, *e)
		}
	}
	return out
}
