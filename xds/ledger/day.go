package ledger

import (
	"cmp"
	"maps"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/summary"
)

// Day is what was counted in a window.
type Day struct {
	Window      quota.Window
	Gate        protocol.GateUsage         // its ages are 0
	Credentials []protocol.CredentialUsage // by credential; models by name
	Rotations   int64
}

// day is what is kept of a window beside its sources, and after them.
type day struct {
	window    quota.Window
	Rotations int64    `json:"rotations,omitempty"`
	Turns     []turn   `json:"turns,omitempty"`   // the newest changes of the key in use
	Rescued   []moment `json:"rescued,omitempty"` // the newest minutes in which calls were rescued
	Down      []span   `json:"down,omitempty"`    // when requests came and no key could serve; the newest
	DownMS    int64    `json:"down_ms,omitempty"` // how long that was before

	// What is kept of the day once its sources are not.
	Folded  *folded           `json:"folded,omitempty"`
	Shape   []int64           `json:"shape,omitempty"`   // tokens of all keys, by bucket
	Hours   map[string]Series `json:"hours,omitempty"`   // of each key, by hour
	Drained bool              `json:"drained,omitempty"` // every key was exhausted
	Sum     *summary.Summary  `json:"sum,omitempty"`

	gone bool
}

// moment is that something happened so often in the minute that begins at AtMS.
type moment struct {
	AtMS int64 `json:"at_ms"`
	N    int64 `json:"n"`
}

// maxMoments bounds the minutes that are kept.
const maxMoments = 100

// rescued adds to the minute of a time.
func rescued(moments []moment, minuteMS, n int64) []moment {
	out := slices.Clone(moments)
	if i := slices.IndexFunc(out, func(m moment) bool { return m.AtMS == minuteMS }); i >= 0 {
		out[i].N += n
		return out
	}
	return append(out[max(0, len(out)-maxMoments+1):], moment{minuteMS, n})
}

// folded is the sum over sources that are no longer kept.
type folded struct {
	Gate        protocol.GateUsage         `json:"gate"`
	Credentials []protocol.CredentialUsage `json:"credentials"`
	Callers     []CallerUse                `json:"callers,omitempty"`
}

func (d *day) place() (string, string) { return dayBucket, d.window.String() }
func (d *day) kept() any {
	if d.gone {
		return nil
	}
	return d
}

// day returns a window's record, and makes it where there is none.
func (t *tx) day(w quota.Window) *day {
	d := t.l.days[w]
	if d == nil {
		d = &day{window: w}
		put(t, t.l.days, w, d)
		made := d
		t.undo = append(t.undo, func() { made.gone = true })
	}
	return d
}

// Day returns what was counted in a window; ok is false where nothing is known of it.
func (l *Ledger) Day(w quota.Window) (d Day, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, known := l.sumOf(w)
	kept := l.days[w]
	if !known && kept == nil {
		return Day{}, false
	}
	d = Day{Window: w, Gate: f.Gate, Credentials: f.Credentials}
	if kept == nil {
		return d, true
	}
	d.Rotations = kept.Rotations
	if kept.Folded != nil {
		d.Gate, d.Credentials = kept.Folded.Gate, slices.Clone(kept.Folded.Credentials)
	}
	return d, true
}

// sumOf sums over a window's sources and gates. ok is false where they counted nothing.
func (l *Ledger) sumOf(w quota.Window) (f folded, ok bool) {
	sums := map[protocol.CredentialID]*protocol.CredentialUsage{}
	for id, s := range l.sources {
		if id.window != w {
			continue
		}
		sum := sums[id.credential]
		if sum == nil {
			sum = &protocol.CredentialUsage{Credential: id.credential, Attempts: map[string]int64{}}
			sums[id.credential] = sum
		}
		s.addTo(sum)
	}
	for id, g := range l.gates {
		if id.window != w {
			continue
		}
		ok = true
		addGate(&f.Gate, &g.GateUsage)
	}
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		u := sums[c]
		slices.SortFunc(u.Models, func(a, b protocol.ModelUsage) int { return cmp.Compare(a.Model, b.Model) })
		if u.Requests > 0 || len(u.Attempts) > 0 || len(u.Models) > 0 { // not a mere grant
			f.Credentials = append(f.Credentials, *u)
		}
	}
	return f, ok || len(f.Credentials) > 0
}

