package forecast_test

import (
	"slices"
	"testing"
	"time"

	"keywheel/xds/forecast"
)

// limit is one that a steady day of 1,000 tokens a bucket uses up at 20:00.
const limit = 240_000

// even is a day with so many tokens in each bucket, at a time of it.
func even(at time.Duration, tokens, limit int64) forecast.Load {
	n := int64(at / forecast.Bucket)
	return forecast.Load{Now: date.Add(at), Used: n * tokens, Limit: limit, Own: slices.Repeat([]int64{tokens}, int(n))}
}

// said are the times of day at which a watch speaks, of steps from one time to another.
func said(w *forecast.Watch, from, to, step time.Duration, load func(at time.Duration) forecast.Load) (times []time.Duration) {
	return saidBy(forecast.ForKey, w, from, to, step, load)
}

func saidBy(p forecast.Policy, w *forecast.Watch, from, to, step time.Duration, load func(at time.Duration) forecast.Load) (times []time.Duration) {
	for at := from; at < to; at += step {
		if w.Step(forecast.Of(load(at)), p) {
			times = append(times, at)
		}
	}
	return times
}

func steadyLoad(at time.Duration) forecast.Load { return even(at, 1000, limit) }

func TestWatchSpeaksOnceAWindow(t *testing.T) {
	var w forecast.Watch
	times := said(&w, 12*time.Hour, 20*time.Hour, time.Minute, steadyLoad)
	if len(times) != 1 || times[0] < 18*time.Hour+30*time.Minute || times[0] > 18*time.Hour+45*time.Minute {
		t.Fatalf("said at %v", times)
	}
	// A limit that is raised and lowered again brings no second alarm, nor does a clock that goes back an hour.
	for _, l := range []int64{2 * limit, limit} {
		if again := said(&w, 19*time.Hour, 20*time.Hour, time.Minute, func(at time.Duration) forecast.Load { return even(at, 1000, l) }); again != nil {
			t.Errorf("said again at %v", again)
		}
	}
	// The next day is another window.
	tomorrow := func(at time.Duration) forecast.Load {
		l := steadyLoad(at)
		l.Now = l.Now.AddDate(0, 0, 1)
		return l
	}
	if times := said(&w, 12*time.Hour, 20*time.Hour, time.Minute, tomorrow); len(times) != 1 {
		t.Errorf("on the next day said at %v", times)
	}
}

// What is certain must stay so for ten minutes in a row, and for the pool for fifteen.
func TestWatchWaits(t *testing.T) {
	const certain = 19 * time.Hour
	calm := func(at time.Duration) forecast.Load { return even(at, 1000, 10*limit) }
	for _, c := range []struct {
		name  string
		steps func(w *forecast.Watch) []time.Duration
		want  []time.Duration
	}{
		{"minutes", func(w *forecast.Watch) []time.Duration {
			return said(w, certain, certain+time.Hour, time.Minute, steadyLoad)
		}, []time.Duration{certain + 10*time.Minute}},
		{"minutes, of the pool", func(w *forecast.Watch) []time.Duration {
			return saidBy(forecast.ForPool, w, certain, certain+time.Hour, time.Minute, steadyLoad)
		}, []time.Duration{certain + 15*time.Minute}},
		{"a step without it between", func(w *forecast.Watch) []time.Duration {
			return append(append(said(w, certain, certain+9*time.Minute, time.Minute, steadyLoad),
				said(w, certain+9*time.Minute, certain+10*time.Minute, time.Minute, calm)...),
				said(w, certain+10*time.Minute, certain+time.Hour, time.Minute, steadyLoad)...)
		}, []time.Duration{certain + 20*time.Minute}},
		{"quarters of an hour, as with a clock that jumps", func(w *forecast.Watch) []time.Duration {
			return said(w, certain, certain+time.Hour, 15*time.Minute, steadyLoad)
		}, []time.Duration{certain + 15*time.Minute}},
		{"steps too far apart", func(w *forecast.Watch) []time.Duration {
			return said(w, certain, certain+time.Hour, 31*time.Minute, steadyLoad)
		}, nil},
		{"time goes back", func(w *forecast.Watch) []time.Duration {
			return append(said(w, certain+20*time.Minute, certain+29*time.Minute, time.Minute, steadyLoad),
				said(w, certain, certain+time.Hour, time.Minute, steadyLoad)...)
		}, []time.Duration{certain + 10*time.Minute}},
		{"time stands still", func(w *forecast.Watch) (times []time.Duration) {
			for range 100 {
				times = append(times, said(w, certain, certain+1, time.Minute, steadyLoad)...)
			}
			return times
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w forecast.Watch
			if got := c.steps(&w); !slices.Equal(got, c.want) {
				t.Errorf("said at %v, want %v", got, c.want)
			}
		})
	}
}

