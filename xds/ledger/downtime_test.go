package ledger

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/ledger/store"
)

// gateway is an Envoy whose gate keeps the times of refusals as the filter does, by window.
type gateway struct {
	*envoy
	w     *world
	times map[string]*gateTimes
}

type gateTimes struct{ first, last, served time.Time }

func (w *world) newGateway() *gateway {
	return &gateway{envoy: w.newEnvoy(), w: w, times: map[string]*gateTimes{}}
}

func (g *gateway) now() (*gateTimes, *protocol.GateUsage) {
	name := quota.WindowAt(g.w.Now()).String()
	if g.times[name] == nil {
		g.times[name] = &gateTimes{}
	}
	return g.times[name], &g.window(name).Gate
}

func (g *gateway) refuse() {
	at, u := g.now()
	u.Requests++
	u.Refused++
	at.last = g.w.Now()
	if at.first.IsZero() {
		at.first = at.last
	}
}

func (g *gateway) serve() {
	at, u := g.now()
	u.Requests++
	u.Succeeded++
	at.served, at.first = g.w.Now(), time.Time{}
}

// send reports, with the times as ages.
func (g *gateway) send() {
	g.w.Helper()
	age := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return max(1, g.w.Now().Sub(at).Milliseconds())
	}
	for name, at := range g.times {
		u := &g.window(name).Gate
		u.FirstRefusalMS, u.LastRefusalMS, u.LastServedMS = age(at.first), age(at.last), age(at.served)
	}
	g.w.send(g.envoy)
}

// refuseFor refuses a call every second for a time, its last instant included.
func (g *gateway) refuseFor(d time.Duration, each func()) {
	g.w.Helper()
	for end := g.w.Now().Add(d); ; g.w.wait(time.Second) {
		g.refuse()
		each()
		if !g.w.Now().Before(end) {
			return
		}
	}
}

// wantDown finds another downtime, to the second: an age is at least a millisecond, so that a refusal may seem as much
// older.
func (w *world) wantDown(name string, want time.Duration) {
	w.Helper()
	for range 2 {
		s, _ := w.Summary(window(name))
		if s.Down.Round(time.Second) != want {
			w.Errorf("%s was down for %v, want %v: %v", name, s.Down, want, s.DownLog)
		}
		if v := w.View(); v.Window.String() == name && v.Pool.Downtime != s.Down {
			w.Errorf("the view says %v, the summary %v", v.Pool.Downtime, s.Down)
		}
		w.check()
		w.reopen()
	}
}

func TestDowntime(t *testing.T) {
	nothing := func() {}
	for name, c := range map[string]struct {
		happens func(w *world, a, b *gateway)
		want    time.Duration
	}{
		"a single refusal": {func(_ *world, a, _ *gateway) {
			a.refuse()
			a.send()
			a.send()
		}, time.Second},
		"ten minutes, reported every second": {func(_ *world, a, _ *gateway) { a.refuseFor(10*time.Minute, a.send) }, 10 * time.Minute},
		"ten minutes, the control plane away": {func(w *world, a, _ *gateway) {
			a.refuse()
			a.send()
			w.wait(time.Second)
			a.refuseFor(10*time.Minute-time.Second, nothing)
			w.wait(time.Minute)
			w.reopen()
			a.send()
		}, 10 * time.Minute},
		"ten minutes, in the first report": {func(w *world, a, _ *gateway) {
			a.refuseFor(10*time.Minute, nothing)
			w.wait(30 * time.Second)
			a.send()
		}, 10 * time.Minute},
		"two Envoys at overlapping times": {func(w *world, a, b *gateway) {
			a.refuseFor(5*time.Minute, a.send)
			w.wait(time.Second)
			a.refuseFor(5*time.Minute-time.Second, func() { b.refuse(); a.send() })
			w.wait(time.Second)
			b.refuseFor(5*time.Minute-time.Second, nothing)
			b.send()
		}, 15 * time.Minute},
		"less than a minute between two": {func(w *world, a, _ *gateway) {
			a.refuse()
			a.send()
			w.wait(59 * time.Second)
			a.refuse()
			a.send()
		}, 59 * time.Second},
		"more than a minute between two": {func(w *world, a, _ *gateway) {
			a.refuse()
			a.send()
			w.wait(61 * time.Second)
			a.refuse()
			a.send()
		}, 2 * time.Second},
		"more than a minute between two of one report": {func(w *world, a, _ *gateway) {
			a.refuse()
			w.wait(61 * time.Second)
			a.refuse()
			a.send()
		}, time.Second},
		"served in between": {func(w *world, a, _ *gateway) {
			for range 3 {
				a.refuse()
				a.send()
				w.wait(time.Second)
				a.serve()
				a.send()
				w.wait(20 * time.Second)
			}
		}, 3 * time.Second},
		"served after, before the report": {func(w *world, a, _ *gateway) {
			a.refuseFor(10*time.Second, nothing)
			w.wait(time.Second)
			a.serve()
			a.send()
		}, time.Second},
		"served only": {func(_ *world, a, _ *gateway) {
			a.serve()
			a.send()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			a, b := w.newGateway(), w.newGateway()
			a.send()
			c.happens(w, a, b)
			w.wantDown(today, c.want)
		})
	}
}

