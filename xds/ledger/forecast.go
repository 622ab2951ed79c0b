package ledger

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/forecast"
)

// outlooks are the forecasts of the window, of each key by ID and of the pool. They are made anew every minute and after
// a restart; only what was told is kept.
type outlooks struct {
	at      time.Time // of the last making
	keys    map[string]forecast.Estimate
	pool    forecast.Estimate
	watches map[string]forecast.Watch // by key ID; the empty one is the pool's
}

const (
	// foreseeEvery is how often forecasts are made, by the ledger's time.
	foreseeEvery = time.Minute
	// pastDays is how many earlier days the shape of a day is learned from.
	pastDays = 7
	// recently is how many buckets back a key must have been used to have a forecast.
	recently = 24
)

// foresee makes the forecasts anew, and tells of those that are certain enough.
func (t *tx) foresee() {
	l := t.l
	since := t.now.Sub(l.outlooks.at)
	if since >= 0 && since < foreseeEvery && quota.WindowAt(l.outlooks.at) == t.window {
		return
	}
	next := outlooks{at: t.now, keys: map[string]forecast.Estimate{}, watches: map[string]forecast.Watch{}}
	maps.Copy(next.watches, l.outlooks.watches) // a commit that fails leaves them as they were
	demand, past := l.shape(t.window), l.past(t.window)
	if demand == nil {
		demand = []int64{}
	}
	troubles := l.troubles(t.now)
	var used, left int64
	limited := len(l.keys) > 0
	for _, k := range l.keys {
		a := k.account(t.window)
		used += a.tokens.spent
		limited = limited && a.tokens.limit > 0
		switch l.status(a, troubles[k], false) {
		case quota.Disabled, quota.Invalid, quota.Exhausted:
			continue // nothing of it is being used
		}
		left += max(0, a.tokens.remaining())
		s := l.series[crossedID{t.window, k.ID}]
		if s == nil || len(s.Tokens) < bucketAt(t.window, t.now)-recently {
			continue
		}
		e := forecast.Of(forecast.Load{Now: t.now, Used: a.tokens.spent, Limit: a.tokens.limit, Own: s.Tokens, Demand: demand, Past: past})
		next.keys[k.ID] = e
		if next.alarm(k.ID, e, forecast.ForKey) {
			t.tellForecast(k, &e)
		}
	}
	if limited {
		next.pool = forecast.Of(forecast.Load{Now: t.now, Used: used, Limit: used + left, Own: demand, Past: past})
		if next.alarm("", next.pool, forecast.ForPool) {
			t.tellPoolForecast(&next.pool, used, left)
		}
	}
	t.after = append(t.after, func() { l.outlooks = next })
}

// alarm takes an estimate in and says whether people are to be told of it now.
func (o *outlooks) alarm(keyID string, e forecast.Estimate, p forecast.Policy) bool {
	w := o.watches[keyID]
	defer func() { o.watches[keyID] = w }()
	return w.Step(e, p)
}

// past is the shape of the days before a window; nil: none is known.
func (l *Ledger) past(w quota.Window) *forecast.Shape {
	var days [][]int64
	for d := w - pastDays; d < w; d++ {
		if demand := l.demand(d); len(demand) > 0 {
			days = append(days, demand)
		}
	}
	return forecast.NewShape(days)
}

// demand is what was wanted over a window: to its end, or as long as a key had something left. Empty: nothing is known.
func (l *Ledger) demand(w quota.Window) []int64 {
	shape := l.shape(w)
	if len(shape) == 0 || l.drained(w) {
		return shape
	}
	return append(slices.Clone(shape), make([]int64, max(0, buckets-len(shape)))...)
}

// drained says whether every key was exhausted in a window.
func (l *Ledger) drained(w quota.Window) bool {
	if d := l.days[w]; d != nil && d.Folded != nil {
		return d.Drained
	}
	return !l.poolRanOut(w).IsZero()
}

// once takes down that a forecast of a key (empty: of the pool) is told, and says whether it was not before in this
// window.
func (t *tx) once(keyID string) bool {
	c := t.crossedOf(t.window, keyID)
	if c.Forecast {
		return false
	}
	change(t, c).Forecast = true
	return true
}

func (t *tx) tellForecast(k *key, e *forecast.Estimate) {
	if !t.once(k.ID) {
		return
	}
	m := &k.account(t.window).tokens
	t.tell(event.Event{
		Kind: event.Forecast, Level: event.Warning, Key: k.ID, Used: m.spent, Limit: m.limit, Remaining: max(0, m.remaining()),
		Unit: event.Tokens, Rate: e.Rate, Until: e.ExhaustedAt,
	}, line{slog.LevelWarn, fmt.Sprintf("At current rate, Key %s will exhaust by %s UTC", k.ID, e.ExhaustedAt.Format("15:04")), nil})
}

func (t *tx) tellPoolForecast(e *forecast.Estimate, used, left int64) {
	if !t.once("") {
		return
	}
	t.tell(event.Event{
		Kind: event.PoolForecast, Level: event.Critical, Used: used, Limit: used + left, Remaining: left,
		Unit: event.Tokens, Rate: e.Rate, Until: e.ExhaustedAt,
	}, line{slog.LevelError, fmt.Sprintf("🚨 At current rate, all Groq keys will be exhausted by %s UTC", e.ExhaustedAt.Format("15:04")), nil})
}
