// Package forecast says when a key, or the pool of all keys, will have used its daily limit if the demand goes on as it
// does now, and when that is sure enough to tell people.
//
// The rules are:
//   - It is pure: all that it knows comes in by Load, time included.
//   - The pace is the mean over the longest recent time in which the demand did not change by more than chance.
//   - Where earlier days are known, the demand is held against their shape, else against a flat one.
//   - A key takes as much of the whole demand as it took lately. One that takes nothing has no forecast.
//   - Nothing is said unless there were calls in six buckets of the last two hours: half an hour of traffic, at least.
//   - An alarm asks for more than an estimate does (see Policy), and is raised once in a window.
package forecast

import (
	"math"
	"time"

	"keywheel/shared/quota"
)

// Bucket is the time over which tokens are summed. PerDay of them are a window.
const (
	Bucket = 5 * time.Minute
	PerDay = int(24 * time.Hour / Bucket)
)

// Nothing is said unless, of so many last buckets, so many have calls.
const (
	lately    = 24
	leastBusy = 6
)

// Load is what a forecast is made from. A series holds the tokens that were used in each bucket of Now's window, from
// 00:00 UTC on. Buckets that are missing at its end are empty; the one in progress, and what is after it, is not read.
type Load struct {
	Now    time.Time
	Used   int64   // tokens in the window
	Limit  int64   // tokens for a window; 0: no limit
	Own    []int64 // the series of the key, or of the pool
	Demand []int64 // the series of all keys together, of which the key takes its share; nil: Own, as for the pool
	Past   *Shape  // of earlier days' demand; nil: not known
}

// Estimate is what can be said at one time. It may change at any time, also back. Its zero value says nothing.
type Estimate struct {
	At          time.Time     // when it was made, by Load.Now
	Rate        int64         // tokens an hour now; 0: unknown, or none
	ExhaustedAt time.Time     // UTC, before the reset; zero: unknown, not before the reset, or it already is
	Held        time.Duration // how long the demand has been as it is now, measured by the shape
	Shaped      bool          // the shape is that of earlier days, not a flat one

	remaining float64             // part of the limit, 0…1
	slow      [len(spans)]outlook // by the slowest mean pace of the spans up to each
}

// spans are the times, in buckets, over which an alarm looks for the slowest mean pace: half an hour to eight hours.
var spans = [...]int{6, 12, 24, 48, 96}

// outlook is what comes of a pace.
type outlook struct {
	left time.Duration // until exhausted; 0: not before the reset
	part float64       // what the shape has until then, by what it had in the span
}

// Of makes an estimate. Numbers that cannot be do no harm: negative tokens count as none, and no key takes more than the
// whole demand.
func Of(l Load) Estimate {
	e := Estimate{At: l.Now}
	now := float64(l.Now.Sub(quota.WindowAt(l.Now).Start())) / float64(Bucket)
	end := int(now)
	own := newSeries(l.Own, end)
	demand, share := own, 1.0
	if l.Demand != nil {
		demand = newSeries(l.Demand, end)
	}
	if demand.busy(end-lately, end) < leastBusy {
		return e
	}
	noise := demand.noise()
	if l.Demand != nil {
		share = shareOf(own, demand, noise)
	}
	if share <= 0 {
		return e
	}
	p := fit(demand, flat, noise)
	e.Rate = int64(math.Min(math.Round(p.level*share*float64(time.Hour/Bucket)), 1<<53))
	if l.Past != nil { // a flat shape that fits for more than twice as long says that this is a day of another kind
		if shaped := fit(demand, l.Past, noise); shaped.likely() && 2*shaped.held() >= p.held() {
			p, e.Shaped = shaped, true
		}
	}
	e.Held = time.Duration(p.held()) * Bucket
	if l.Limit <= 0 || l.Used >= l.Limit {
		return e
	}
	limit := float64(l.Limit)
	e.remaining = 1 - math.Max(float64(l.Used), 0)/limit
	demanded := e.remaining * limit / share // of all keys, until this one is exhausted
	if left := p.shape.lasts(now, demanded/p.level); left > 0 {
		e.ExhaustedAt = l.Now.Add(left).UTC()
	}
	slowest := math.Inf(1)
	for i, span := range spans {
		if span > end-demand.first() {
			break
		}
		slowest = math.Min(slowest, p.over(end-span))
		amount := demanded / slowest
		e.slow[i] = outlook{p.shape.lasts(now, amount), amount / p.shape.between(end-span, end)}
	}
	return e
}
