package forecast

import (
	"time"

	"keywheel/shared/quota"
)

// Policy says when an estimate is sure enough for an alarm. A pace is expected to hold for a part of the time that it
// has held. So there must be a span of which even the slowest mean pace, of that span and all shorter ones, uses up
// what remains within that part of it. A flat shape knows nothing of what is to come, as that people go home: by it no
// alarm looks far ahead, nor comes before most of the limit is used. The shape of earlier days needs neither; by it,
// what a span had counts, not how long it was.
type Policy struct {
	sustained time.Duration // for which it must be so, at each step
	ahead     time.Duration // how far a flat pace is trusted at most
	shaped    float64       // the part of a span that one is trusted for by the shape of earlier days
}

// ForKey is the policy for a key. ForPool, for the pool, is stricter: that alarm wakes people.
var (
	ForKey  = Policy{sustained: 10 * time.Minute, ahead: 90 * time.Minute, shaped: 1}
	ForPool = Policy{sustained: 15 * time.Minute, ahead: 60 * time.Minute, shaped: 1.0 / 2}
)

const (
	flatPart = 1.0 / 2 // of a span that a flat pace is trusted for
	flatRest = 1.0 / 5 // of the limit, that may remain
)

// sure says whether an estimate is sure enough at this moment.
func (p Policy) sure(e Estimate) bool {
	if e.ExhaustedAt.IsZero() || !e.Shaped && e.remaining > flatRest {
		return false
	}
	for _, slow := range e.slow {
		if slow.left <= 0 {
			continue
		}
		if e.Shaped && slow.part <= p.shaped || !e.Shaped && slow.part <= flatPart && slow.left <= p.ahead {
			return true
		}
	}
	return false
}

// pause is the time after which a step does not follow the one before.
const pause = 30 * time.Minute

// Watch is the alarm of a key, or of the pool. Its zero value has seen nothing.
type Watch struct {
	window quota.Window
	said   bool      // in the window
	since  time.Time // of the first of the steps in a row at which the estimate was sure; zero: there is none
	last   time.Time // of the last of them
}

// Step takes in the next estimate, about a minute after the last, and says whether people are to be told of it now: at
// most once in a window. Where time jumps, or goes back, it begins anew.
func (w *Watch) Step(e Estimate, p Policy) bool {
	if window := quota.WindowAt(e.At); window != w.window {
		*w = Watch{window: window}
	}
	if w.said {
		return false
	}
	if !p.sure(e) {
		w.since = time.Time{}
		return false
	}
	if w.since.IsZero() || e.At.Before(w.last) || e.At.Sub(w.last) > pause {
		w.since = e.At
	}
	w.last = e.At
	w.said = e.At.Sub(w.since) >= p.sustained
	return w.said
}
