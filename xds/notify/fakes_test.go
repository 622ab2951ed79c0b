package notify

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"keywheel/xds/event"
	"keywheel/xds/notify/outboxtest"
)

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
	*outboxtest.Box
	*Dispatcher
	log  *bytes.Buffer
	stop func()
}

func open(t *testing.T, b *outboxtest.Box, receivers ...Receiver) *office {
	t.Helper()
	o := &office{Box: b, log: &bytes.Buffer{}}
	o.Dispatcher = NewDispatcher(Options{Outbox: b, Receivers: receivers, Now: b.Now, Log: slog.New(slog.NewTextHandler(o.log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { o.Run(ctx); close(done) }()
	o.stop = func() { cancel(); <-done }
	return o
}

// add puts n notifications of a crossing for each receiver into the outbox.
func (o *office) add(n int, receivers ...string) {
	o.Add(n, crossing(75, event.Warning, 10800), receivers...)
}

func hang(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }
