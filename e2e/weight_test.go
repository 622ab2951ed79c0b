package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

const mib = 1 << 20

// Requests of 5 and 30 MiB, whose model stands last, do not hold up the others: the 99th percentile of short calls
// beside them is of the same order as without. As large requests keep this machine busy themselves, an Envoy that has
// nothing of Keywheel's shows how much of it is theirs. All four are taken in turns, as the machine is not the same all
// the time.
func TestShortCallsBesideLargeRequests(t *testing.T) {
	const rounds, mostTimes, mostPlainTimes = 4, 10, 3
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{Remember: -1}})
	listen := harness.FreeAddr(t)
	harness.NewEnvoy(t, harness.PlainProxy(t, listen, harness.FreeAddr(t), s.Groq.Addr())).Start(t)
	plain := &way{client: [2]*harness.Client{harness.NewClient(t, listen, false), harness.NewClient(t, listen, true)}}
	plain.header = http.Header{"Authorization": {"Bearer " + s.Keys[0].Secret}}
	keywheel := &way{client: [2]*harness.Client{s.H1, s.H2}}
	for round := range rounds + 1 {
		for _, w := range []*way{keywheel, plain} {
			alone := w.short(t)
			served, stop := w.large(t)
			beside := w.short(t)
			stop()
			if round > 0 { // the first warms up
				w.alone, w.beside = append(w.alone, alone...), append(w.beside, beside...)
				w.served += *served
			}
		}
	}
	times, plainTimes := keywheel.times(t, "Keywheel"), plain.times(t, "plain Envoy")
	if times > mostTimes && times > mostPlainTimes*plainTimes {
		t.Errorf("p99 beside large requests is %.1f times as long as without; with a plain Envoy %.1f times", times, plainTimes)
	}
}

// way is one way to the simulated Groq, and how long calls took on it.
type way struct {
	client        [2]*harness.Client
	header        http.Header
	alone, beside []time.Duration
	served        int // large calls
}

// times is how much longer short calls take beside large ones, at the 99th percentile.
func (w *way) times(t *testing.T, name string) float64 {
	t.Helper()
	a, b := percentile(w.alone, 99), percentile(w.beside, 99)
	times := float64(b) / float64(a)
	t.Logf("%s: p99 of %d short calls is %s alone, %s beside %d large ones: %.1f times; the median is %s and %s",
		name, len(w.alone), a, b, w.served, times, percentile(w.alone, 50), percentile(w.beside, 50))
	if w.served == 0 {
		t.Errorf("%s: no large call was served", name)
	}
	return times
}

// short makes short calls on four connections and returns how long each took.
func (w *way) short(t *testing.T) []time.Duration {
	t.Helper()
	const clients, calls = 4, 100
	took := make([][]time.Duration, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for range calls {
				start := time.Now()
				a, err := w.client[0].Try(harness.Context(t), harness.Call{Header: w.header})
				if err != nil || a.Err != nil || a.Status != 200 {
					t.Errorf("a short call: %v, %s", err, a)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...)
}

// large makes one large call after the other, of both sizes and HTTP versions, until stop is called; then served says
// how many were served.
func (w *way) large(t *testing.T) (served *int, stop func()) {
	t.Helper()
	served = new(int)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			size := []int64{5 * mib, 30 * mib}[i%2]
			a, err := w.client[i/2%2].Try(harness.Context(t), harness.Call{Pad: size, Header: w.header})
			if err != nil || a.Err != nil || a.Status != 200 {
				t.Errorf("a call of %d MiB: %v, %s", size/mib, err, a)
				return
			}
			*served++
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	return served, func() { close(end); <-ended }
}

func percentile(d []time.Duration, percent int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[(len(d)-1)*percent/100]
}

// Metering costs at most 1 MiB of Wasm memory for each stream, with 50 long answers in the middle of which all are at
// once; and answers of 64 MiB take no more than those.
func TestMemoryOfLongAnswers(t *testing.T) {
	const streams = 50
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	long := harness.Call{Stream: true, HashOnly: true, Script: fakegroq.Rule{Chunks: 300, ContentBytes: 4 * mib, Hold: fakegroq.BeforeUsage}}
	for name, c := range s.Clients() {
		grown := grows(t, s, fmt.Sprintf("%s, %d streams of 4 MiB at once", name, streams), func() { atOnce(t, s, c, streams, long) })
		if grown > streams*mib {
			t.Errorf("%s: %.1f MiB more for %d streams", name, inMiB(grown), streams)
		}
	}
	giant := harness.Call{HashOnly: true, Script: fakegroq.Rule{ContentBytes: 64 * mib}}
	for name, c := range s.Clients() {
		grown := grows(t, s, name+", 4 answers of 64 MiB at once", func() { atOnce(t, s, c, 4, giant) })
		if grown > 4*mib {
			t.Errorf("%s: %.1f MiB more for 4 answers of 64 MiB", name, inMiB(grown))
		}
	}
	s.AssertOracle(t)
}

// grows returns by how much Envoy's Wasm memory grows.
func grows(t *testing.T, s *harness.Stack, what string, do func()) int64 {
	t.Helper()
	before := harness.MemoryOf(t, s.Envoy.Pid())
	do()
	after := harness.MemoryOf(t, s.Envoy.Pid())
	t.Logf("%s: Wasm memory %.1f MiB before, %.1f MiB after; the process %.1f MiB and %.1f MiB",
		what, inMiB(before.Wasm), inMiB(after.Wasm), inMiB(before.Process), inMiB(after.Process))
	return after.Wasm - before.Wasm
}

func inMiB(bytes int64) float64 { return float64(bytes) / mib }

// atOnce makes n calls at once. Those that are held go on when all are.
func atOnce(t *testing.T, s *harness.Stack, c *harness.Client, n int, call harness.Call) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			a, err := c.Try(harness.Context(t), call)
			if err != nil || a.Err != nil || a.Status != 200 || a.Bytes < call.Script.ContentBytes {
				t.Errorf("%v, %s", err, a)
			}
		})
	}
	if call.Script.Hold != "" {
		release(t, s, n)
	}
	wg.Wait()
}

// release waits until n answers are held, and lets them go on.
func release(t *testing.T, s *harness.Stack, n int) {
	t.Helper()
	var held []string
	err := s.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool {
		held = held[:0]
		for _, r := range truth.Requests {
			if r.Held != "" {
				held = append(held, r.ID)
			}
		}
		return len(held) >= n
	})
	if err != nil {
		t.Error(fmt.Errorf("%d of %d answers are held: %w", len(held), n, err))
	}
	for _, id := range held {
		s.Groq.Release(id)
	}
}
