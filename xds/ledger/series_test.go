package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/quota"
	"keywheel/xds/ledger/store"
)

const tomorrow = "2025-11-19"

// taken is what a key took in a window's buckets that are not empty, by their times.
func (w *world) taken(name, keyID string) map[string]int64 {
	out := map[string]int64{}
	for i, n := range w.fine(window(name))[keyID].Tokens {
		if n > 0 {
			out[window(name).Start().Add(time.Duration(i)*bucket).Format("15:04")] = n
		}
	}
	return out
}

// fine is a window's series by buckets.
func (w *world) fine(day quota.Window) map[string]Series {
	s, _ := w.Series(day)
	return s
}

func (w *world) wantTaken(name, keyID string, want map[string]int64) {
	w.Helper()
	if diff := cmp.Diff(want, w.taken(name, keyID)); diff != "" {
		w.Errorf("%s, key %s (-want +got):\n%s", name, keyID, diff)
	}
}

func sum(values []int64) (n int64) {
	for _, v := range values {
		n += v
	}
	return n
}

func TestUseIsInItsBucket(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	for _, clock := range []string{"08:01", "08:02", "09:59", "10:00"} {
		w.jump(at(clock))
		w.send(e) // nothing was used until now
		w.wait(time.Second)
		e.spend(today, "1.1", 100)
		e.spend(today, "2.1", 7)
		w.send(e)
		w.send(e)
	}
	w.wantTaken(today, "1", map[string]int64{"08:00": 200, "09:55": 100, "10:00": 100})
	w.wantTaken(today, "2", map[string]int64{"08:00": 14, "09:55": 7, "10:00": 7})
	if s := w.fine(window(today)); len(s) != 2 || len(s["1"].Tokens) != 121 || sum(s["1"].Requests) != 4 {
		t.Errorf("series %+v", s)
	}
	w.check()
}

// What a key had in flight when it was removed, or got another secret, is told of later and belongs to it all the same; a
// key that never was has no use.
func TestUseOfARemovedKeyIsItsOwn(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.jump(at("08:01"))
	w.send(e)
	e.spend(today, "1.1", 100)
	w.send(e)
	if err := w.SetKeys(t.Context(), threeKeys()[1:]); err != nil {
		t.Fatal(err)
	}
	e.spend(today, "1.1", 50)
	e.spend(today, "9.1", 1000)
	w.send(e)
	w.wantTaken(today, "1", map[string]int64{"08:00": 150})
	w.wantTaken(today, "9", map[string]int64{})
	keys := threeKeys()
	keys[0].SecretHash[0]++
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	e.spend(today, "1.1", 25)
	w.send(e)
	w.wantTaken(today, "1", map[string]int64{"08:00": 175})
	if used := w.key("1").Used; used != 0 {
		t.Errorf("the new secret has used %d tokens", used)
	}
	w.check()
}

// What was used while no report arrived is spread over that time; what is left over is at its end.
func TestUseOfAnOutageIsSpread(t *testing.T) {
	for name, restart := range map[string]bool{"of the reports": false, "of the control plane": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			a, b := w.newEnvoy(), w.newEnvoy()
			w.jump(at("09:00"))
			w.send(a)
			w.send(b)
			w.jump(at("10:02"))
			w.send(a)
			w.send(b)
			a.spend(today, "1.1", 1)
			w.send(a)
			w.jump(at("10:32"))
			if restart {
				w.reopen()
			}
			a.spend(today, "1.1", 701)
			w.send(a)
			b.spend(today, "2.1", 1400) // the one that comes second is spread as well
			w.send(b)
			// After a restart it is known to the bucket when the last use was.
			want := map[string]int64{"10:00": 101, "10:05": 100, "10:10": 100, "10:15": 100, "10:20": 100, "10:25": 100, "10:30": 101}
			second := map[string]int64{"10:00": 200, "10:05": 200, "10:10": 200, "10:15": 200, "10:20": 200, "10:25": 200, "10:30": 200}
			if restart {
				want = map[string]int64{"10:00": 1, "10:05": 116, "10:10": 116, "10:15": 116, "10:20": 116, "10:25": 116, "10:30": 121}
				second = map[string]int64{"10:05": 233, "10:10": 233, "10:15": 233, "10:20": 233, "10:25": 233, "10:30": 235}
			}
			w.wantTaken(today, "1", want)
			w.wantTaken(today, "2", second)
			w.check()
		})
	}
}

