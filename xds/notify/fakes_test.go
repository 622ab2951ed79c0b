package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"keywheel/xds/event"
)

// box is an outbox in memory. Its clock is the bubble's, moved by ahead.
type box struct {
	mu     sync.Mutex
	all    []event.Notification
	signal chan struct{}
	broken bool // the store takes nothing
	ahead  time.Duration
}

func newBox() *box { return &box{signal: make(chan struct{}, 1)} }

func (b *box) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.ahead)
}

// add puts n notifications for each receiver into it.
func (b *box) add(n int, receivers ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		for _, r := range receivers {
			id := fmt.Sprintf("id-%d", len(b.all)+1)
			e := crossing(75, event.Warning, 10800)
			b.all = append(b.all, event.Notification{Seq: int64(len(b.all) + 1), ID: id, Message: id, Receiver: r, Event: e, State: event.Waiting})
		}
	}
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *box) Outbox() <-chan struct{} { return b.signal }

func (b *box) Waiting(receiver string, limit int) []event.Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []event.Notification
	for _, n := range b.all {
		if n.Receiver == receiver && n.State == event.Waiting && len(out) < limit {
			out = append(out, n)
		}
	}
	return out
}

func (b *box) change(ns []event.Notification, f func(*event.Notification)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return errors.New("the disk is full")
	}
	for _, n := range ns {
		f(&b.all[n.Seq-1])
	}
	return nil
}

func (b *box) Bundle(_ context.Context, ns []event.Notification) error {
	return b.change(ns, func(n *event.Notification) { n.Message = ns[0].ID })
}

func (b *box) Sent(_ context.Context, ns []event.Notification) error {
	return b.change(ns, func(n *event.Notification) { n.State, n.Attempts = event.Sent, n.Attempts+1 })
}

func (b *box) Postpone(_ context.Context, ns []event.Notification, wait time.Duration, reason string) error {
	next := b.now().Add(wait)
	return b.change(ns, func(n *event.Notification) { n.NextAt, n.Error, n.Attempts = next, reason, n.Attempts+1 })
}

func (b *box) GiveUp(_ context.Context, ns []event.Notification, reason string) error {
	return b.change(ns, func(n *event.Notification) { n.State, n.Error = event.Failed, reason })
}

func (b *box) GiveUpOthers(_ context.Context, receivers []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.all {
		if !slices.Contains(receivers, b.all[i].Receiver) {
			b.all[i].State = event.Failed
		}
	}
	return nil
}

// states counts a receiver's notifications by state.
func (b *box) states(receiver string) map[event.State]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[event.State]int{}
	for _, n := range b.all {
		if n.Receiver == receiver {
			out[n.State]++
		}
	}
	return out
}

// peer is a notifier that answers as the test says, and remembers what it was told and when.
type peer struct {
	mu     sync.Mutex
	answer func(ctx context.Context, attempt int) error // nil: takes everything
	got    []Message
	at     []time.Time
}

func (p *peer) Send(ctx context.Context, m Message) error {
	p.mu.Lock()
	p.got, p.at = append(p.got, m), append(p.at, time.Now())
	n, answer := len(p.got), p.answer
	p.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, n)
}

func (p *peer) attempts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}

// office is a dispatcher that runs in a bubble.
type office struct {
	*box
	*Dispatcher
	log  *bytes.Buffer
	stop func()
}

func open(t *testing.T, b *box, receivers ...Receiver) *office {
	t.Helper()
	o := &office{box: b, log: &bytes.Buffer{}}
	o.Dispatcher = NewDispatcher(Options{Outbox: b, Receivers: receivers, Now: b.now, Log: slog.New(slog.NewTextHandler(o.log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { o.Run(ctx); close(done) }()
	o.stop = func() { cancel(); <-done }
	return o
}

func hang(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }
