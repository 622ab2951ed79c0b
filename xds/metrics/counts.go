package metrics

import (
	"cmp"
	"maps"
	"slices"

	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/ledger"
)

const (
	// keptWindows is how far back windows are looked at: more than the ledger keeps by itself.
	keptWindows = 64
	// maxModels bounds the models that have a name of their own; the rest are other.
	maxModels = 100
	other     = "other"
	unknown   = "unknown" // the model of use of which no answer named it
)

// Outcomes of a client's call.
const (
	succeeded   = "succeeded"
	callerFault = "caller_fault"
	refused     = "refused"
	limited     = "limited"
	failed      = "failed"
	cut         = "cut"
)

// Kinds of a model's tokens.
const (
	prompt     = "prompt"
	completion = "completion"
	estimated  = "estimated"
)

// series is one line of a metric: a family with at most two labels.
type series struct {
	of   *family
	a, b string
}

func (s series) labels() []string {
	return slices.DeleteFunc([]string{s.a, s.b}, func(label string) bool { return label == "" })
}

// counts are counters made of what the ledger counts by window: the sum of what each window's count rose by since the
// process began. Of each count the highest that was seen stands, as in the ledger.
type counts struct {
	*families
	seen    map[quota.Window]map[series]float64
	totals  map[series]float64
	today   quota.Window // when they were last brought up to date
	keys    map[string]bool
	models  map[string]bool
	callers callers
}

func newCounts(f *families) counts {
	totals := map[series]float64{}
	return counts{
		families: f, seen: map[quota.Window]map[series]float64{}, totals: totals, keys: map[string]bool{}, models: map[string]bool{},
		callers: callers{families: f, seen: map[quota.Window]map[string]ledger.CallerUse{}, names: map[string]bool{}, totals: totals},
	}
}

// begin takes what the ledger counted so far as zero: all that it knows of, should its clock be put back.
func (c *counts) begin(l *ledger.Ledger, v *ledger.View) {
	c.today = v.Window - keptWindows
	c.update(l, v)
	c.callers.begin(l.Callers(v.Window))
	for s := range c.totals {
		c.totals[s] = 0
	}
}

// update brings the counters up to date. Counts change in yesterday's window, today's and tomorrow's; nobody may have
// looked for days.
func (c *counts) update(l *ledger.Ledger, v *ledger.View) {
	for i := range v.Keys {
		c.keys[v.Keys[i].ID] = true
	}
	first, last := min(c.today, v.Window)-1, max(c.today, v.Window)+1
	for w := max(first, last-keptWindows-2); w <= last; w++ {
		for s, n := range c.window(l, w) {
			c.raise(w, s, n)
		}
		c.callers.raise(w, l.Callers(w))
	}
	c.today = v.Window
	over := v.Window - 2*keptWindows
	maps.DeleteFunc(c.seen, func(w quota.Window, _ map[series]float64) bool { return w < over })
	maps.DeleteFunc(c.callers.seen, func(w quota.Window, _ map[string]ledger.CallerUse) bool { return w < over })
}

// raise adds what a window's count rose by.
func (c *counts) raise(w quota.Window, s series, n float64) {
	rise := max(0, n-c.seen[w][s])
	c.totals[s] += rise // a series that did not rise is there all the same
	if rise == 0 {
		return
	}
	if c.seen[w] == nil {
		c.seen[w] = map[series]float64{}
	}
	c.seen[w][s] += rise
}

// window returns what the ledger counted in a window. Series that there should always be are there with 0.
func (c *counts) window(l *ledger.Ledger, w quota.Window) map[series]float64 {
	day, _ := l.Day(w)
	sum, _ := l.Summary(w)
	g := &day.Gate
	out := map[series]float64{
		{of: c.clientRequests, a: succeeded}:   float64(g.Succeeded),
		{of: c.clientRequests, a: callerFault}: float64(g.CallerFaults),
		{of: c.clientRequests, a: refused}:     float64(g.Refused),
		{of: c.clientRequests, a: limited}:     float64(g.Limited),
		{of: c.clientRequests, a: failed}:      float64(g.Failed - g.Limited),
		{of: c.clientRequests, a: cut}:         float64(g.Cut),
		{of: c.clientSeconds}:                  float64(g.TimeMS) / 1000,
		{of: c.rotations}:                      float64(day.Rotations),
		{of: c.rescues}:                        float64(g.Rescues),
		{of: c.downtime}:                       sum.Down.Seconds(),
	}
	for id := range c.keys {
		out[series{of: c.keyTokens, a: id}] = 0
		out[series{of: c.keyRequests, a: id}] = 0
		for _, class := range groq.Classes() {
			out[series{of: c.keyAttempts, a: id, b: string(class)}] = 0
		}
	}
	for i := range day.Credentials {
		c.addUsage(out, &day.Credentials[i])
	}
	return out
}

// addUsage adds what a credential was used for. Credentials of keys that never were configured have no name.
func (c *counts) addUsage(out map[series]float64, u *protocol.CredentialUsage) {
	id, _, _ := protocol.SplitCredential(u.Credential)
	if !c.keys[id] {
		return
	}
	out[series{of: c.keyRequests, a: id}] += float64(u.Requests)
	for class, n := range u.Attempts {
		if !slices.Contains(groq.Classes(), groq.Class(class)) {
			class = other
		}
		out[series{of: c.keyAttempts, a: id, b: class}] += float64(n)
	}
	for i := range u.Models {
		m := &u.Models[i]
		model := c.model(m.Model)
		guessed := min(m.Estimated, m.Total)
		asked := min(m.Prompt, m.Total-guessed)
		out[series{of: c.keyTokens, a: id}] += float64(m.Total)
		out[series{of: c.modelTokens, a: model, b: estimated}] += float64(guessed)
		out[series{of: c.modelTokens, a: model, b: prompt}] += float64(asked)
		out[series{of: c.modelTokens, a: model, b: completion}] += float64(m.Total - guessed - asked)
		out[series{of: c.modelCached, a: model}] += float64(min(m.Cached, asked))
	}
}

// model is what a model is called here.
func (c *counts) model(name string) string {
	name = cmp.Or(name, unknown)
	if !c.models[name] && len(c.models) >= maxModels {
		return other
	}
	c.models[name] = true
	return name
}

func (c *counts) show(out emitter) {
	for s, n := range c.totals {
		out.put(s.of, n, s.labels()...)
	}
}
