package forecast_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"keywheel/xds/forecast"
)

const keyLimit = 14_400 // of each of the day's three keys, in tokens a day

// stretch is a part of the day: so many calls on a key, which take so many tokens.
type stretch struct {
	from, to string // "15:04"
	key      int    // from 0
	calls    int
	tokens   int64
}

// stretches are the day that users tell of. It is the first, nothing is known of earlier ones.
var stretches = []stretch{
	{"08:00", "08:15", 0, 12, 1_234}, {"08:15", "08:30", 0, 22, 2_222}, {"08:30", "08:45", 0, 22, 2_222}, {"08:45", "09:00", 0, 22, 2_212},
	{"09:00", "10:00", 0, 29, 2_910}, {"10:00", "11:30", 0, 22, 2_160}, {"11:30", "12:15", 0, 15, 1_440},
	{"12:15", "14:00", 1, 256, 8_500}, {"14:00", "18:00", 1, 50, 1_734},
}

// clock is a time of the day.
func clock(t *testing.T, s string) time.Duration {
	t.Helper()
	at, err := time.Parse(time.DateOnly+" 15:04", date.Format(time.DateOnly)+" "+s)
	if err != nil {
		t.Fatal(err)
	}
	return at.Sub(date)
}

// dayCall is a call on one of the keys.
type dayCall struct {
	call
	key int
}

// told is the story's day. spread says when the i-th of n calls is made in a stretch of that length.
func told(t *testing.T, spread func(i, n int, length time.Duration) time.Duration) []dayCall {
	t.Helper()
	var calls []dayCall
	for _, s := range stretches {
		from := clock(t, s.from)
		for i := range s.calls {
			upTo := func(i int) int64 { return s.tokens * int64(i) / int64(s.calls) }
			calls = append(calls, dayCall{call{from + spread(i, s.calls, clock(t, s.to)-from), upTo(i+1) - upTo(i)}, s.key})
		}
	}
	return calls
}

// alarm is what is said, and when.
type alarm struct{ at, by time.Duration }

func (a alarm) String() string {
	return fmt.Sprintf("at %s by %s", date.Add(a.at).Format("15:04"), date.Add(a.by).Format("15:04"))
}

// tell plays the day with steps of a minute, or more, and returns the alarms for key 1, key 2 and the pool. Where the clock
// stops for calls, there is a step before and one after them.
func tell(calls []dayCall, from, step time.Duration) (alarms [3][]alarm) {
	pool := make([]int64, forecast.PerDay)
	loads := [3]forecast.Load{
		{Limit: keyLimit, Own: make([]int64, forecast.PerDay), Demand: pool},
		{Limit: keyLimit, Own: make([]int64, forecast.PerDay), Demand: pool},
		{Limit: 3 * keyLimit, Own: pool},
	}
	policies := [3]forecast.Policy{forecast.ForKey, forecast.ForKey, forecast.ForPool}
	var watches [3]forecast.Watch
	for at := from; at < 24*time.Hour; at += step {
		for _, until := range []time.Duration{at, at + 1} {
			if step == time.Minute && until > at {
				continue
			}
			for ; len(calls) > 0 && calls[0].at < until; calls = calls[1:] {
				c := calls[0]
				for _, i := range []int{c.key, 2} {
					loads[i].Own[c.at/forecast.Bucket] += c.tokens
					loads[i].Used += c.tokens
				}
			}
			for i, l := range loads {
				l.Now = date.Add(at)
				if e := forecast.Of(l); watches[i].Step(e, policies[i]) {
					alarms[i] = append(alarms[i], alarm{at, e.ExhaustedAt.Sub(date)})
				}
			}
		}
	}
	return alarms
}

// right says whether the alarms are those of the story: one for key 1, in time, and none for key 2 and the pool, which end
// the day at 71 and 57 %. near says whether the time it names is within half an hour of the true one.
func right(t *testing.T, alarms [3][]alarm) (ok, near bool) {
	t.Helper()
	exhausted := clock(t, "12:15")
	ok = len(alarms[0]) == 1 && len(alarms[1]) == 0 && len(alarms[2]) == 0 && alarms[0][0].at < exhausted
	return ok, ok && (alarms[0][0].by-exhausted).Abs() <= 30*time.Minute
}

func TestStory(t *testing.T) {
	for _, c := range []struct {
		name   string
		step   time.Duration
		spread func(i, n int, length time.Duration) time.Duration
	}{
		{"calls spread evenly", time.Minute, func(i, n int, length time.Duration) time.Duration {
			return length * time.Duration(2*i+1) / time.Duration(2*n)
		}},
		{"calls at quarters of an hour, where the clock stops", 15 * time.Minute, func(i, n int, length time.Duration) time.Duration {
			quarters := int(length / (15 * time.Minute))
			return time.Duration(i*quarters/n) * 15 * time.Minute
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			alarms := tell(told(t, c.spread), clock(t, "08:00"), c.step)
			if ok, near := right(t, alarms); !ok || !near {
				t.Errorf("alarms for key 1, key 2, pool: %v", alarms)
			}
			t.Log(alarms)
		})
	}
}

// The same day with calls by chance: an hour has fifteen of them, so what an alarm says is not always as near.
func TestStoryByChance(t *testing.T) {
	t.Parallel()
	good := 0
	for seed := range seeds() {
		alarms := tell(byChance(t, random(51, seed)), clock(t, "08:00"), time.Minute)
		ok, near := right(t, alarms)
		if !ok {
			t.Errorf("seed %d: alarms for key 1, key 2, pool: %v", seed, alarms)
		}
		if near {
			good++
		} else {
			t.Logf("seed %d: %v", seed, alarms)
		}
	}
	t.Logf("kind 51, from seed %d: %d of %d alarms are within half an hour", *firstSeed, good, *dayCount)
	if 10*good < 8*int(*dayCount) {
		t.Errorf("only %d of %d alarms are within half an hour", good, *dayCount)
	}
}

// byChance has each stretch's calls at any time of it.
func byChance(t *testing.T, r *rand.Rand) []dayCall {
	t.Helper()
	times := map[int][]time.Duration{}
	return told(t, func(i, n int, length time.Duration) time.Duration {
		if i == 0 {
			times[n] = nil
			sum := 0.0
			var gaps []float64
			for range n + 1 { // gaps between points by chance are exponential, scaled to the length
				gaps = append(gaps, r.ExpFloat64())
				sum += gaps[len(gaps)-1]
			}
			at := 0.0
			for _, gap := range gaps[:n] {
				at += gap
				times[n] = append(times[n], time.Duration(at/sum*float64(length)))
			}
		}
		return times[n][i]
	})
}
