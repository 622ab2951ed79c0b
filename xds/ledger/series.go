package ledger

import (
	"maps"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/forecast"
)

// bucket is the span over which use is summed up, for charts and forecasts, and buckets how many make a window.
const (
	bucket  = forecast.Bucket
	buckets = forecast.PerDay
)

// series is what a key took over a window, by bucket. The slices end with the last bucket that has anything.
type series struct {
	window   quota.Window
	key      string
	Tokens   []int64 `json:"tokens"`
	Requests []int64 `json:"requests"`

	gone bool
}

func (s *series) place() (string, string) { return seriesBucket, s.window.String() + "/" + s.key }
func (s *series) kept() any {
	if s.gone {
		return nil
	}
	return s
}

// bucketAt is the place of a time in a window; a time outside it counts to its edge.
func bucketAt(w quota.Window, at time.Time) int {
	return min(max(0, int(at.Sub(w.Start())/bucket)), buckets-1)
}

// plot adds what a report brought of a key to the key's series, spread evenly over the time since the report before: it
// is not known when in that time it was taken.
func (t *tx) plot(in *incoming, w quota.Window, keyID string, tokens, requests int64) {
	if tokens <= 0 && requests <= 0 {
		return
	}
	l := t.l
	id := crossedID{w, keyID}
	s := l.series[id]
	if s == nil {
		s = &series{window: w, key: keyID}
		put(t, l.series, id, s)
		made := s
		t.undo = append(t.undo, func() { made.gone = true })
	}
	change(t, s)
	from, to := bucketAt(w, in.since), bucketAt(w, t.now)
	s.Tokens = spread(s.Tokens, from, to, max(0, tokens))
	s.Requests = spread(s.Requests, from, to, max(0, requests))
}

// spread returns a copy of values with n added in equal parts to those from first to last; the remainder goes to the
// last.
func spread(values []int64, first, last int, n int64) []int64 {
	first = min(first, last)
	out := make([]int64, max(len(values), last+1))
	copy(out, values)
	count := int64(last - first + 1)
	for i := first; i <= last; i++ {
		out[i] += n / count
	}
	out[last] += n % count
	return out
}

// since is from when on a report can tell of use that no report told of before: the last report of its incarnation. After
// a restart of the control plane that is not known, and the last use of any before it is taken.
func (t *tx) since(inc *incarnation) time.Time {
	switch {
	case !inc.reportedAt.IsZero():
		return inc.reportedAt
	case inc.FirstMS < t.now.UnixMilli(): // it reported before the restart
		return newer(time.UnixMilli(inc.FirstMS), t.l.usedUntil)
	case inc.started.After(t.now) || t.now.Sub(inc.started) > 24*time.Hour: // by the host's clock, which is not the ledger's
		return t.now
	}
	return inc.started
}

func newer(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// end is the end of the last bucket that has anything.
func (s *series) end() time.Time { return s.window.Start().Add(time.Duration(len(s.Tokens)) * bucket) }

// Series is what was taken over a window, by equal steps from its start. The slices end with the last step that has
// anything.
type Series struct {
	Tokens   []int64 `json:"tokens"`
	Requests []int64 `json:"requests"`
}

// Series returns what each key took over a window, by key ID, in steps of five minutes. ok is false for windows before
// yesterday, of which only the hours are kept.
func (l *Ledger) Series(w quota.Window) (by map[string]Series, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.days[w]; d != nil && d.Folded != nil {
		return nil, false
	}
	by = map[string]Series{}
	for id, s := range l.series {
		if id.window == w {
			by[id.key] = Series{slices.Clone(s.Tokens), slices.Clone(s.Requests)}
		}
	}
	return by, true
}

// Hours returns what each key took over a window, by key ID, in steps of an hour.
func (l *Ledger) Hours(w quota.Window) map[string]Series {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.days[w]; d != nil && d.Folded != nil {
		return maps.Clone(d.Hours)
	}
	return l.hours(w)
}

func (l *Ledger) hours(w quota.Window) map[string]Series {
	out := map[string]Series{}
	for id, s := range l.series {
		if id.window == w {
			out[id.key] = Series{hourly(s.Tokens), hourly(s.Requests)}
		}
	}
	return out
}

// hourly sums buckets up to hours.
func hourly(values []int64) []int64 {
	const perHour = int(time.Hour / bucket)
	out := make([]int64, (len(values)+perHour-1)/perHour)
	for i, n := range values {
		out[i/perHour] += n
	}
	return out
}

// shape is what all keys together took over a window.
func (l *Ledger) shape(w quota.Window) []int64 {
	var sum []int64
	for id, s := range l.series {
		if id.window != w {
			continue
		}
		sum = append(sum, make([]int64, max(0, len(s.Tokens)-len(sum)))...)
		for i, n := range s.Tokens {
			sum[i] += n
		}
	}
	if d := l.days[w]; sum == nil && d != nil {
		return d.Shape
	}
	return sum
}