// Each day's tokens are in its own buckets, whenever the report comes.
func TestUseAroundMidnight(t *testing.T) {
	for name, restart := range map[string]bool{"reports lost": false, "control plane away": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			e := w.newEnvoy()
			w.send(e)
			w.jump(at("23:49"))
			w.send(e)
			w.wait(time.Second)
			e.spend(today, "1.1", 1)
			w.send(e)
			w.jump(at("24:00").Add(12 * time.Minute))
			if restart {
				w.reopen()
			}
			e.spend(today, "1.1", 600)
			e.spend(tomorrow, "1.1", 300)
			w.send(e)
			want := map[string]int64{"23:45": 201, "23:50": 200, "23:55": 200}
			if restart {
				want = map[string]int64{"23:45": 1, "23:50": 300, "23:55": 300}
			}
			w.wantTaken(today, "1", want)
			w.wantTaken(tomorrow, "1", map[string]int64{"00:00": 100, "00:05": 100, "00:10": 100})
			w.check()
		})
	}
	t.Run("a filter that is ahead", func(t *testing.T) {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		w.send(e)
		w.jump(at("23:59"))
		e.spend(tomorrow, "1.1", 5)
		w.send(e)
		w.wantTaken(tomorrow, "1", map[string]int64{"00:00": 5})
	})
}

// What an Envoy used before its first report is spread over the time since its start, where the clocks are the same.
func TestUseOfANewEnvoyIsSpread(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.host = w.time
	e := w.newEnvoy()
	w.wait(14 * time.Minute)
	e.spend(today, "1.1", 300)
	w.send(e)
	w.wantTaken(today, "1", map[string]int64{"08:00": 100, "08:05": 100, "08:10": 100})
	other := newEnvoy(w.Now().Add(-48 * time.Hour)) // by another clock
	other.spend(today, "2.1", 5000)
	w.send(other)
	w.wantTaken(today, "2", map[string]int64{"08:10": 5000})
}

// A report that the store took though it said that it did not, and that never comes again, leaves no series.
func TestSeriesThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	e.spend(today, "1.1", 50)
	w.store.After = func([]store.Record) error { return errors.New("broken") }
	if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.store.After = nil
	w.send(w.newEnvoy())
	w.check()
	w.reopen()
	if s := w.fine(window(today)); len(s) != 0 {
		t.Errorf("series %+v", s)
	}
}

func TestSeriesWhenTheClockJumps(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.jump(at("10:00"))
	w.send(e)
	w.jump(at("09:00"))
	e.spend(today, "1.1", 40)
	w.send(e)
	w.wantTaken(today, "1", map[string]int64{"09:00": 40})
	w.jump(at("24:00").Add(6 * time.Minute))
	e.spend(tomorrow, "1.1", 60)
	w.send(e)
	w.wantTaken(tomorrow, "1", map[string]int64{"00:00": 30, "00:05": 30})
	w.jump(at("09:10"))
	e.spend(today, "1.1", 2)
	w.send(e)
	w.wantTaken(today, "1", map[string]int64{"09:00": 40, "09:10": 2})
	w.check()
}

