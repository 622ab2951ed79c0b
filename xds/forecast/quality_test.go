package forecast_test

import (
	"flag"
	"iter"
	"testing"
	"time"

	"keywheel/xds/forecast"
)

// The days that are played, of each kind. What is tuned on these is to hold for others: go test -first 1000 -days 300.
var (
	firstSeed = flag.Uint64("first", 0, "seed of the first day of each kind")
	dayCount  = flag.Uint64("days", 30, "days of each kind")
)

// seeds are those of the days of a kind.
func seeds() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := range *dayCount {
			if !yield(*firstSeed + i) {
				return
			}
		}
	}
}

// many plays the days of a kind and prints what came of them. Of a day with a false or a missing alarm it prints the seed.
func many(t *testing.T, name string, kind uint64, day func(seed uint64) *played) *tally {
	t.Helper()
	sum := &tally{name: name}
	for seed := range seeds() {
		p := day(seed)
		if p.wrong(p.methods[ours].alarm) || p.wrong(p.pool) || p.missed(p.methods[ours].alarm) {
			t.Logf("%s: look at kind %d, seed %d: alarm at %s, pool's at %s, exhausted at %s", name, kind, seed, p.methods[ours].alarm, p.pool, p.exhausted)
		}
		sum.add(p)
	}
	t.Logf("kind %d, from seed %d: %s", kind, *firstSeed, sum)
	if sum.wrong[ours] > 0 || sum.poolWrong > 0 {
		t.Errorf("%s: %d false alarms, %d of the pool", name, sum.wrong[ours], sum.poolWrong)
	}
	if sum.missed > 0 {
		t.Errorf("%s: %d keys were exhausted before any alarm", name, sum.missed)
	}
	if 30*sum.poolMiss > sum.days { // its policy is the stricter: rather once none than once too many
		t.Errorf("%s: %d pools were exhausted before any alarm", name, sum.poolMiss)
	}
	return sum
}

// On a steady day the time that is shown is right from half of the limit on. What a tenth can be of depends on how many
// calls there are. With a thousand an hour it is of the time that remains, and a bucket, in 999 of 1,000 minutes. With 90
// calls of such different sizes what is still to come varies by more; there it is of the time from the first call until
// exhausted, in 99 of 100 minutes. From midnight on, what was used so far by the time is the best that can be known: no
// method does better.
func TestSteadyDay(t *testing.T) {
	for _, c := range []struct {
		name    string
		perHour float64
		kind    uint64
		from    time.Duration
	}{{"90 calls an hour from midnight", 90, 1, 0}, {"90 calls an hour from 8", 90, 2, 8 * time.Hour}, {"1,000 calls an hour from 5", 1000, 3, 5 * time.Hour}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sum := many(t, c.name, c.kind, func(seed uint64) *played {
				r := random(c.kind, seed)
				calls := steady(r, c.perHour, c.from)
				return play(calls, endAt(calls, 1.1+0.9*r.Float64()), nil)
			})
			if 100*sum.loose > len(sum.errors[ours]) {
				t.Errorf("%d of %d estimates are off by more than 10%% of the time until exhausted", sum.loose, len(sum.errors[ours]))
			}
			if c.perHour >= 1000 && 1000*sum.strict > len(sum.errors[ours]) {
				t.Errorf("%d of %d estimates are off by more than 10%% of what remained and a bucket", sum.strict, len(sum.errors[ours]))
			}
			if mean(sum.errors[ours]) >= mean(sum.errors[hour]) {
				t.Error("the last hour's mean does better")
			}
			if c.from > 0 && mean(sum.errors[ours]) >= mean(sum.errors[soFar]) { // from midnight on it is what is right
				t.Error("what was used so far by the time since midnight does better")
			}
		})
	}
}

// Office hours that end at 30 to 80 % of the limit need no alarm; those of 105 to 150 % one before it is too late.
func TestOfficeHours(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind        uint64
		past        bool
		least, most float64
	}{
		{"office hours", 11, false, 0.3, 0.8}, {"office hours after a week", 12, true, 0.3, 0.8},
		{"too busy office hours", 13, false, 1.05, 1.5}, {"too busy office hours after a week", 14, true, 1.05, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sum := many(t, c.name, c.kind, func(seed uint64) *played {
				r := random(c.kind, seed)
				perHour, bell := []float64{90, 300}[seed%2], seed%4 < 2
				var past *forecast.Shape
				if c.past {
					past = week(r, perHour, bell)
				}
				calls := office(r, perHour, bell)
				return play(calls, endAt(calls, c.least+(c.most-c.least)*r.Float64()), past)
			})
			if c.least > 1 && (mean(sum.errors[ours]) >= mean(sum.errors[soFar]) || mean(sum.errors[ours]) >= mean(sum.errors[hour]) || 4*sum.nearer < 3*sum.days) {
				t.Error("a naive method does as well")
			}
			if c.past && c.least > 1 && (mean(sum.lead) < 2 || mean(sum.poolLead) < 1.25) {
				t.Errorf("known from a week, and told only %.2f h ahead, for the pool %.2f h", mean(sum.lead), mean(sum.poolLead))
			}
			if c.least < 1 && (sum.wrong[soFar] == 0 || sum.wrong[hour] == 0) {
				t.Error("these days are no test: the naive methods do as well")
			}
		})
	}
}

// Office hours that end at 80 to 89 %: nobody could tell that people go home an hour or two before it comes true. At most
// one alarm in four days is false, and one in thirty for the pool.
func TestNearlyTooBusy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind uint64
		past bool
	}{{"nearly too busy office hours", 15, false}, {"nearly too busy office hours after a week", 16, true}} {
		sum := &tally{name: c.name}
		for seed := range seeds() {
			r := random(c.kind, seed)
			perHour, bell := []float64{90, 300}[seed%2], seed%4 < 2
			var past *forecast.Shape
			if c.past {
				past = week(r, perHour, bell)
			}
			calls := office(r, perHour, bell)
			sum.add(play(calls, endAt(calls, 0.8+0.09*r.Float64()), past))
		}
		t.Logf("kind %d, from seed %d: %s", c.kind, *firstSeed, sum)
		if 4*sum.wrong[ours] > sum.days || 30*sum.poolWrong > sum.days || 2*sum.wrong[hour] < sum.days {
			t.Errorf("of %d days %d have false alarms, %d have for the pool, %d by the last hour", sum.days, sum.wrong[ours], sum.poolWrong, sum.wrong[hour])
		}
	}
}

func TestBursts(t *testing.T) {
	t.Parallel()
	sum := many(t, "bursts", 21, func(seed uint64) *played {
		r := random(21, seed)
		calls := bursts(r, []float64{6, 30, 90}[seed%3])
		return play(calls, endAt(calls, 0.3+0.4*r.Float64()), nil)
	})
	if sum.wrong[soFar] == 0 || sum.wrong[hour] == 0 {
		t.Error("these days are no test: the naive methods do as well")
	}
}

// A handful of calls is no pace.
func TestIdleDay(t *testing.T) {
	t.Parallel()
	sum := many(t, "idle", 31, func(seed uint64) *played {
		r := random(31, seed)
		perHour := []float64{0, 0.1, 0.3}[seed%3]
		return play(poisson(r, func(time.Duration) float64 { return perHour }), 14_400, nil)
	})
	if sum.spoke > 0 {
		t.Errorf("%d idle days have estimates", sum.spoke)
	}
}
