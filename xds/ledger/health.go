package ledger

import (
	"time"

	"keywheel/shared/protocol"
)

// recent is how far back health and response times look, in minutes.
const recent = 15

// ring counts what happened in each of the last minutes of the ledger's time.
type ring struct {
	minutes [recent]minute
	summed  minute // over all, at the minute that stands in it; 0: to be summed anew
}

type minute struct {
	at         int64 // Unix minutes
	ok, failed int64
	times      [len(protocol.TimeBuckets) + 1]int64
}

// add counts what happened at now. Times are a histogram by protocol.TimeBuckets, or nil.
func (r *ring) add(now time.Time, ok, failed int64, times []int64) {
	at := now.Unix() / 60
	m := &r.minutes[((at%recent)+recent)%recent]
	if m.at != at {
		*m = minute{at: at}
	}
	r.summed.at = 0
	m.ok += ok
	m.failed += failed
	for i, n := range times[:min(len(times), len(m.times))] {
		m.times[i] += n
	}
}

// sum adds the last minutes up.
func (r *ring) sum(now time.Time) minute {
	at := now.Unix() / 60
	if r.summed.at == at {
		return r.summed
	}
	s := minute{at: at}
	for i := range r.minutes {
		m := &r.minutes[i]
		if m.at <= at-recent || m.at > at {
			continue
		}
		s.ok += m.ok
		s.failed += m.failed
		for j, n := range m.times {
			s.times[j] += n
		}
	}
	r.summed = s
	return s
}

// health is the part that went well, 0…1; 1 without traffic.
func (m *minute) health() float64 {
	if m.ok+m.failed == 0 {
		return 1
	}
	return float64(m.ok) / float64(m.ok+m.failed)
}

// median is the median time in milliseconds, by a straight line through the bucket that it lies in; 0: none was
// measured. Beyond the last bucket it is that bucket's bound.
func (m *minute) median() int64 {
	var count int64
	for _, n := range m.times {
		count += n
	}
	if count == 0 {
		return 0
	}
	half, below, low := (count+1)/2, int64(0), int64(0)
	for i, bound := range protocol.TimeBuckets {
		if n := m.times[i]; below+n >= half {
			return max(1, low+(bound-low)*(half-below)/n)
		}
		below += m.times[i]
		low = bound
	}
	return low
}

// keyStates is what filters need for the score.
func (l *Ledger) keyStates(now time.Time) []protocol.KeyState {
	states := make([]protocol.KeyState, len(l.keys))
	for i, k := range l.keys {
		s := k.ring.sum(now)
		states[i] = protocol.KeyState{ID: k.ID, Health: s.health(), MedianMS: s.median()}
	}
	return states
}
