package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/xds/client"
)

// late is how long a call may still go out with what was taken away, once every Envoy is shown to know of it.
const late = 2 * time.Second

// ban is a time in which no call may go out with a secret.
type ban struct {
	why        string
	secret     string
	from       time.Time // the change was answered
	generation int64     // that it was answered with
	to         time.Time // a change that gives it back was sent; zero: none was
}

// sightings are when calls came to the simulated Groq, by secret.
type sightings struct {
	counts func(fakegroq.Request) (prompt, completion int64)
	mu     sync.Mutex
	at     map[string][]time.Time
}

func newSightings(counts func(fakegroq.Request) (int64, int64)) *sightings {
	return &sightings{counts: counts, at: map[string][]time.Time{}}
}

// tokens is the simulated Groq's TokensFor: it is asked once for each call, when its request was read.
func (s *sightings) tokens(r fakegroq.Request) (prompt, completion int64) {
	s.mu.Lock()
	s.at[r.Secret] = append(s.at[r.Secret], time.Now())
	s.mu.Unlock()
	return s.counts(r)
}

// last is when a secret was last used in a time; ok is false where it was not.
func (s *sightings) last(secret string, from, to time.Time) (at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range slices.Backward(s.at[secret]) {
		if u.After(from) && (to.IsZero() || u.Before(to)) {
			return u, true
		}
	}
	return at, false
}

// shown is since when GET /api/v1/proxies shows each generation for every Envoy.
type shown struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each look
	steps   []shownStep   // by generation alone: an Envoy can be shown so before it has the keys by xDS
	both    []shownStep   // by generation and config
	looks   int
	err     error // of the newest look
}

// shownStep is since when a generation is shown; in a list each is higher than the one before.
type shownStep struct {
	generation int64
	at         time.Time // when the look that showed it was begun
}

// raised adds the least of what the Envoys show now, if it is higher than before.
func raised(steps []shownStep, generations []int64, at time.Time) []shownStep {
	least := slices.Min(generations)
	if n := len(steps); n > 0 && steps[n-1].generation >= least {
		return steps
	}
	return append(steps, shownStep{least, at})
}

// since is from when on a generation was shown; ok is false where it never was.
func since(steps []shownStep, generation int64) (at time.Time, ok bool) {
	for _, step := range steps {
		if step.generation >= generation {
			return step.at, true
		}
	}
	return at, false
}

// watchShown looks again and again, until the test ends, at which generation so many Envoys show.
func watchShown(t *testing.T, c *client.Client, envoys int) *shown {
	ctx, cancel := context.WithCancel(t.Context())
	s := &shown{cancel: cancel, changed: make(chan struct{})}
	s.ended.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.look(ctx, c, envoys)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *shown) stop() {
	s.cancel()
	s.ended.Wait()
}

func (s *shown) look(ctx context.Context, c *client.Client, envoys int) {
	at := time.Now()
	proxies, err := c.Proxies(ctx)
	var generations, both []int64
	for _, p := range proxies {
		if p.Connected {
			generations, both = append(generations, p.Generation), append(both, min(p.Generation, p.Config))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	switch s.err = err; {
	case err != nil:
	case len(generations) != envoys:
		s.err = fmt.Errorf("%d Envoys are connected, want %d", len(generations), envoys)
	default:
		s.steps, s.both = raised(s.steps, generations, at), raised(s.both, both, at)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait returns once every Envoy shows a generation.
func (s *shown) wait(ctx context.Context, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		_, ok := since(s.both, generation)
		err, changed := s.err, s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("generation %d is not shown everywhere", generation), err)
		}
	}
}

// letPass returns when so much time has passed: what must not happen later than a time after another can only be missed.
func (s *shown) letPass(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal(ctx.Err())
	}
}

// assertTakenAway looks whether anything was used later than it may be, and says how late it was at most.
func (h *hot) assertTakenAway(t *testing.T) {
	t.Helper()
	var effect, answered, after, afterBoth []time.Duration
	bans, open := 0, 0
	for _, b := range slices.Concat(h.editors[0].bans, h.editors[1].bans) {
		bans++
		at, ok := since(h.shown.steps, b.generation)
		whole, _ := since(h.shown.both, b.generation)
		if !ok || !b.to.IsZero() && b.to.Before(at) {
			open++ // given back before it was in effect
			continue
		}
		effect = append(effect, at.Sub(b.from))
		used, ok := h.seen.last(b.secret, b.from, b.to)
		if !ok {
			continue
		}
		answered, after, afterBoth = append(answered, used.Sub(b.from)), append(after, used.Sub(at)), append(afterBoth, used.Sub(whole))
		if lag := used.Sub(at); lag > late {
			t.Errorf("%s: its secret was used %s after every Envoy was shown to know that it is taken away", b.why, lag)
		}
	}
	if len(answered) == 0 || len(answered) < bans/20 {
		t.Errorf("only %d of %d secrets that were taken away were in use: nothing is proven", len(answered), bans)
	}
	t.Logf("%d times a secret was taken away, %d of them while it was used, %d only until it was given back at once; %d generations in %d looks",
		bans, len(answered), open, len(h.shown.steps), h.shown.looks)
	t.Logf("from the answer until every Envoy shows the generation: %s", spreadOf(effect))
	t.Logf("from the answer until the last use:                     %s", spreadOf(answered))
	t.Logf("from the generation shown everywhere to the last use:   %s", spreadOf(after))
	t.Logf("from generation and config shown to the last use:       %s", spreadOf(afterBoth))
}

// spreadOf is the middle, the 99th percentile and the largest of times.
func spreadOf(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	d = slices.Sorted(slices.Values(d))
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("p50 %s, p99 %s, most %s", round(d[len(d)/2]), round(d[len(d)*99/100]), round(d[len(d)-1]))
}
