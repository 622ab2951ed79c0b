// Package outboxtest has an outbox in memory, for tests of those who send what waits in one. It imports nothing of package
// notify, whose own tests use it.
package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"keywheel/xds/event"
)

// Box is an outbox. Its methods may be called from several goroutines at once; All is to be read when none is.
type Box struct {
	All []event.Notification

	now    func() time.Time
	mu     sync.Mutex
	broken bool
	ahead  time.Duration
	signal chan struct{}
}

// New returns an empty Box that goes by now.
func New(now func() time.Time) *Box { return &Box{now: now, signal: make(chan struct{}, 1)} }

// Break says whether its store takes nothing.
func (b *Box) Break(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = broken
}

// Shift sets its clock ahead of what it goes by.
func (b *Box) Shift(ahead time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead = ahead
}

// Now is the box's time.
func (b *Box) Now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now().Add(b.ahead)
}

// Add puts n notifications of events such as e into it for each receiver. An event's ID is its notification's number.
func (b *Box) Add(n int, e event.Event, receivers ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		for _, r := range receivers {
			e.ID = int64(len(b.All) + 1)
			id := fmt.Sprint("id-", e.ID)
			b.All = append(b.All, event.Notification{Seq: e.ID, ID: id, Message: id, Receiver: r, Event: e, State: event.Waiting})
		}
	}
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// States counts a receiver's notifications by state.
func (b *Box) States(receiver string) map[event.State]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[event.State]int{}
	for _, n := range b.All {
		if n.Receiver == receiver {
			out[n.State]++
		}
	}
	return out
}

// Outbox implements notify.Outbox, as the methods below.
func (b *Box) Outbox() <-chan struct{} { return b.signal }

// Waiting returns at most limit notifications of a receiver.
func (b *Box) Waiting(receiver string, limit int) []event.Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []event.Notification
	for _, n := range b.All {
		if n.Receiver == receiver && n.State == event.Waiting && len(out) < limit {
			out = append(out, n)
		}
	}
	return out
}

func (b *Box) change(ns []event.Notification, f func(*event.Notification)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return errors.New("the disk is full")
	}
	for _, n := range ns {
		f(&b.All[n.Seq-1])
	}
	return nil
}

// Bundle gives them the first one's message.
func (b *Box) Bundle(_ context.Context, ns []event.Notification) error {
	return b.change(ns, func(n *event.Notification) { n.Message = ns[0].ID })
}

// Sent takes down that they were sent.
func (b *Box) Sent(_ context.Context, ns []event.Notification) error {
	return b.change(ns, func(n *event.Notification) { n.State, n.Attempts = event.Sent, n.Attempts+1 })
}

// Postpone takes down when they are tried again, and why.
func (b *Box) Postpone(_ context.Context, ns []event.Notification, wait time.Duration, reason string) error {
	next := b.Now().Add(wait)
	return b.change(ns, func(n *event.Notification) { n.NextAt, n.Error, n.Attempts = next, reason, n.Attempts+1 })
}

// GiveUp takes down that they are not tried again, and why.
func (b *Box) GiveUp(_ context.Context, ns []event.Notification, reason string) error {
	return b.change(ns, func(n *event.Notification) { n.State, n.Error = event.Failed, reason })
}

// GiveUpOthers gives up what waits for anybody but these receivers.
func (b *Box) GiveUpOthers(_ context.Context, receivers []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.All {
		if n := &b.All[i]; n.State == event.Waiting && !slices.Contains(receivers, n.Receiver) {
			n.State = event.Failed
		}
	}
	return nil
}