// Of folded days the shape over all keys is kept; what is kept of days does not grow beyond that.
func TestFoldingKeepsTheShape(t *testing.T) {
	w := newWorld(t, bigKeys())
	e := w.newEnvoy()
	shapes := map[quota.Window][]int64{}
	for day := range 5 {
		date := window(today) + quota.Window(day)
		w.jump(date.Start().Add(9 * time.Hour))
		for range 3 { // settles
			w.tick()
			w.wait(settled)
			w.send(e)
		}
		for i := range 6 {
			w.wait(20 * time.Minute)
			w.send(e)
			w.wait(time.Second)
			e.spend(date.String(), fmt.Sprint(1+i%3, ".1"), int64(100*(i+1)))
			w.send(e)
		}
		shapes[date] = w.shape(date)
		if sum(shapes[date]) != 2100 {
			t.Fatalf("%s has the shape %v", date, shapes[date])
		}
		if n := len(w.series); n > 2*len(w.Ledger.keys) {
			t.Errorf("%d series are kept", n)
		}
	}
	w.check()
	for range 2 {
		for date, shape := range shapes {
			if diff := cmp.Diff(shape, w.shape(date)); diff != "" {
				t.Errorf("the shape of %s (-before +after):\n%s", date, diff)
			}
		}
		if _, ok := w.Series(window(today)); ok {
			t.Error("the first day's buckets are kept")
		}
		hours := w.Hours(window(today))
		if got := sum(hours["1"].Tokens) + sum(hours["2"].Tokens) + sum(hours["3"].Tokens); len(hours) != 3 || got != 2100 || len(hours["1"].Tokens) > 24 {
			t.Errorf("the first day has the hours %+v", hours)
		}
		if s := w.fine(window(today) + 4); len(s) != 3 {
			t.Errorf("the last day has %+v", s)
		}
		w.reopen()
	}
	if s := w.fine(window("2025-11-01")); len(s) != 0 {
		t.Errorf("a day of which nothing is known has %+v", s)
	}
	records := 0
	for _, r := range w.memory.Records() {
		if r.Bucket == seriesBucket {
			records++
		}
	}
	if records != 6 {
		t.Errorf("the store has %d series, want those of two days", records)
	}
}

// However often reports come, are lost or refused, and whenever the process dies: the buckets are what was spent, and no
// more than there are.
func TestSeriesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, bigKeys())
		ctx := context.Background()
		envoys := []*envoy{w.newEnvoy(), w.newEnvoy()}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			e := envoys[rapid.IntRange(0, 1).Draw(t, "envoy")]
			w.wait(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, 7 * time.Minute, 3 * time.Hour}).Draw(t, "time"))
			for range rapid.IntRange(0, 3).Draw(t, "calls") {
				day := quota.WindowAt(w.Now()) - quota.Window(rapid.IntRange(0, 1).Draw(t, "yesterday"))
				e.spend(day.String(), rapid.SampledFrom([]string{"1.1", "2.1", "3.1"}).Draw(t, "key"), rapid.Int64Range(0, 5000).Draw(t, "tokens"))
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			default:
				_, err := w.Apply(ctx, e.peer, e.report(w.Now()))
				if err != nil && !errors.Is(err, ErrGone) {
					t.Fatal(err)
				}
			case 0: // lost
				_ = e.report(w.Now())
			case 1: // refused, or taken all the same
				w.store.After = func([]store.Record) error { return errors.New("broken") }
				_, _ = w.Apply(ctx, e.peer, e.report(w.Now()))
				w.store.After = nil
			case 2:
				w.reopen()
			}
		}
		for _, e := range envoys {
			_, _ = w.Apply(ctx, e.peer, e.report(w.Now()))
		}
		for _, k := range w.Ledger.keys {
			for day, a := range k.accounts {
				s := w.fine(day)[k.ID]
				if sum(s.Tokens) != a.tokens.spent || sum(s.Requests) != a.requests.spent || len(s.Tokens) > buckets {
					t.Fatalf("key %s on %s spent %d tokens in %d requests; the series is %+v", k.ID, day, a.tokens.spent, a.requests.spent, s)
				}
			}
		}
		w.check()
	})
}