// addTo adds what a source used to a sum. Tokens that were set aside are left out.
func (s *source) addTo(sum *protocol.CredentialUsage) {
	sum.Requests += s.Requests
	for class, n := range s.Attempts {
		sum.Attempts[class] += n
	}
	if len(s.TimeMS) > len(sum.TimeMS) {
		sum.TimeMS = append(sum.TimeMS, make([]int64, len(s.TimeMS)-len(sum.TimeMS))...)
	}
	for i, n := range s.TimeMS {
		sum.TimeMS[i] += n
	}
	aside := s.Quarantined
	for _, m := range s.Models {
		less := min(aside, m.Total)
		aside -= less
		m.Total -= less
		m.Estimated = min(m.Estimated, m.Total)
		i := slices.IndexFunc(sum.Models, func(o protocol.ModelUsage) bool { return o.Model == m.Model })
		if i < 0 {
			sum.Models = append(sum.Models, m)
			continue
		}
		o := &sum.Models[i]
		o.Prompt += m.Prompt
		o.Completion += m.Completion
		o.Cached += m.Cached
		o.Total += m.Total
		o.Estimated += m.Estimated
	}
}

func addGate(sum, g *protocol.GateUsage) {
	sum.Requests += g.Requests
	sum.Succeeded += g.Succeeded
	sum.CallerFaults += g.CallerFaults
	sum.Refused += g.Refused
	sum.Failed += g.Failed
	sum.Cut += g.Cut
	sum.Limited += g.Limited
	sum.Rescues += g.Rescues
	sum.TimeMS += g.TimeMS
}

// fold replaces the sources of windows before yesterday by their sums. Nothing is counted in those windows any more,
// even if the clock goes back.
func (t *tx) fold() {
	l := t.l
	old := map[quota.Window]bool{}
	for id := range l.sources {
		old[id.window] = true
	}
	for id := range l.gates {
		old[id.window] = true
	}
	for id := range l.callers {
		old[id.window] = true
	}
	for _, w := range slices.Sorted(maps.Keys(old)) {
		if w < t.window-1 {
			t.foldWindow(w)
		}
	}
	for _, k := range l.keys {
		for w := range k.accounts {
			if w < t.window-1 {
				drop(t, k.accounts, w)
			}
		}
	}
	for w := range l.models {
		if w < t.window-1 {
			drop(t, l.models, w)
		}
	}
}

func (t *tx) foldWindow(w quota.Window) {
	l := t.l
	if sum, known := l.sumOf(w); known || l.days[w] != nil {
		sum.Callers = l.callersIn(w).list()
		frozen, shape, hours, drained := l.summarize(w), l.shape(w), l.hours(w), l.drained(w)
		d := change(t, t.day(w))
		d.Folded, d.Sum, d.Shape, d.Hours, d.Drained = &sum, &frozen, shape, hours, drained
	}
	for id, s := range l.sources {
		if id.window == w {
			change(t, s).gone = true
			drop(t, l.sources, id)
			drop(t, s.inc.sources, s)
		}
	}
	for id, g := range l.gates {
		if id.window == w {
			change(t, g).gone = true
			drop(t, l.gates, id)
		}
	}
	for id, s := range l.series {
		if id.window == w {
			change(t, s).gone = true
			drop(t, l.series, id)
		}
	}
	t.dropCallers(w)
	m := change(t, l.meta)
	m.FoldedAtMS = t.mono.UnixMilli()
	m.FoldedThrough = max(m.FoldedThrough, w.String())
}

// forgetOld drops what is older than a window.
func (t *tx) forgetOld(oldest quota.Window) {
	l := t.l
	for w, d := range l.days {
		if w < oldest {
			change(t, d).gone = true
			drop(t, l.days, w)
		}
	}
	for id, c := range l.crossed {
		if id.window < oldest {
			change(t, c).gone = true
			drop(t, l.crossed, id)
		}
	}
	for id, inc := range l.incarnations {
		if inc.Dead && len(inc.sources) == 0 && inc.LastMS < oldest.Start().UnixMilli() {
			change(t, inc).gone = true
			drop(t, l.incarnations, id)
		}
	}
}
