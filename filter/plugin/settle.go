package plugin

import (
	"strings"

	"keywheel/filter/account"
	"keywheel/filter/host"
	"keywheel/filter/meter"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
)

// clientLeft says whether Envoy ended the stream because the client had gone.
func clientLeft(details string) bool {
	if strings.HasPrefix(details, "upstream_") {
		return false
	}
	return strings.Contains(details, "downstream") || strings.Contains(details, "remote_reset") || strings.Contains(details, "codec_error")
}

// neverSent says whether Envoy failed before a byte of the request left.
func neverSent(details string) bool {
	for _, s := range [...]string{"connection_failure", "connection_timeout", "no_healthy_upstream", "overflow", "cluster_not_found", "maintenance_mode"} {
		if strings.Contains(details, s) {
			return true
		}
	}
	return false
}

// settle counts the tries that no answer settled: the one whose answer was metered, and those that got none.
func (g *gate) settle(c *account.Call, at picker.Instant, details string) {
	t, ok := g.tries()
	if !ok {
		return
	}
	for i := range t.Tries {
		y := &t.Tries[i]
		c.Rescued = c.Rescued || y.Credential != t.Tries[0].Credential
		if y.State != trail.Pending && y.State != trail.Lost {
			continue
		}
		var s account.Settlement
		if i == len(t.Tries)-1 && g.keyed {
			g.metered(&s, t, c.TimeMS)
			c.Credential, c.Tokens = y.Credential, s.Tokens()
		} else {
			g.unanswered(&s, t, details)
		}
		g.vm.settle(at, y, &s)
		g.took.Prompt += s.Usage.Prompt
		g.took.Completion += s.Usage.Completion
		g.took.Total += s.Tokens()
	}
}

// tries are those of the call, whichever VMs they were made in.
func (g *gate) tries() (*trail.Trail, bool) {
	if g.sole != nil {
		return &g.sole.call, true
	}
	if !g.served { // else the newest try is here, and has looked at the stream
		raw, ok := host.Property(trail.Property)
		if !ok {
			return nil, false
		}
		g.merge(raw)
	}
	return &g.trail, true
}

// merge takes over what attempts in other VMs have left on the stream.
func (g *gate) merge(raw []byte) {
	if len(raw) == g.left {
		return
	}
	if t, ok := trail.Parse(raw); ok && len(t.Tries) > g.foreign {
		g.trail.Tries = append(g.trail.Tries, t.Tries[g.foreign:]...)
		g.foreign = len(t.Tries)
	}
}

// endMeter ends the reading of an answer. A bug in it costs the exact count, not the settlement.
func (g *gate) endMeter() {
	defer g.guardAnswer(atMeter)
	if g.meter != nil && !g.unread {
		fault(atMeter)
		g.meter.End()
	}
}

// metered settles the try whose answer the gate has seen.
func (g *gate) metered(s *account.Settlement, t *trail.Trail, timeMS int64) {
	s.Class, s.Charged, s.TimeMS = groq.ClassOK, g.endpoint.tokens != noTokens, timeMS
	switch {
	case g.endpoint.tokens < promptTokens:
		return
	case g.unread:
		s.Estimated = max(t.Need, g.prompt(t))
		return
	case g.meter == nil: // 204, or an answer to HEAD
		return
	}
	s.Usage = g.meter.Usage()
	if s.Model = s.Usage.Model; s.Usage.Known {
		g.vm.learner.Add(t.Model, s.Usage.Completion)
		return
	}
	s.Usage = groq.Usage{}
	if status, _, failed := g.meter.StreamError(); failed && status >= 500 {
		s.Class = groq.ClassTransient
	}
	s.Estimated = meter.Cut(g.prompt(t), g.meter.Events(), g.meter.Bytes(), g.maxTokens())
}

// unanswered settles a try that ended without an answer. Groq may bill what it was sent.
func (g *gate) unanswered(s *account.Settlement, t *trail.Trail, details string) {
	if neverSent(details) {
		s.Class = groq.ClassConnect
		return
	}
	s.Class, s.Estimated, s.Charged = groq.ClassReset, g.prompt(t), g.endpoint.tokens != noTokens
	if clientLeft(details) {
		s.Class = groq.ClassCaller
	}
}

// settle closes a try: what it held is given back, what it cost is counted.
func (v *vm) settle(at picker.Instant, y *trail.Try, s *account.Settlement) {
	if !v.putOnTab(at, y, s) {
		v.book.Update(y.Credential, func(e *account.Entry) bool {
			if y.State == trail.Pending {
				e.Release(y.VM, y.Reserved)
			}
			e.Settle(at.Window, *s)
			return true
		})
	}
	if n := s.Tokens(); n > 0 {
		v.stats.tokens(y.Credential, n)
	}
}