func TestEstimate(t *testing.T) {
	const noon = 12 * time.Hour
	never := time.Duration(0)
	for _, c := range []struct {
		name string
		load forecast.Load
		rate int64
		at   time.Duration // exhausted; 0: not said
	}{
		{"steady", even(noon, 1000, limit), 12_000, 20 * time.Hour},
		{"limit raised", even(noon, 1000, 280_000), 12_000, 23*time.Hour + 20*time.Minute},
		{"limit raised beyond the day", even(noon, 1000, 2*limit), 12_000, never},
		{"limit lowered", even(noon, 1000, 150_000), 12_000, 12*time.Hour + 30*time.Minute},
		{"limit lowered below what is used", even(noon, 1000, 100_000), 12_000, never},
		{"no limit", even(noon, 1000, 0), 12_000, never},
		{"used more than the limit", forecast.Load{Now: date.Add(noon), Used: 10, Limit: 9, Own: even(noon, 1, 9).Own}, 12, never},
		{"nothing at all", forecast.Load{}, 0, never},
		{"an empty day", forecast.Load{Now: date.Add(noon), Limit: limit}, 0, never},
		{"the first minutes", even(25*time.Minute, 1000, limit), 0, never},
		{"half an hour", even(30*time.Minute, 1000, limit), 12_000, 20 * time.Hour},
		{"a key that takes nothing", forecast.Load{Now: date.Add(noon), Limit: limit, Demand: even(noon, 1000, limit).Own, Own: []int64{}}, 0, never},
		{"a key that takes a fourth", forecast.Load{
			Now: date.Add(noon), Limit: limit, Used: 210_000, Demand: even(noon, 1000, limit).Own, Own: even(noon, 250, limit).Own,
		}, 3_000, 22 * time.Hour},
		{"a key that took over at eleven", forecast.Load{
			Now: date.Add(noon), Limit: limit, Used: 12_000, Demand: even(noon, 4000, limit).Own, Own: append(make([]int64, 11*12), even(time.Hour, 4000, limit).Own...),
		}, 48_000, 16*time.Hour + 45*time.Minute},
		{"a key that was left at eleven", forecast.Load{
			Now: date.Add(noon), Limit: limit, Used: 132_000, Demand: even(noon, 4000, limit).Own, Own: even(11*time.Hour, 4000, limit).Own,
		}, 0, never},
		{"a key that takes more than there is", forecast.Load{
			Now: date.Add(noon), Limit: limit, Used: 144_000, Demand: even(noon, 1000, limit).Own, Own: even(noon, 2000, limit).Own,
		}, 12_000, 20 * time.Hour},
		{"the last token of many", forecast.Load{Now: date.Add(noon), Used: 1<<53 - 1, Limit: 1 << 53, Own: even(noon, 1<<46, limit).Own}, 12 << 46, noon},
		{"the clock went back: what is after now is not read", forecast.Load{
			Now: date.Add(noon), Used: 144_000, Limit: limit, Own: append(even(noon, 1000, limit).Own, 1e6, 1e6, 1e6),
		}, 12_000, 20 * time.Hour},
		{"another zone's clock", func() forecast.Load {
			l := even(noon, 1000, limit)
			l.Now = l.Now.In(time.FixedZone("", 9*3600))
			return l
		}(), 12_000, 20 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := forecast.Of(c.load)
			var want time.Time
			if c.at > 0 {
				want = date.Add(c.at)
			}
			if e.Rate != c.rate || e.ExhaustedAt.Sub(want).Abs() > time.Millisecond || !e.ExhaustedAt.IsZero() && e.ExhaustedAt.Location() != time.UTC {
				t.Errorf("%d tokens an hour, exhausted at %s; want %d, %s", e.Rate, e.ExhaustedAt, c.rate, want)
			}
		})
	}
}

