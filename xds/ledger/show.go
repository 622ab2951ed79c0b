package ledger

import (
	"math"
	"time"

	"keywheel/shared/quota"
	"keywheel/shared/selection"
)

// View returns the account at this instant.
func (l *Ledger) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now().UTC()
	w := quota.WindowAt(now)
	v := View{Now: now, Window: w, ResetsAt: w.End(), Keys: make([]KeyView, 0, len(l.keys)), Proxies: l.proxies(now)}
	troubles := l.troubles(now)
	used := l.inUse(now, troubles)
	scores := l.candidates(now)
	out := 0
	for i, k := range l.keys {
		kv := l.keyView(k, w, troubles[k], k == used)
		kv.Health = decimal(100 * scores[i].Health)
		kv.Score = decimal(selection.Score(scores[i].Candidate, l.strategy()))
		kv.MedianMS = scores[i].median
		if !kv.Status.Serves() {
			out++
		}
		v.Keys = append(v.Keys, kv)
	}
	recent := l.poolRing.sum(now)
	v.Health = decimal(max(0, 100*recent.health()-float64(5*out)))
	v.Pool = l.pool(w, v.Keys)
	if used != nil {
		v.Pool.KeyInUse = used.ID
	}
	if l.storeErr != nil {
		v.StoreError = l.storeErr.Error()
	}
	return v
}

func (l *Ledger) keyView(k *key, w quota.Window, t trouble, used bool) KeyView {
	a := k.account(w)
	kv := KeyView{
		KeyConfig: k.KeyConfig, Credential: k.inForce, Status: l.status(a, t, used), InUse: used,
		Used: a.tokens.spent, Remaining: -1, Percent: quota.Percent(a.tokens.spent, a.tokens.limit),
		Requests: a.requests.spent, Estimated: a.estimated, CoolingUntil: t.coolingUntil,
		ExhaustedAt: l.outlooks.keys[k.ID].ExhaustedAt,
	}
	if a.tokens.limit > 0 {
		kv.Remaining = max(0, a.tokens.remaining())
	}
	switch {
	case t.invalid != nil:
		kv.InvalidSince = time.UnixMilli(t.invalid.SinceMS).UTC()
		kv.Reason = t.invalid.Code
	case t.cooling != nil:
		kv.Reason = t.cooling.Code
	}
	return kv
}

// status is what a key is good for.
func (l *Ledger) status(a *account, t trouble, used bool) quota.Status {
	return quota.State{
		Disabled: a.key.Disabled, Invalid: t.invalid != nil, Cooling: !t.coolingUntil.IsZero(), InUse: used,
		Used: a.tokens.spent, Limit: a.tokens.limit, Requests: a.requests.spent, LimitReqs: a.requests.limit, Need: l.policy.RequiredTokens,
	}.Status()
}

// pool sums over keys and gates.
func (l *Ledger) pool(w quota.Window, keys []KeyView) PoolView {
	var p PoolView
	limited := true
	for i := range keys {
		p.Used += keys[i].Used
		p.Limit += keys[i].LimitTokens
		p.Remaining += max(0, keys[i].Remaining)
		limited = limited && keys[i].LimitTokens > 0
	}
	if !limited {
		p.Limit, p.Remaining = 0, -1
	}
	for id, g := range l.gates {
		if id.window == w {
			p.Requests += g.Requests
			p.Succeeded += g.Succeeded
			p.Refused += g.Refused
			p.Rescues += g.Rescues
		}
	}
	if d := l.days[w]; d != nil {
		p.Rotations, p.Downtime = d.Rotations, d.downtime()
	}
	p.AllOut, p.ExhaustedAt = l.meta.AllOut, l.outlooks.pool.ExhaustedAt
	return p
}

// candidate is a key as the score sees it.
type candidate struct {
	selection.Candidate
	median int64
}

// candidates returns what selection needs to know of the keys, in rank order.
func (l *Ledger) candidates(now time.Time) []candidate {
	out := make([]candidate, len(l.keys))
	fastest := int64(0)
	for i, k := range l.keys {
		s := k.ring.sum(now)
		m := k.account(quota.WindowAt(now)).tokens
		out[i] = candidate{median: s.median(), Candidate: selection.Candidate{
			Priority: k.Priority, Rank: selection.Rank(i, len(l.keys)), Remaining: m.remaining(), Limit: m.limit, Health: s.health(),
		}}
		if out[i].median > 0 && (fastest == 0 || out[i].median < fastest) {
			fastest = out[i].median
		}
	}
	for i := range out {
		out[i].Speed = selection.Speed(out[i].median, fastest)
	}
	return out
}

func (l *Ledger) strategy() selection.Strategy { return selection.Strategy(l.policy.Strategy) }

// keyInUse is inUse for who does not know the keys' troubles.
func (l *Ledger) keyInUse(now time.Time) *key { return l.inUse(now, l.troubles(now)) }

// inUse returns the key that calls go to: the one that filters last said, today, while it can serve; else the one that
// the strategy prefers. Nil if none can serve.
func (l *Ledger) inUse(now time.Time, troubles map[*key]trouble) *key {
	w := quota.WindowAt(now)
	serves := func(k *key) bool { return l.status(k.account(w), troubles[k], false).Serves() }
	if use := l.meta.InUse; use.Window == w.String() {
		if k := l.byID[use.Key]; k != nil && serves(k) {
			return k
		}
	}
	var best *key
	var of candidate
	for i, c := range l.candidates(now) {
		if k := l.keys[i]; serves(k) && (best == nil || selection.Better(c.Candidate, of.Candidate, l.strategy())) {
			best, of = k, c
		}
	}
	return best
}

// proxy shows an incarnation.
func (l *Ledger) proxy(inc *incarnation) ProxyView {
	p := ProxyView{
		Incarnation: inc.id, Node: inc.Node, Connected: !inc.Dead, Generation: inc.generation, Config: inc.config,
		Rejected: inc.badConfigs, FirstReport: time.UnixMilli(inc.FirstMS).UTC(), LastReport: inc.reportedAt.UTC(),
		Reports: inc.reports, SkewMS: inc.skewMS, GateOnly: inc.gateOnly, Voided: inc.Voided, Panics: inc.Panics,
	}
	for s := range inc.sources {
		p.Quarantined += s.Quarantined
	}
	if !inc.refusedAt.IsZero() {
		p.RefusedAt = inc.refusedAt.UTC()
	}
	if inc.reportedAt.IsZero() {
		p.LastReport = time.UnixMilli(inc.LastMS).UTC()
	}
	if n := l.nodes[inc.Node]; n != nil {
		p.Version, p.LastError = n.version, n.lastError
		p.Rejected += n.rejected
	}
	return p
}

// decimal rounds to one decimal, half up.
func decimal(x float64) float64 { return math.Floor(x*10+0.5+1e-9) / 10 }