func TestDowntimeOverMidnight(t *testing.T) {
	for name, away := range map[string]bool{"reported every second": false, "the control plane away": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			w.jump(at("23:55"))
			g := w.newGateway()
			g.refuseFor(10*time.Minute, func() {
				if !away {
					g.send()
				}
			})
			w.wait(time.Minute)
			g.send()
			w.wantDown(today, 5*time.Minute-time.Second)
			w.wantDown(tomorrow, 5*time.Minute)
		})
	}
	t.Run("in the last instant", func(t *testing.T) {
		w := newWorld(t, threeKeys())
		w.jump(at("24:00").Add(-time.Millisecond))
		g := w.newGateway()
		g.refuse()
		w.wait(time.Hour)
		g.send()
		s, _ := w.Summary(window(today))
		if len(s.DownLog) != 1 || !s.DownLog[0].To.Equal(at("24:00")) {
			t.Errorf("it is %v", s.DownLog)
		}
		w.wantDown(today, time.Second)
	})
}

// Ages and counts that cannot be make no more downtime than a day has.
func TestDowntimeStaysWithinItsDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		number := func(name string) int64 {
			return rapid.OneOf(rapid.Int64Range(0, 100_000), rapid.Int64Range(0, maxCount), rapid.Just[int64](maxCount)).Draw(t, name)
		}
		for range rapid.IntRange(1, 4).Draw(t, "reports") {
			g := &e.window(today).Gate
			g.Refused, g.FirstRefusalMS, g.LastRefusalMS, g.LastServedMS = max(g.Refused, number("refused")), number("first"), number("last"), number("served")
			w.send(e)
		}
		s, _ := w.Summary(window(today))
		if s.Down < 0 || s.Down > 24*time.Hour {
			t.Fatalf("down for %v of a day", s.Down)
		}
		for _, d := range s.DownLog {
			if d.From.Before(at("00:00")) || d.To.After(at("24:00")) || d.To.Before(d.From) {
				t.Fatalf("down from %v to %v", d.From, d.To)
			}
		}
		w.check()
	})
}

func TestDowntimeThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	g := w.newGateway()
	g.send()
	w.store.After = func([]store.Record) error { return errors.New("broken") }
	g.refuse()
	g.window(today).Gate.LastRefusalMS, g.window(today).Gate.FirstRefusalMS = 1, 1
	if _, err := w.Apply(context.Background(), g.peer, g.report(w.Now())); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.store.After = nil
	if down := w.View().Pool.Downtime; down != 0 {
		t.Errorf("it is %v before it is durable", down)
	}
	w.wait(10 * time.Second)
	g.send()
	w.wantDown(today, time.Second)
}

// Refusals that stand alone, all day long: few spans are kept, and each second counts once.
func TestManySpansAreBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.jump(at("00:00"))
	g := w.newGateway()
	n := 0
	for w.Now().Before(at("23:50")) {
		g.refuse()
		g.send()
		w.wait(2 * time.Minute)
		n++
	}
	if kept := len(w.days[window(today)].Down); kept > maxSpans {
		t.Errorf("%d spans are kept", kept)
	}
	w.wantDown(today, time.Duration(n)*time.Second)
	s, _ := w.Summary(window(today))
	if len(s.DownLog) != maxMoments || s.DownLog[maxMoments-1].To.Format("15:04") != "23:48" {
		t.Errorf("%d spans are listed, to %v", len(s.DownLog), s.DownLog[len(s.DownLog)-1])
	}
}

// Joined spans are in order, do not touch, and are all the time that any of them covers, once.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 60
		var covered [most]bool
		var spans []span
		for range rapid.IntRange(0, 30).Draw(t, "spans") {
			from := rapid.Int64Range(0, most-1).Draw(t, "from")
			to := rapid.Int64Range(from+1, most).Draw(t, "to")
			spans = join(spans, span{from, to})
			for i := from; i < to; i++ {
				covered[i] = true
			}
			var want int64
			for _, c := range covered {
				if c {
					want++
				}
			}
			if length(spans) != want {
				t.Fatalf("%v is %d long, want %d", spans, length(spans), want)
			}
			for i, s := range spans {
				if s[0] >= s[1] || i > 0 && s[0] <= spans[i-1][1] {
					t.Fatalf("%v is not in order, or touches", spans)
				}
			}
		}
	})
}
