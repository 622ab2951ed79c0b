package ledger

import (
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// acknowledged lets go of what a source held under offers that a newer one, which it now follows, has lowered.
func (t *tx) acknowledged(in *incoming) {
	if in.Epoch != t.l.meta.Epoch {
		return
	}
	for s := range in.inc.sources {
		if s.tokens.lowerAt == 0 && s.requests.lowerAt == 0 {
			continue
		}
		held := in.reserved[s.id.credential]
		granted := [2]int64{s.tokens.granted, s.requests.granted}
		t.alter(s, func() {
			s.tokens.acknowledge(in.Generation, s.spent+held.Tokens)
			s.requests.acknowledge(in.Generation, s.Requests+held.Requests)
		})
		if granted != [2]int64{s.tokens.granted, s.requests.granted} {
			t.dirty[s] = struct{}{}
		}
	}
}

// offers returns the allowances of an incarnation, which is living: of every key today and tomorrow, and nothing more
// of a credential that was replaced.
func (t *tx) offers(inc *incarnation) []protocol.Allowance {
	l := t.l
	out := make([]protocol.Allowance, 0, 2*len(l.keys))
	names := [...]string{t.window.String(), (t.window + 1).String()}
	for _, k := range l.keys {
		c := k.inForce
		for i, name := range names {
			if !k.limited() {
				out = append(out, protocol.Allowance{Credential: c, Window: name, Tokens: protocol.Unlimited, Requests: protocol.Unlimited})
				continue
			}
			s := k.account(t.window + quota.Window(i)).own[inc]
			if s == nil {
				s = t.source(inc, t.window+quota.Window(i), c)
			}
			out = append(out, t.offer(s, name))
		}
	}
	for s := range inc.replaced {
		if s.id.window < t.window {
			continue
		}
		if s.tokens.hold(s.spent) > 0 || s.requests.hold(s.Requests) > 0 {
			out = append(out, t.offer(s, s.id.window.String()))
		}
	}
	return out
}

// offer works out what a source may spend and takes it down. name is its window's.
func (t *tx) offer(s *source, name string) protocol.Allowance {
	a := s.account
	out := protocol.Allowance{Credential: s.id.credential, Window: name}
	tokens, moreTokens := t.allowed(s, &a.tokens, &s.tokens, s.spent, max(1, t.l.policy.RequiredTokens))
	requests, moreRequests := t.allowed(s, &a.requests, &s.requests, s.Requests, 1)
	out.Tokens, out.Requests = tokens, requests
	out.More = moreTokens != never && moreRequests != never && (moreTokens == later || moreRequests == later)
	if tokens != s.tokens.offered || requests != s.requests.offered {
		t.settle(s, tokens, requests)
	}
	return out
}

// outlook says whether a later answer may allow more than this one.
type outlook int

const (
	all   outlook = iota // all that remains is allowed
	later                // others hold, or nobody holds yet, what can serve a request
	never                // nothing remains
)

// allowed works out how far a source may spend one quantity. need is the least that a request takes of it.
func (t *tx) allowed(s *source, m *meter, g *grant, spent, need int64) (int64, outlook) {
	if m.limit == 0 {
		return protocol.Unlimited, all
	}
	k := s.account.key
	if k.Disabled || k.inForce != s.id.credential {
		return spent, never
	}
	room := m.room(g.hold(spent), len(t.l.living))
	switch {
	case m.remaining() < need:
		return spent + room, never
	case room < m.remaining():
		return spent + room, later
	}
	return spent + room, all
}

// settle takes an offer down, under a generation of its own.
func (t *tx) settle(s *source, tokens, requests int64) {
	generation := t.generation()
	granted := [2]int64{s.tokens.granted, s.requests.granted}
	t.alter(s, func() {
		s.tokens.offer(tokens, generation)
		s.requests.offer(requests, generation)
	})
	if granted != [2]int64{s.tokens.granted, s.requests.granted} {
		t.dirty[s] = struct{}{}
	}
	save(t, s.inc)
	s.inc.offeredAt = generation
}
