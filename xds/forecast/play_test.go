package forecast_test

import (
	"fmt"
	"math"
	"strings"
	"time"

	"keywheel/xds/forecast"
)

// falseBelow is the part of its limit below which a key must have ended its day for a person to call an alarm false.
const falseBelow = 0.9

// The methods that are compared.
const (
	ours  = iota
	soFar // naive: what was used so far, by the time since midnight
	hour  // naive: what was used in the last hour
	methods
)

// method is what one method said on a day.
type method struct {
	alarm  time.Duration // 0: none
	by     time.Time     // what the alarm said
	since  time.Duration // of a row of steps that say exhausted before the reset, for the naive; 0: not now
	errors []float64     // in hours, of each step from half of the limit used; what says "not before the reset" says midnight
}

// played is a day of one key, or of the pool.
type played struct {
	began     time.Duration // the first call
	exhausted time.Duration // 0: not
	used      int64
	limit     int64
	spoke     int // steps with an estimate
	methods   [methods]method
	pool      time.Duration // the alarm by the pool's policy; 0: none

	watch, poolWatch forecast.Watch
	left             []float64 // hours to the true time, for each of the errors
}

// step lets all methods say what they think.
func (p *played) step(at time.Duration, l forecast.Load) {
	e := forecast.Of(l)
	if e.Rate > 0 {
		p.spoke++
	}
	if p.watch.Step(e, forecast.ForKey) {
		p.methods[ours].alarm, p.methods[ours].by = at, e.ExhaustedAt
	}
	if p.poolWatch.Step(e, forecast.ForPool) {
		p.pool = at
	}
	var lastHour int64
	for b := int(at / forecast.Bucket); b >= 0 && b > int((at-time.Hour)/forecast.Bucket); b-- {
		lastHour += l.Own[b]
	}
	remaining := float64(l.Limit - l.Used)
	says := [methods]float64{ours: 24, soFar: at.Hours() * (1 + remaining/float64(l.Used)), hour: at.Hours() + remaining/float64(lastHour)}
	if !e.ExhaustedAt.IsZero() {
		says[ours] = e.ExhaustedAt.Sub(date).Hours()
	}
	for i := range says {
		m := &p.methods[i]
		if i != ours { // as sustained as ours, after as long a wait
			if says[i] >= 24 || at-p.began < 30*time.Minute {
				m.since = 0
			} else if m.since == 0 {
				m.since = at
			}
			if m.alarm == 0 && m.since > 0 && at-m.since >= 10*time.Minute {
				m.alarm = at
			}
		}
		if p.exhausted > 0 && 2*l.Used >= l.Limit {
			m.errors = append(m.errors, math.Abs(math.Min(says[i], 24)-p.exhausted.Hours()))
			if i == ours {
				p.left = append(p.left, (p.exhausted - at).Hours())
			}
		}
	}
}

// play plays a day of one key, minute by minute, until it is exhausted.
func play(calls []call, limit int64, past *forecast.Shape) *played {
	p := &played{limit: limit}
	for i, c := range calls {
		if i == 0 {
			p.began = c.at
		}
		if p.used += c.tokens; p.used >= limit {
			p.exhausted = c.at
			break
		}
	}
	l := forecast.Load{Limit: limit, Own: make([]int64, forecast.PerDay), Past: past}
	for at := time.Minute; at < 24*time.Hour && l.Used < limit; at += time.Minute {
		for len(calls) > 0 && calls[0].at < at {
			l.Own[calls[0].at/forecast.Bucket] += calls[0].tokens
			l.Used += calls[0].tokens
			calls = calls[1:]
		}
		if l.Now = date.Add(at); l.Used > 0 && l.Used < limit {
			p.step(at, l)
		}
	}
	return p
}

// wrong says whether an alarm at a time was false.
func (p *played) wrong(alarm time.Duration) bool {
	return alarm > 0 && float64(p.used) < falseBelow*float64(p.limit)
}

// missed says whether the key was exhausted before an alarm.
func (p *played) missed(alarm time.Duration) bool {
	return p.exhausted > 0 && (alarm == 0 || alarm >= p.exhausted)
}

// tally sums up the days of a kind.
type tally struct {
	name      string
	days      int
	exhausted int
	spoke     int
	wrong     [methods]int
	missed    int
	poolWrong int
	poolMiss  int
	errors    [methods][]float64
	lead      []float64 // hours from our alarm until exhausted
	poolLead  []float64
	off       []float64 // hours between what the alarm said and the truth
	nearer    int       // days on which our mean error is less than that of the last hour
	strict    int       // steps off by more than a tenth of the time that remained and a bucket
	loose     int       // steps off by more than a tenth of the time from the first call to the last
}

func (t *tally) add(p *played) {
	t.days++
	if p.spoke > 0 {
		t.spoke++
	}
	for i, m := range p.methods {
		if p.wrong(m.alarm) {
			t.wrong[i]++
		}
		t.errors[i] = append(t.errors[i], m.errors...)
	}
	if p.wrong(p.pool) {
		t.poolWrong++
	}
	for i, e := range p.methods[ours].errors {
		if e > p.left[i]/10+forecast.Bucket.Hours() {
			t.strict++
		}
		if e > (p.exhausted-p.began).Hours()/10 {
			t.loose++
		}
	}
	if p.exhausted == 0 {
		return
	}
	t.exhausted++
	if mean(p.methods[ours].errors) < mean(p.methods[hour].errors) {
		t.nearer++
	}
	if m := p.methods[ours]; p.missed(m.alarm) {
		t.missed++
	} else {
		t.lead = append(t.lead, (p.exhausted - m.alarm).Hours())
		t.off = append(t.off, math.Abs((m.by.Sub(date) - p.exhausted).Hours()))
	}
	if p.missed(p.pool) {
		t.poolMiss++
	} else {
		t.poolLead = append(t.poolLead, (p.exhausted - p.pool).Hours())
	}
}

func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d days, %d exhausted; false alarms: key %d, pool %d; naive: so far %d, last hour %d",
		t.name, t.days, t.exhausted, t.wrong[ours], t.poolWrong, t.wrong[soFar], t.wrong[hour])
	if steps := len(t.errors[ours]); steps > 0 {
		fmt.Fprintf(&b, "; mean error %.2f h; naive: so far %.2f h, last hour %.2f h (we are nearer on %d days); off by over 10%% of the day so far %.2f%%, of what remains %.2f%% of %d steps",
			mean(t.errors[ours]), mean(t.errors[soFar]), mean(t.errors[hour]), t.nearer,
			100*float64(t.loose)/float64(steps), 100*float64(t.strict)/float64(steps), steps)
	}
	if t.exhausted > 0 {
		fmt.Fprintf(&b, "; no alarm before: key %d, pool %d; ahead: key %.2f h (said %.2f h off), pool %.2f h",
			t.missed, t.poolMiss, mean(t.lead), mean(t.off), mean(t.poolLead))
	}
	return b.String()
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / math.Max(float64(len(values)), 1)
}
