package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"keywheel/xds/event"
)

// Outbox keeps notifications until they are settled. Its changes are durable when it returns.
type Outbox interface {
	// Outbox tells that there are new notifications.
	Outbox() <-chan struct{}
	// Waiting returns what waits for a receiver, oldest first.
	Waiting(receiver string, limit int) []event.Notification
	// Bundle takes down that these go out in one message, under the ID of the first.
	Bundle(ctx context.Context, ns []event.Notification) error
	// Sent, Postpone and GiveUp take down what came of an attempt.
	Sent(ctx context.Context, ns []event.Notification) error
	Postpone(ctx context.Context, ns []event.Notification, wait time.Duration, reason string) error
	GiveUp(ctx context.Context, ns []event.Notification, reason string) error
	// GiveUpOthers gives up what waits for anybody else.
	GiveUpOthers(ctx context.Context, receivers []string) error
}

// How attempts are spaced: the first waits double from firstWait to longestWait, each by a random third more or less;
// a receiver that says how long to wait is obeyed, within MaxRetryAfter.
const (
	firstWait   = 2 * time.Second
	longestWait = 5 * time.Minute
	// maxAttempts is about a day of attempts, after which a notification is of no use any more.
	maxAttempts = 300
	// sendTime is how long one attempt may take, and stopTime how long one that runs when Keywheel stops.
	sendTime = time.Minute
	stopTime = 5 * time.Second
	// lookEvery is how often the account's clock is looked at, which may be moved, and how soon an outcome is written
	// again that the store did not take.
	lookEvery = time.Second
)

// Options are what a dispatcher is made of.
type Options struct {
	Outbox    Outbox
	Receivers []Receiver
	Now       func() time.Time // the account's time; waits end by it or by the host's, whichever is sooner
	Log       *slog.Logger
}

// Dispatcher sends what waits in the outbox.
type Dispatcher struct {
	Options
	workers []*worker
}

// NewDispatcher returns a dispatcher. It does nothing before Run.
func NewDispatcher(o Options) *Dispatcher {
	d := &Dispatcher{Options: o}
	for _, r := range o.Receivers {
		b := backoff.NewExponentialBackOff()
		b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = firstWait, longestWait, 2, 1.0/3
		d.workers = append(d.workers, &worker{Receiver: r, d: d, wake: make(chan struct{}, 1), slot: make(chan struct{}, 1), waits: b})
	}
	return d
}

