package harness

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"keywheel/e2e/fakegroq"
)

// Load is a number of clients that call at once, each one call after the other.
type Load struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with each call that ended
	answered int64
}

// StartLoad lets n clients call until one of them is told to stop by took, Stop is called, or the test ends. took is
// called after every call, by one client at a time, and says whether that client goes on. A client whose call got no
// answer waits for a moment before the next.
// The calls of client i have the tag ClientTag(i): as each makes one at a time, the truth shows them in their order.
func StartLoad(t testing.TB, c *Client, n int, call Call, took func(client int, a Answer, err error) (more bool)) *Load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &Load{cancel: cancel, changed: make(chan struct{})}
	for i := range n {
		l.ended.Go(func() { l.run(ctx, c, i, call, took) })
	}
	t.Cleanup(l.Stop)
	return l
}

// ClientTag is the tag of all calls of a client of a Load, from 0.
func ClientTag(client int) string { return fmt.Sprintf("client-%d", client) }

func (l *Load) run(ctx context.Context, c *Client, client int, call Call, took func(int, Answer, error) bool) {
	call.Tag = ClientTag(client)
	for ctx.Err() == nil {
		a, err := c.Try(context.WithoutCancel(ctx), call) // a call that has begun is never cut
		l.mu.Lock()
		more := took(client, a, err)
		l.answered++
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if !more {
			return
		}
		if err != nil {
			pause := time.NewTimer(pollInterval)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
			}
		}
	}
}

// Stop lets every client end the call that it makes, and returns once all have.
func (l *Load) Stop() {
	l.cancel()
	l.ended.Wait()
}

// Wait returns once every client has been told to stop.
func (l *Load) Wait(t testing.TB) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		l.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-Context(t).Done():
		t.Fatalf("the clients did not end within %s", Deadline)
	}
}

// WaitFor returns once holds says yes. It is asked after every call, while no took runs.
func (l *Load) WaitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := Context(t)
	for {
		l.mu.Lock()
		changed, yes, answered := l.changed, holds(), l.answered
		l.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s, after %d calls", what, Deadline, answered)
		}
	}
}

// Look runs f while no took runs, so that f may read what took writes.
func (l *Load) Look(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Tokens are what an answer that is not streamed states as its total.
func (a Answer) Tokens() int64 { return gjson.GetBytes(a.Body, "usage.total_tokens").Int() }

// SpreadTokens gives answers between least and most tokens, each as likely as another. The same seed gives the same
// answers in the order of arrival.
func SpreadTokens(seed uint64, least, most int64) func(fakegroq.Request) (prompt, completion int64) {
	return func(r fakegroq.Request) (int64, int64) {
		total := least + int64(mix(seed^uint64(r.Seq))%uint64(most-least+1))
		return total - total/2, total / 2
	}
}

// mix is the finalizer of SplitMix64: numbers that follow each other give numbers that have nothing in common.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