// What comes by chance is no change.
func TestHeld(t *testing.T) {
	own := even(12*time.Hour, 1000, limit).Own
	r := random(71, 0)
	for i := range own {
		own[i] = int64(1000 * (0.5 + r.Float64()))
	}
	for _, c := range []struct {
		name   string
		factor int64 // from nine on
		want   time.Duration
	}{{"all day", 1, 12 * time.Hour}, {"twice as much from nine on", 2, 3 * time.Hour}} {
		t.Run(c.name, func(t *testing.T) {
			l := forecast.Load{Now: date.Add(12 * time.Hour), Own: slices.Clone(own)}
			for i := range 3 * 12 {
				l.Own[9*12+i] *= c.factor
			}
			if e := forecast.Of(l); e.Held != c.want {
				t.Errorf("held for %s, want %s", e.Held, c.want)
			}
		})
	}
}

// Earlier days say what is to come: work from 8 to 16 at 1,000 tokens a bucket, then half of that until midnight.
func TestEarlierDays(t *testing.T) {
	workday := slices.Concat(make([]int64, 8*12), slices.Repeat([]int64{1000}, 8*12), slices.Repeat([]int64{500}, 8*12))
	cut := workday[:16*12] // by a pool that was exhausted at 16:00
	free := make([]int64, forecast.PerDay)
	at := func(hour int, limit int64, busy float64) forecast.Load {
		l := forecast.Load{Now: date.Add(time.Duration(hour) * time.Hour), Limit: limit}
		for _, n := range workday[:hour*12] {
			l.Own = append(l.Own, int64(busy*float64(n)))
			l.Used += int64(busy * float64(n))
		}
		return l
	}
	for _, c := range []struct {
		name   string
		days   [][]int64
		load   forecast.Load
		shaped bool
		at     time.Duration
	}{
		{"two days are no shape", [][]int64{workday, workday}, at(14, 120_000, 1), false, 18 * time.Hour},
		{"three are", [][]int64{workday, workday, workday}, at(14, 120_000, 1), true, 20 * time.Hour},
		{"a busier day", [][]int64{workday, workday, workday}, at(14, 240_000, 2), true, 20 * time.Hour},
		{"a day of another kind", [][]int64{workday, workday, workday}, at(14, 1_200_000, 10), false, 18 * time.Hour},
		{"a day that is busy at night too", [][]int64{workday, workday, workday}, even(14*time.Hour, 1000, 216_000), false, 18 * time.Hour},
		{"free days among them", [][]int64{free, workday, workday, workday, free, workday, workday}, at(14, 120_000, 1), true, 20 * time.Hour},
		{"mostly free days", [][]int64{free, workday, free, workday, free}, at(14, 120_000, 1), false, 18 * time.Hour},
		{"only two that were not cut off", [][]int64{cut, workday, cut, workday}, at(14, 120_000, 1), true, 18 * time.Hour},
		{"days that were cut off", [][]int64{cut, cut, cut, cut}, at(14, 120_000, 1), true, 18 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.load.Past = forecast.NewShape(c.days)
			e := forecast.Of(c.load)
			// The shape is smooth, and knows no corner at 16:00.
			if e.Shaped != c.shaped || e.ExhaustedAt.Sub(date.Add(c.at)).Abs() > 20*time.Minute {
				t.Errorf("shaped: %t, exhausted at %s; want %t, %s", e.Shaped, e.ExhaustedAt, c.shaped, date.Add(c.at))
			}
		})
	}
}
