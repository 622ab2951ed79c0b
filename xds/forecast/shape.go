package forecast

import (
	"math"
	"slices"
	"time"
)

// Shape is how the demand of a day rises and falls. It does not change, and is good for a whole day.
type Shape struct {
	sums [PerDay + 1]float64 // sums[i] is over the buckets before i
}

// flat is the shape of days of which nothing is known: 1 in each bucket.
var flat = func() *Shape {
	var s Shape
	for i := range s.sums {
		s.sums[i] = float64(i)
	}
	return &s
}()

const (
	leastDays = 3 // that make a shape
	around    = 6 // buckets to each side that go into a mean
)

// NewShape makes the shape of earlier days; nil of fewer than three. Each is a series of the demand of all keys, from
// 00:00 UTC on, that ends where the demand is no longer known: where every key was exhausted. The shape is the median
// of the days, bucket by bucket, each smoothed over an hour. Where fewer than three days are known it goes on as in the
// hour before. Of whole weeks, free days are outvoted.
func NewShape(days [][]int64) *Shape {
	if len(days) < leastDays {
		return nil
	}
	means := make([][]float64, len(days))
	for i, day := range days {
		means[i] = smooth(day)
	}
	var s Shape
	for b := range PerDay {
		var known []float64
		for _, day := range means {
			if b < len(day) {
				known = append(known, day[b])
			}
		}
		var value float64
		if len(known) >= leastDays {
			value = median(known)
		} else if hour := min(b, int(time.Hour/Bucket)); hour > 0 {
			value = s.between(b-hour, b) / float64(hour)
		}
		s.sums[b+1] = s.sums[b] + value
	}
	return &s
}

// smooth is the moving average of a day.
func smooth(day []int64) []float64 {
	s := newSeries(day, len(day))
	means := make([]float64, len(day))
	for b := range means {
		from, to := max(b-around, 0), min(b+around+1, len(day))
		means[b] = s.between(from, to) / float64(to-from)
	}
	return means
}

// median sorts values, of which there is at least one.
func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// between is the sum of the buckets from one to before another.
func (s *Shape) between(from, to int) float64 { return s.sums[to] - s.sums[from] }

// lasts is how long an amount above 0 lasts, from now, in buckets of the day; 0: beyond the end of the day.
func (s *Shape) lasts(now, amount float64) time.Duration {
	b := int(now)
	goal := s.sums[b] + (now-float64(b))*s.between(b, b+1) + amount
	if goal >= s.sums[PerDay] {
		return 0
	}
	ahead, _ := slices.BinarySearch(s.sums[b+1:], goal)
	at := b + ahead // the bucket in which it is reached
	in := float64(at) - now
	if width := s.between(at, at+1); width > 0 {
		in += (goal - s.sums[at]) / width
	}
	return max(time.Duration(math.Round(in*float64(Bucket))), 1)
}