// Run sends until ctx ends. What is being sent then may take a few seconds more.
func (d *Dispatcher) Run(ctx context.Context) {
	names := make([]string, len(d.Receivers))
	for i, r := range d.Receivers {
		names[i] = r.Name
	}
	if err := d.Outbox.GiveUpOthers(ctx, names); err != nil && ctx.Err() == nil {
		d.Log.Warn("Notifications of receivers that are not configured any more could not be given up", "error", err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	for _, w := range d.workers {
		group.Go(func() { w.run(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Outbox.Outbox():
			for _, w := range d.workers {
				w.wakeUp()
			}
		}
	}
}

// worker sends to one receiver, and is held up by nobody else's trouble.
type worker struct {
	Receiver
	d     *Dispatcher
	wake  chan struct{}
	slot  chan struct{} // held by whoever calls the notifier
	waits *backoff.ExponentialBackOff

	retry   <-chan time.Time // ends the wait after a failure, by the host's time; nil: none runs
	waited  bool             // it has ended
	pace    <-chan time.Time // ends the wait after a message; nil: none runs
	failing bool
}

func (w *worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends.
func (w *worker) run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		if waiting := w.d.Outbox.Waiting(w.Name, maxList); len(waiting) > 0 && w.pace == nil && w.due(&waiting[0]) {
			w.send(ctx, pack(waiting, w.MaxText))
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-look.C:
		case <-w.retry:
			w.retry, w.waited = nil, true
		case <-w.pace:
			w.pace = nil
		}
	}
}

// due says whether an attempt may be made. A wait that is longer than any is one of a clock that went back.
func (w *worker) due(n *event.Notification) bool {
	wait := n.NextAt.Sub(w.d.Now())
	return wait <= 0 || w.waited || wait > MaxRetryAfter
}

// send makes one attempt and takes down what came of it.
func (w *worker) send(ctx context.Context, p parcel) {
	if p.message.ID != p.items[len(p.items)-1].Message { // before it is sent: after a crash it must be the same message
		w.settle(ctx, func(ctx context.Context) error { return w.d.Outbox.Bundle(ctx, p.items) })
		if ctx.Err() != nil {
			return
		}
	}
	err := w.attempt(ctx, p.message)
	w.retry, w.waited = nil, false
	if w.Interval > 0 {
		w.pace = time.After(w.Interval)
	}
	if err == nil {
		w.waits.Reset()
		w.recovered()
		w.settle(ctx, func(ctx context.Context) error { return w.d.Outbox.Sent(ctx, p.items) })
		return
	}
	if ctx.Err() != nil {
		return // it was not given its time; it is tried again after the start
	}
	f := failure(err)
	reason := inWords(f.Err)
	if f.Permanent || p.items[0].Attempts+1 >= maxAttempts {
		w.d.Log.Error("A notification is given up", "receiver", w.Name, "subject", p.message.Subject, "reason", reason)
		w.settle(ctx, func(ctx context.Context) error { return w.d.Outbox.GiveUp(ctx, p.items, reason) })
		return
	}
	wait := max(w.waits.NextBackOff(), min(f.RetryAfter, MaxRetryAfter))
	w.failed(reason, wait)
	w.retry = time.After(wait)
	w.settle(ctx, func(ctx context.Context) error { return w.d.Outbox.Postpone(ctx, p.items, wait, reason) })
}

// attempt sends a message. When ctx ends it is given a little time, as nobody could say whether it arrived.
func (w *worker) attempt(ctx context.Context, m Message) error {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(stopTime):
			cancel()
		case <-sending.Done():
		}
	})
	defer stop()
	return w.call(sending, m)
}

// inWords is an error as people read it, in one line.
func inWords(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	return plain(err.Error(), maxDetail)
}

// call hands a message to the notifier, which is called once at a time.
func (w *worker) call(ctx context.Context, m Message) error {
	select {
	case w.slot <- struct{}{}:
	case <-ctx.Done():
		return errors.New("another message is still being sent")
	}
	defer func() { <-w.slot }()
	return w.Notifier.Send(ctx, m)
}

// settle writes until the store takes it: what is sent must not be sent again because a disk was full for a moment.
func (w *worker) settle(ctx context.Context, write func(context.Context) error) {
	durable := context.WithoutCancel(ctx) // the store is closed after the dispatcher has ended
	for write(durable) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// failed and recovered say once that a receiver cannot be reached, and that it can again.
func (w *worker) failed(reason string, wait time.Duration) {
	if !w.failing {
		w.d.Log.Warn("A notification could not be sent; it is tried again", "receiver", w.Name, "reason", reason, "in", wait.Round(time.Second))
	}
	w.failing = true
}

func (w *worker) recovered() {
	if w.failing {
		w.d.Log.Info("Notifications are received again", "receiver", w.Name)
	}
	w.failing = false
}

// Tried is what came of a test message.
type Tried struct {
	Receiver string
	Failure  string // why the receiver did not take it, in one line; empty: it did
}

// Try sends each receiver a test message, all at the same time and without another try, and returns what came of it, in their order.
func (d *Dispatcher) Try(ctx context.Context) []Tried {
	id := uuid.NewString()
	e := event.Event{At: d.Now().UTC(), Kind: event.Test, Level: event.Info}
	t := write(&e)
	out := make([]Tried, len(d.workers))
	var group sync.WaitGroup
	for i, w := range d.workers {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, tryTime)
			defer cancel()
			out[i].Receiver = w.Name
			if err := w.call(ctx, Message{ID: id, Subject: t.subject, Text: t.body, Events: []event.Event{e}}); err != nil {
				out[i].Failure = inWords(err)
			}
		})
	}
	group.Wait()
	return out
}

// tryTime is how long a test message may take: somebody waits for the answer.
const tryTime = 20 * time.Second
