package forecast_test

import (
	"math"
	"math/rand/v2"
	"time"

	"keywheel/xds/forecast"
)

// date is the day that the tests play.
var date = time.Date(2025, 11, 18, 0, 0, 0, 0, time.UTC)

// call is one call: when on its day, and the tokens that it takes.
type call struct {
	at     time.Duration
	tokens int64
}

// random is the chance of one day of a kind.
func random(kind, seed uint64) *rand.Rand { return rand.New(rand.NewPCG(kind, seed)) }

// poisson makes the calls of a day. They come by chance, so many an hour as rate says; their sizes, 400 tokens in the
// mean, are spread as widely as they are large (log-normal, a coefficient of variation of 1).
func poisson(r *rand.Rand, rate func(at time.Duration) float64) []call {
	spread := math.Sqrt(math.Ln2)
	var calls []call
	for at := time.Duration(0); at < 24*time.Hour; at += time.Minute {
		mean := rate(at) / 60
		if mean <= 0 {
			continue
		}
		for in := r.ExpFloat64() / mean; in < 1; in += r.ExpFloat64() / mean {
			size := 400 * math.Exp(spread*r.NormFloat64()-math.Ln2/2)
			calls = append(calls, call{at + time.Duration(in*float64(time.Minute)), int64(math.Ceil(size))})
		}
	}
	return calls
}

// steady has as many calls in each hour, from one time on.
func steady(r *rand.Rand, perHour float64, from time.Duration) []call {
	return poisson(r, func(at time.Duration) float64 {
		if at < from {
			return 0
		}
		return perHour
	})
}

// wavering is a factor of 1 in the mean that wanders by a fifth, with a memory of an hour.
func wavering(r *rand.Rand) func(at time.Duration) float64 {
	const deviation = 0.2
	var factors [24 * 60]float64
	x, keep := r.NormFloat64(), math.Exp(-1.0/60)
	for i := range factors {
		x = keep*x + math.Sqrt(1-keep*keep)*r.NormFloat64()
		factors[i] = math.Exp(deviation*x - deviation*deviation/2)
	}
	return func(at time.Duration) float64 { return factors[at/time.Minute] }
}

// office is a day of work from 8 to 17, ten minutes sooner or later: flat, or the half of a sine; with a dip from 12 to 13,
// and hardly anything before and after.
func office(r *rand.Rand, perHour float64, bell bool) []call {
	waver, shift := wavering(r), time.Duration(r.IntN(21)-10)*time.Minute
	return poisson(r, func(at time.Duration) float64 {
		hour, level := (at + shift).Hours(), 0.02
		if hour >= 8 && hour < 17 {
			level = 1
			if bell {
				level = 0.1 + 1.2*math.Sin((hour-8)/9*math.Pi)
			}
			if hour >= 12 && hour < 13 {
				level *= 0.4
			}
		}
		return perHour * level * waver(at)
	})
}

// week is seven days of the same office, each with a traffic of its own, two of them free.
func week(r *rand.Rand, perHour float64, bell bool) *forecast.Shape {
	var days [][]int64
	for d := range 7 {
		busy := 0.6 + 0.8*r.Float64()
		if d == 2 || d == 3 {
			busy = 0.03
		}
		days = append(days, series(office(r, perHour*busy, bell)))
	}
	return forecast.NewShape(days)
}

// bursts is a day with one to three bursts of 15 to 40 minutes, at 8 to 15 times of what comes else.
func bursts(r *rand.Rand, perHour float64) []call {
	var factors [24 * 60]float64
	for range 1 + r.IntN(3) {
		from, factor := r.IntN(23*60), 8+7*r.Float64()
		for i := range 15 + r.IntN(26) {
			factors[from+i] = factor
		}
	}
	return poisson(r, func(at time.Duration) float64 { return perHour * max(factors[at/time.Minute], 1) })
}

// total sums calls.
func total(calls []call) (tokens int64) {
	for _, c := range calls {
		tokens += c.tokens
	}
	return tokens
}

// endAt is the limit of which calls use a part.
func endAt(calls []call, part float64) int64 { return int64(float64(total(calls)) / part) }

// series sums calls by bucket.
func series(calls []call) []int64 {
	tokens := make([]int64, forecast.PerDay)
	for _, c := range calls {
		tokens[c.at/forecast.Bucket] += c.tokens
	}
	return tokens
}
