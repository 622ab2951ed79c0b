package ledger

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// merge takes a report's usage in: of each cumulative count the highest.
func (t *tx) merge(in *incoming, windows map[quota.Window]*protocol.WindowUsage) error {
	in.reserved = map[protocol.CredentialID]protocol.CredentialUse{}
	for _, u := range in.Reserved {
		in.reserved[u.Credential] = u
	}
	for _, w := range slices.Sorted(maps.Keys(windows)) {
		t.mergeGate(in, w, &windows[w].Gate)
		t.mergeCallers(in, w, windows[w].Callers)
		for i := range windows[w].Credentials {
			if err := t.mergeUsage(in, w, &windows[w].Credentials[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// source returns the source of an incarnation, and makes it where there is none.
func (t *tx) source(inc *incarnation, w quota.Window, c protocol.CredentialID) *source {
	id := sourceID{w, inc.id, c}
	s := t.l.sources[id]
	if s != nil {
		return s
	}
	s = &source{id: id, inc: inc, account: t.l.accountOf(id)}
	s.tokens.offered, s.requests.offered = notOffered, notOffered
	put(t, t.l.sources, id, s)
	put(t, inc.sources, s, struct{}{})
	if a := s.account; a != nil && a.key.inForce == c {
		put(t, a.own, inc, s)
	}
	t.undo = append(t.undo, func() { s.gone = true })
	return s
}

// alter runs f, which changes what a source spent or may spend, and keeps its account right.
func (t *tx) alter(s *source, f func()) {
	save(t, s)
	if s.account != nil {
		save(t, s.account)
		t.accounts[s.account] = struct{}{}
	}
	s.account.leave(s)
	f()
	s.account.enter(s)
}

// mergeUsage takes in what an incarnation used of a credential.
func (t *tx) mergeUsage(in *incoming, w quota.Window, u *protocol.CredentialUsage) error {
	l := t.l
	k := l.keyOf(u.Credential)
	if k == nil {
		l.stats.UnknownCredentials++
	}
	s := l.sources[sourceID{w, in.inc.id, u.Credential}]
	if s == nil {
		s = &source{}
	}
	switch {
	case !s.raisedBy(u):
		return nil
	case !s.fits(u):
		var c checker
		c.fail("a credential's models or classes of attempts became too many")
		return c.err
	}
	s = t.source(in.inc, w, u.Credential)
	a := s.account
	if a != nil {
		if _, ok := in.before[a]; !ok {
			in.before[a] = used{a.tokens.spent, a.requests.spent}
		}
	}
	change(t, s)
	var d delta
	room := s.room()
	t.alter(s, func() { d = s.raise(u, room) })
	if d.aside > 0 {
		t.quarantined(in, s, d.aside)
	}
	now := t.now
	t.after = append(t.after, func() {
		l.seeModels(s)
		if k != nil {
			k.ring.add(now, d.ok, d.failed, d.times)
		}
	})
	if id, _, _ := protocol.SplitCredential(u.Credential); l.credentials[id] != nil { // also of a key that was removed
		t.plot(in, w, id, d.tokens, d.requests)
	}
	if a != nil {
		t.log(slog.LevelDebug, addedLine(k, d.tokens, a.tokens.spent, a.tokens.limit),
			"node", in.inc.Node, "requests", d.requests)
	}
	return nil
}

// raisedBy says whether a report raises any of the source's counts.
func (s *source) raisedBy(u *protocol.CredentialUsage) bool {
	if u.Requests > s.Requests {
		return true
	}
	for class, n := range u.Attempts {
		if n > s.Attempts[class] {
			return true
		}
	}
	for i, n := range u.TimeMS {
		if n > 0 && (i >= len(s.TimeMS) || n > s.TimeMS[i]) {
			return true
		}
	}
	for i := range u.Models {
		j := s.model(u.Models[i].Model)
		if j < 0 || s.Models[j] != highest(s.Models[j], u.Models[i]) {
			return true
		}
	}
	return false
}

// fits says whether the source stays within bounds with a report's models and classes.
func (s *source) fits(u *protocol.CredentialUsage) bool {
	models, classes := len(s.Models), len(s.Attempts)
	for i := range u.Models {
		if s.model(u.Models[i].Model) < 0 {
			models++
		}
	}
	for class := range u.Attempts {
		if _, ok := s.Attempts[class]; !ok {
			classes++
		}
	}
	return models <= maxModels && classes <= maxClasses
}

func (s *source) model(name string) int {
	return slices.IndexFunc(s.Models, func(m protocol.ModelUsage) bool { return m.Model == name })
}

func highest(a, b protocol.ModelUsage) protocol.ModelUsage {
	return protocol.ModelUsage{
		Model: a.Model, Prompt: max(a.Prompt, b.Prompt), Completion: max(a.Completion, b.Completion),
		Cached: max(a.Cached, b.Cached), Total: max(a.Total, b.Total), Estimated: max(a.Estimated, b.Estimated),
	}
}

// delta is what a report added to a source.
type delta struct {
	tokens, requests int64
	aside            int64 // tokens that were set aside, not counted
	ok, failed       int64 // attempts that went well, and that failed by the key's own fault
	times            []int64
}

// raise takes the highest of each count. room is what the source may spend.
func (s *source) raise(u *protocol.CredentialUsage, room int64) delta {
	d := delta{requests: max(0, u.Requests-s.Requests), times: make([]int64, len(u.TimeMS))}
	s.Requests = max(s.Requests, u.Requests)
	attempts := maps.Clone(s.Attempts)
	if attempts == nil {
		attempts = map[string]int64{}
	}
	for class, n := range u.Attempts {
		if step := n - attempts[class]; step > 0 {
			d.attempts(class, step)
			attempts[class] = n
		}
	}
	s.Attempts = attempts
	times := make([]int64, max(len(s.TimeMS), len(u.TimeMS)))
	copy(times, s.TimeMS)
	for i, n := range u.TimeMS {
		d.times[i] = max(0, n-times[i])
		times[i] = max(times[i], n)
	}
	s.TimeMS = times
	s.Models = slices.Clone(s.Models)
	for _, m := range u.Models {
		if i := s.model(m.Model); i >= 0 {
			s.Models[i] = highest(s.Models[i], m)
			continue
		}
		s.Models = append(s.Models, m)
	}
	before, estimated := s.spent, s.estimated
	s.count()
	d.tokens = s.spent - before
	if !possible(d.tokens, s.estimated-estimated, d.requests, room) {
		d.aside, d.tokens = d.tokens, 0
		s.Quarantined += d.aside
		s.count()
	}
	return d
}

// quarantined says that a step was set aside.
func (t *tx) quarantined(in *incoming, s *source, tokens int64) {
	l := t.l
	t.after = append(t.after, func() { l.stats.Quarantined++ })
	keyID, _, _ := protocol.SplitCredential(s.id.credential)
	text := fmt.Sprintf("Groq Key %s: a report of %s tokens at once is not counted; no request can have taken them", keyID, quota.Group(tokens))
	t.tell(event.Event{Kind: event.Quarantined, Level: event.Warning, Key: keyID, Window: s.id.window.String(), Used: tokens, Node: in.inc.Node},
		line{slog.LevelWarn, text, []any{"node", in.inc.Node}})
}

// mergeGate takes in what an incarnation's gate counted.
func (t *tx) mergeGate(in *incoming, w quota.Window, u *protocol.GateUsage) {
	l := t.l
	g := l.gates[gateID{w, in.inc.id}]
	old := gateRecord{}
	if g != nil {
		old = g.gateRecord
	}
	counts := protocol.GateUsage{
		Requests: max(old.Requests, u.Requests), Succeeded: max(old.Succeeded, u.Succeeded),
		CallerFaults: max(old.CallerFaults, u.CallerFaults), Refused: max(old.Refused, u.Refused),
		Failed: max(old.Failed, u.Failed), Cut: max(old.Cut, u.Cut), Limited: max(old.Limited, u.Limited),
		Rescues: max(old.Rescues, u.Rescues), TimeMS: max(old.TimeMS, u.TimeMS),
	}
	if counts == old.GateUsage {
		return
	}
	if g == nil {
		g = &gate{id: gateID{w, in.inc.id}}
		put(t, l.gates, g.id, g)
		t.undo = append(t.undo, func() { g.gone = true })
	}
	change(t, g)
	g.GateUsage = counts
	at := func(age int64) int64 {
		if age == 0 {
			return 0
		}
		return t.now.UnixMilli() - min(age, maxAge.Milliseconds())
	}
	t.remember(in, w, &old, u)
	if !in.repeated {
		g.FirstRefusalAtMS, g.LastRefusalAtMS, g.LastServedAtMS = at(u.FirstRefusalMS), at(u.LastRefusalMS), at(u.LastServedMS)
	}
	served := counts.Succeeded - old.Succeeded
	ended := counts.Requests - old.Requests - (counts.CallerFaults - old.CallerFaults)
	if served > 0 && u.LastServedMS > 0 && (u.LastRefusalMS == 0 || u.LastServedMS < u.LastRefusalMS) {
		in.served = true
	}
	now := t.now
	t.after = append(t.after, func() { l.poolRing.add(now, served, max(0, ended-served), nil) })
}

// remember takes down when calls were rescued, and when no key could serve.
func (t *tx) remember(in *incoming, w quota.Window, old *gateRecord, u *protocol.GateUsage) {
	if rescues := u.Rescues - old.Rescues; rescues > 0 {
		d := change(t, t.day(w))
		d.Rescued = rescued(d.Rescued, t.now.Truncate(time.Minute).UnixMilli(), rescues)
	}
	if s, ok := downSpan(old, u, t.now.UnixMilli()); ok && !in.repeated {
		change(t, t.day(w)).addDown(s)
	}
}

// maxModelsSeen bounds the models that are remembered of a window.
const maxModelsSeen = 512

// seeModels remembers which models a window's traffic used.
func (l *Ledger) seeModels(s *source) {
	seen := l.models[s.id.window]
	if seen == nil {
		seen = map[string]struct{}{}
		l.models[s.id.window] = seen
	}
	for i := range s.Models {
		if len(seen) < maxModelsSeen {
			seen[s.Models[i].Model] = struct{}{}
		}
	}
}

// attempts counts attempts of a class for the key's health.
func (d *delta) attempts(class string, n int64) {
	switch c := groq.Class(class); {
	case c == groq.ClassOK:
		d.ok += n
	case c.OwnFailure():
		d.failed += n
	}
}
