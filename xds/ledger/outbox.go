package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// notice is a notification as it is kept.
type notice struct {
	event.Notification
	gone bool
}

func (n *notice) place() (string, string) { return noticeBucket, number(n.Seq) }
func (n *notice) kept() any {
	if n.gone {
		return nil
	}
	return n.Notification
}

// Bounds of the outbox. Beyond them the oldest go: of those that wait for one receiver as failed, the settled for good.
const (
	maxWaiting = 2_000
	maxSettled = 5_000
)

// notify puts a notification into the outbox.
func (t *tx) notify(receiver string, e *event.Event) {
	l := t.l
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness: then there is no TLS either
		id = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, l.meta.Epoch, l.meta.LastNotice+1))
	}
	m := change(t, l.meta)
	m.LastNotice++
	n := &notice{Notification: event.Notification{
		Seq: m.LastNotice, ID: id.String(), Message: id.String(), Receiver: receiver, Event: *e, State: event.Waiting,
	}}
	old := l.notices
	t.undo = append(t.undo, func() { l.notices, n.gone = old, true })
	l.notices = append(l.notices, n)
	t.dirty[n] = struct{}{}
	t.noticed = true
}

// Outbox tells one receiver that there are new notifications since it was last told.
func (l *Ledger) Outbox() <-chan struct{} { return l.outbox }

// Waiting returns the notifications that wait for a receiver, oldest first, at most limit of them.
func (l *Ledger) Waiting(receiver string, limit int) []event.Notification {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []event.Notification
	for _, n := range l.notices {
		if n.State == event.Waiting && n.Receiver == receiver && len(out) < limit {
			out = append(out, n.Notification)
		}
	}
	return out
}

// Notifications returns the newest notifications in one of the states (none: in any), newest first, at most limit.
func (l *Ledger) Notifications(limit int, states ...event.State) []event.Notification {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []event.Notification{}
	for i := len(l.notices) - 1; i >= 0 && len(out) < limit; i-- {
		n := l.notices[i]
		if len(states) == 0 || slices.Contains(states, n.State) {
			out = append(out, n.Notification)
		}
	}
	return out
}

// Bundle takes down that notifications go out in one message, under the ID of the first.
func (l *Ledger) Bundle(ctx context.Context, ns []event.Notification) error {
	return l.settleNotices(ctx, ns, func(_ *tx, n *notice) { n.Message = ns[0].ID })
}

// Sent takes down that a receiver took notifications.
func (l *Ledger) Sent(ctx context.Context, ns []event.Notification) error {
	return l.settleNotices(ctx, ns, func(t *tx, n *notice) {
		n.State, n.Error = event.Sent, ""
		n.Attempts++
		n.TriedAt, n.SettledAt, n.NextAt = t.now.UTC(), t.now.UTC(), time.Time{}
	})
}

// Postpone takes down that an attempt failed and when the next one is due, by the ledger's clock.
func (l *Ledger) Postpone(ctx context.Context, ns []event.Notification, wait time.Duration, reason string) error {
	return l.settleNotices(ctx, ns, func(t *tx, n *notice) {
		n.Attempts++
		n.Error, n.TriedAt, n.NextAt = reason, t.now.UTC(), t.now.UTC().Add(wait)
	})
}

// GiveUp takes down that notifications will not be sent, and why.
func (l *Ledger) GiveUp(ctx context.Context, ns []event.Notification, reason string) error {
	return l.settleNotices(ctx, ns, func(t *tx, n *notice) {
		n.Attempts++
		n.TriedAt = t.now.UTC()
		n.fail(t, reason)
	})
}

// fail gives a notification up.
func (n *notice) fail(t *tx, reason string) {
	n.State, n.Error = event.Failed, reason
	n.SettledAt, n.NextAt = t.now.UTC(), time.Time{}
}

// settleNotices changes those of the notifications that still wait.
func (l *Ledger) settleNotices(ctx context.Context, ns []event.Notification, f func(*tx, *notice)) error {
	wanted := make(map[int64]bool, len(ns))
	for _, n := range ns {
		wanted[n.Seq] = true
	}
	return l.do(ctx, func(t *tx) error {
		for _, n := range l.notices {
			if wanted[n.Seq] && n.State == event.Waiting {
				change(t, n)
				f(t, n)
			}
		}
		return nil
	})
}

// pruneNotices gives up the oldest of too many that wait for one receiver, and drops the settled that are too many or
// older than a window.
func (t *tx) pruneNotices(oldest quota.Window) {
	l := t.l
	waiting, settled := map[string]int{}, 0
	for _, n := range l.notices {
		if n.State == event.Waiting {
			waiting[n.Receiver]++
		} else {
			settled++
		}
	}
	dropped := 0
	for _, n := range l.notices {
		switch {
		case n.State != event.Waiting && (settled > maxSettled || quota.WindowAt(n.SettledAt) < oldest):
			settled--
			dropped++
			change(t, n).gone = true
		case n.State == event.Waiting && waiting[n.Receiver] > maxWaiting:
			waiting[n.Receiver]--
			change(t, n).fail(t, fmt.Sprintf("more than %d wait for this receiver", maxWaiting))
		}
	}
	if dropped == 0 {
		return
	}
	old := l.notices
	t.undo = append(t.undo, func() { l.notices = old })
	l.notices = make([]*notice, 0, len(old)-dropped)
	for _, n := range old {
		if !n.gone {
			l.notices = append(l.notices, n)
		}
	}
}

// GiveUpOthers gives up what waits for receivers that are not there any more.
func (l *Ledger) GiveUpOthers(ctx context.Context, receivers []string) error {
	return l.do(ctx, func(t *tx) error {
		for _, n := range l.notices {
			if n.State == event.Waiting && !slices.Contains(receivers, n.Receiver) {
				change(t, n).fail(t, "the receiver is not configured any more")
			}
		}
		return nil
	})
}
