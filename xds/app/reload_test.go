package app

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/clock"
	"keywheel/xds/config"
	"keywheel/xds/event"
	"keywheel/xds/notify"
	"keywheel/xds/notify/outboxtest"
)

// warning is what people are told of.
func warning() event.Event {
	return event.Event{At: time.Now(), Kind: event.Threshold, Level: event.Warning, Key: "1", Keys: 3, Percent: 75, Used: 75, Limit: 100, Unit: event.Tokens}
}

// person takes a moment for each message, and remembers of which events it was told.
type person struct {
	takes func() time.Duration

	mu  sync.Mutex
	got []int64
}

func (p *person) Send(ctx context.Context, m notify.Message) error {
	select {
	case <-time.After(p.takes()):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range m.Events {
		p.got = append(p.got, e.ID)
	}
	return nil
}

func (p *person) told() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// quick takes a message at once, late after an hour: longer than anybody waits.
func quick() *person { return &person{takes: func() time.Duration { return 0 }} }

func late() *person { return &person{takes: func() time.Duration { return time.Hour }} }

// crowd are people in a bubble, with their outbox.
type crowd struct {
	*people
	box  *outboxtest.Box
	stop func() // and wait until nobody is told any more
}

// gather has people who are told while they run.
func gather(t *testing.T, first ...notify.Receiver) *crowd {
	t.Helper()
	b := outboxtest.New(time.Now)
	c := &crowd{people: &people{outbox: b}, box: b}
	c.now(first...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx)
	}()
	synctest.Wait()
	c.stop = func() { cancel(); <-ended }
	return c
}

// now has others told.
func (c *crowd) now(told ...notify.Receiver) {
	c.set(Options{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)}, &config.Config{}, told)
}

func receiver(name string, n notify.Notifier) notify.Receiver {
	kind := notify.Kind(name)
	if name == "slack" {
		kind = notify.Services
	}
	return notify.Receiver{Name: name, Kind: kind, Notifier: n}
}

// TestReceiversAreSwapped replaces the receiver again and again while notifications come: each is told of once, by the
// one who is there or the one who comes.
func TestReceiversAreSwapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2)) // the same in each run
		var mu sync.Mutex
		moment := func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Duration(random.IntN(1000)) * time.Millisecond
		}
		peers := []*person{{takes: moment}}
		c := gather(t, receiver("email", peers[0]))
		var adding sync.WaitGroup
		adding.Go(func() {
			for range 300 {
				c.box.Add(1, warning(), "email")
				<-time.After(moment())
			}
		})
		for range 100 {
			<-time.After(moment())
			next := &person{takes: moment}
			c.now(receiver("email", next))
			before := peers[len(peers)-1]
			told := len(before.told())
			<-time.After(moment())
			if len(before.told()) != told {
				t.Error("who was replaced is told of something")
			}
			peers = append(peers, next)
		}
		adding.Wait()
		<-time.After(time.Minute)
		c.stop()
		if diff := cmp.Diff(map[event.State]int{event.Sent: 300}, c.box.States("email")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		var all []int64
		busy := 0
		for _, p := range peers {
			all = append(all, p.told()...)
			if len(p.told()) > 0 {
				busy++
			}
		}
		slices.Sort(all)
		if len(all) != 300 || len(slices.Compact(all)) != 300 {
			t.Errorf("told %d times of 300 events", len(all))
		}
		if busy < 50 {
			t.Errorf("only %d of 101 receivers were told of something: the test is too quick", busy)
		}
	})
}

// TestOthersAreTold has receivers go, stay and come.
func TestOthersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		email, telegram, slack := quick(), late(), quick()
		c := gather(t, receiver("email", email), receiver("telegram", telegram))
		c.box.Add(2, warning(), "email")
		c.box.Add(2, warning(), "telegram")
		<-time.After(time.Second)
		if got := c.names(); !slices.Equal(got, []string{"email", "telegram"}) {
			t.Errorf("told are %v", got)
		}
		c.now(receiver("email", email), receiver("slack", slack))
		c.box.Add(1, warning(), "email")
		c.box.Add(1, warning(), "slack")
		<-time.After(time.Second)
		for name, want := range map[string]map[event.State]int{
			"email": {event.Sent: 3}, "slack": {event.Sent: 1}, "telegram": {event.Failed: 2},
		} {
			if diff := cmp.Diff(want, c.box.States(name)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", name, diff)
			}
		}
		if got := c.names(); !slices.Equal(got, []string{"email", "slack"}) {
			t.Errorf("told are %v", got)
		}
		tried := c.Try(t.Context())
		if diff := cmp.Diff([]notify.Tried{{Receiver: "email"}, {Receiver: "slack"}}, tried); diff != "" {
			t.Errorf("a test: -want +got:\n%s", diff)
		}
		e := event.Event{Kind: event.Threshold, Level: event.Critical}
		if got := c.Route(&e); !slices.Equal(got.Receivers, []string{"email", "slack"}) {
			t.Errorf("a new event goes to %v", got.Receivers)
		}
		c.now() // nobody
		c.box.Add(1, warning(), "email")
		<-time.After(time.Second)
		if c.names() != nil || len(c.Try(t.Context())) != 0 || len(c.Route(&e).Receivers) != 0 {
			t.Errorf("told are %v", c.names())
		}
		c.stop()
	})
}

// TestSlowReceiverIsReplaced does not wait for one that hangs, and has the next one told what it was not.
func TestSlowReceiverIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs, next := late(), quick()
		c := gather(t, receiver("email", hangs))
		c.box.Add(1, warning(), "email")
		<-time.After(time.Second)
		began := time.Now()
		c.now(receiver("email", next))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		<-time.After(time.Second)
		c.stop()
		if len(next.told()) != 1 || len(hangs.told()) != 0 {
			t.Errorf("told %v and %v", hangs.told(), next.told())
		}
	})
}

// TestNobodyIsToldAfterTheEnd has settings come while Keywheel stops: the store may be closed already.
func TestNobodyIsToldAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := quick()
		c := gather(t, receiver("email", p))
		c.stop()
		c.now(receiver("email", p))
		c.box.Add(1, warning(), "email")
		<-time.After(time.Minute)
		if got := p.told(); len(got) != 0 {
			t.Errorf("told of %v", got)
		}
	})
}

// TestSettingsBeforeTheStart are those that are told once it runs.
func TestSettingsBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := quick(), quick()
		b := outboxtest.New(time.Now)
		c := &crowd{people: &people{outbox: b}, box: b}
		c.now(receiver("email", first))
		c.now(receiver("email", second))
		b.Add(1, warning(), "email")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.run(ctx)
		}()
		<-time.After(time.Second)
		cancel()
		<-ended
		if len(first.told()) != 0 || len(second.told()) != 1 {
			t.Errorf("told %v and %v", first.told(), second.told())
		}
	})
}
