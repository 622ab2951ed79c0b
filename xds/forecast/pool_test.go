package forecast_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"keywheel/xds/forecast"
)

// byPriority takes the first key that is not exhausted; -1: none.
func byPriority(used []int64, limit int64) int {
	for i, u := range used {
		if u < limit {
			return i
		}
	}
	return -1
}

// evenly takes any.
func evenly(r *rand.Rand) func(used []int64, limit int64) int {
	return func(used []int64, limit int64) int {
		for _, i := range r.Perm(len(used)) {
			if used[i] < limit {
				return i
			}
		}
		return -1
	}
}

// playPool plays a day of three keys with a limit each, bucket by bucket. pick chooses the key of each call. It returns the
// keys, and the pool last.
func playPool(calls []call, limit int64, past *forecast.Shape, pick func(used []int64, limit int64) int) []*played {
	const keys = 3
	var days []*played
	for range keys {
		days = append(days, &played{limit: limit, began: 24 * time.Hour})
	}
	days = append(days, &played{limit: keys * limit, began: 24 * time.Hour})
	used, of := make([]int64, keys), make([]int, 0, len(calls))
	for _, c := range calls {
		key := pick(used, limit)
		if key < 0 {
			break
		}
		used[key] += c.tokens
		of = append(of, key)
		for _, p := range []*played{days[key], days[keys]} {
			p.began = min(p.began, c.at)
			p.used += c.tokens
		}
		if days[key].used >= limit {
			days[key].exhausted = c.at
			if pick(used, limit) < 0 {
				days[keys].exhausted = c.at
			}
		}
	}
	loads := make([]forecast.Load, keys+1)
	for i := range loads {
		loads[i] = forecast.Load{Limit: days[i].limit, Own: make([]int64, forecast.PerDay), Past: past}
		if i < keys {
			loads[i].Demand = make([]int64, forecast.PerDay)
		}
	}
	next := 0
	for at := forecast.Bucket; at < 24*time.Hour; at += forecast.Bucket {
		for ; next < len(of) && calls[next].at < at; next++ {
			bucket, tokens := calls[next].at/forecast.Bucket, calls[next].tokens
			for i := range loads {
				if i < keys {
					loads[i].Demand[bucket] += tokens
				}
				if i == of[next] || i == keys {
					loads[i].Own[bucket] += tokens
					loads[i].Used += tokens
				}
			}
		}
		for i, l := range loads {
			l.Now = date.Add(at)
			if (days[i].exhausted == 0 || at < days[i].exhausted) && (l.Used > 0 || at%time.Hour == 0) {
				days[i].step(at, l)
			}
		}
	}
	return days
}

// Three keys, in office hours that use up one or two of them, or all. Without earlier days an alarm for a key can be false for
// one reason: people go home in the last hour before it comes true. It is never false by more than a fifth of the limit.
func TestPoolOfKeys(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind        uint64
		even        bool
		least, most float64
	}{{"by priority", 41, false, 0.4, 0.8}, {"by priority, too busy", 42, false, 1.05, 1.5}, {"evenly", 43, true, 0.4, 0.8}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			keys, pool := &tally{name: c.name + ", the keys"}, &tally{name: c.name + ", the pool"}
			for seed := range seeds() {
				r := random(c.kind, seed)
				perHour, bell := []float64{90, 300}[seed%2], seed%4 < 2
				var past *forecast.Shape
				if seed%3 == 0 {
					past = week(r, perHour, bell)
				}
				calls := office(r, perHour, bell)
				pick := byPriority
				if c.even {
					pick = evenly(r)
				}
				days := playPool(calls, endAt(calls, c.least+(c.most-c.least)*r.Float64())/3, past, pick)
				pool.add(days[3])
				for i, p := range days[:3] {
					keys.add(p)
					alarm := p.methods[ours].alarm
					if p.wrong(alarm) || p.missed(alarm) {
						t.Logf("look at kind %d, seed %d, key %d: alarm at %s, exhausted at %s, used %d of %d", c.kind, seed, i+1, alarm, p.exhausted, p.used, p.limit)
					}
					if alarm > 0 && 5*p.used < 4*p.limit {
						t.Errorf("seed %d: an alarm for key %d, which ends its day having used %d of %d", seed, i+1, p.used, p.limit)
					}
					if p.used == 0 && p.spoke > 0 {
						t.Errorf("seed %d: key %d, which nobody uses, has a forecast", seed, i+1)
					}
				}
			}
			t.Logf("kind %d, from seed %d: %s", c.kind, *firstSeed, keys)
			t.Logf("kind %d, from seed %d: %s", c.kind, *firstSeed, pool)
			if 45*keys.wrong[ours] > keys.days || 20*keys.missed > keys.days {
				t.Errorf("%d false alarms for a key, %d keys exhausted before any; of %d", keys.wrong[ours], keys.missed, keys.days)
			}
			if pool.poolWrong > 0 || 30*pool.poolMiss > pool.days {
				t.Errorf("%d false alarms for the pool, %d pools exhausted before any; of %d", pool.poolWrong, pool.poolMiss, pool.days)
			}
			if 2*keys.wrong[ours] > min(keys.wrong[soFar], keys.wrong[hour]) && c.least < 1 {
				t.Errorf("no better than the naive methods")
			}
		})
	}
}
