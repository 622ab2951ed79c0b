// Package picker chooses the key for an attempt and holds what the request may need of it.
package picker

import (
	"keywheel/filter/account"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/shared/selection"
)

// Request is what an attempt needs a key for.
type Request struct {
	Model string // trail.UnknownModel: it was not seen
	Need  int64  // tokens; 0: it costs nothing, and is for no model
	Fixed bool   // Need is set by the operator: a key with less does not serve at all
	Only  string // the ID of the one key that may serve it; empty: any
	Blind bool   // nobody looked into the body: Model is the caller's word, by which no key goes that is kept for certain models
	Tried []Tried

	InUse protocol.CredentialID // the credential in use, as it was seen a moment ago; empty: it was not
}

// Tried is a key that this request has been sent with before.
type Tried struct {
	Credential protocol.CredentialID
	// Final says that this key cannot help any more. Else the failure was nobody's fault, and the key is taken again
	// where there is no other.
	Final bool
}

// of says whether it was this key, whatever its revision: a key that is cleared while a call is tried, perhaps more than
// once, would else be the next one each time.
func (t *Tried) of(k *protocol.Key) bool { return isOf(t.Credential, k) }

// isOf says whether a credential is, or was, a key's.
func isOf(c protocol.CredentialID, k *protocol.Key) bool {
	id, _, ok := protocol.SplitCredential(c)
	return ok && id == k.ID
}

// Instant is when a choice is made.
type Instant struct {
	NowMS  int64 // Unix milliseconds by Keywheel's clock
	Window quota.Window
}

// Choice is a key, or why there is none.
type Choice struct {
	Key     *protocol.Key         // nil: none, see Refusal
	Reserve int64                 // tokens held; less than the need where no key had as much
	Room    account.Room          // before the reservation
	InUse   protocol.CredentialID // before this choice; empty: none yet
	Leave   account.Leave         // why the key in use was passed over; the zero value: it was not, or not for good
	Again   bool                  // the key was tried before: no other can serve
	Refusal *Refusal

	name  account.Name
	entry account.Entry // the key's, as it was when the key was chosen
	cas   uint32        // to swap it against
}

// Picker chooses among one assignment's keys. It never changes after it is made.
type Picker struct {
	a     *protocol.Assignment
	byID  map[string]int
	ranks []float64
	names []account.Name
}

// New makes the picker of an assignment, whose keys stand in rank order.
func New(a *protocol.Assignment) *Picker {
	p := &Picker{a: a, byID: make(map[string]int, len(a.Keys)), ranks: make([]float64, len(a.Keys)), names: make([]account.Name, len(a.Keys))}
	for i, k := range a.Keys {
		p.byID[k.ID] = i
		p.names[i] = account.NameOf(k.Credential)
		p.ranks[i] = selection.Rank(i, len(a.Keys))
	}
	return p
}

// Peek says whether a key could serve now: any, which need not be the one that Pick takes.
func (p *Picker) Peek(b *account.Book, r Request, at Instant) Choice {
	return p.choose(b, r, at, true)
}

// Pick chooses a key and reserves what the request may need, in one swap. Of two workers that race for a key's last
// tokens one gets them; the other chooses again.
func (p *Picker) Pick(b *account.Book, vm uint32, r Request, at Instant) Choice {
	for {
		c := p.choose(b, r, at, false)
		if c.Key == nil {
			return c
		}
		c.entry.Reserve(vm, c.Reserve)
		if b.Swap(c.name, c.entry, c.cas) {
			if c.InUse = r.InUse; c.InUse == c.Key.Credential { // most calls; what another worker changed meanwhile shows with the next look
				return c
			}
			if c.InUse = b.InUse(); c.InUse != "" && !isOf(c.InUse, c.Key) {
				c.Leave = p.leave(b, r, at, c.InUse)
			}
			return c
		}
	}
}

// state is one key as a request finds it.
type state struct {
	key    *protocol.Key
	name   account.Name
	entry  account.Entry // nil: it was not looked at
	cas    uint32
	room   account.Room
	cand   selection.Candidate
	reason selection.Reason // empty: it can serve
	until  int64            // when the reason ends, Unix milliseconds
	small  bool             // it can, but has less than the need
	tried  bool
}

// view is what all keys' states are seen from, at one instant.
type view struct {
	book     *account.Book
	request  Request
	at       Instant
	findings []account.Finding
	standing []protocol.KeyState // of the keys, in their order; one without an ID is not known
	fastest  int64               // median time of the fastest of them, milliseconds; 0: none is known
}

func (p *Picker) view(b *account.Book, r Request, at Instant) view {
	v := view{book: b, request: r, at: at, findings: b.Findings(at.NowMS)}
	if p.strategy() != selection.Balanced {
		return v
	}
	s, _ := b.Standing()
	v.standing = s.Keys
	for i := range s.Keys {
		if ms := s.Keys[i].MedianMS; ms > 0 && (v.fastest == 0 || ms < v.fastest) {
			v.fastest = ms
		}
		if i >= len(p.a.Keys) || s.Keys[i].ID != p.a.Keys[i].ID { // of another assignment than ours
			v.standing = p.inOrder(s.Keys)
		}
	}
	return v
}

func (p *Picker) inOrder(keys []protocol.KeyState) []protocol.KeyState {
	out := make([]protocol.KeyState, len(p.a.Keys))
	for _, s := range keys {
		if i, ok := p.byID[s.ID]; ok {
			out[i] = s
		}
	}
	return out
}

func (p *Picker) strategy() selection.Strategy { return selection.Strategy(p.a.Policy.Strategy) }

// state finds out about the i-th key.
func (p *Picker) state(v *view, i int) state {
	k := &p.a.Keys[i]
	s := state{key: k, name: p.names[i]}
	switch {
	case k.Disabled:
		s.reason, s.until = selection.Disabled, v.at.NowMS+disabledMS
	default:
		s.entry, s.cas = v.book.Get(s.name)
		s.room = s.entry.Room(v.at.Window, k.Fresh)
		p.judge(&s, v)
	}
	for _, t := range v.request.Tried {
		if t.of(k) {
			s.tried = true
			if t.Final && s.reason == "" {
				s.reason, s.until = selection.Cooling, v.at.NowMS+busyMS
			}
		}
	}
	s.cand = p.candidate(i, s.room, v)
	return s
}

// How long until it is worth asking again where nothing says when a key comes back, in milliseconds.
const (
	busyMS     = 1000
	disabledMS = 60_000
)

// judge finds the first reason that keeps a key from serving.
func (p *Picker) judge(s *state, v *view) {
	at, r := v.at, v.request
	reason, until := selection.Reason(""), int64(0)
	severity := 0
	for _, f := range v.findings {
		if why, weight := p.applies(f, s.key, r.Model); weight > severity || weight == severity && weight > 0 && f.UntilMS > until {
			reason, until, severity = why, f.UntilMS, weight
		}
	}
	if reason == selection.Invalid || reason == selection.Restricted {
		s.reason, s.until = reason, until
		return
	}
	if s.reason, s.small = lacks(s.room, r); s.reason != "" {
		s.until = at.NowMS + busyMS
		if s.reason == selection.Exhausted {
			s.until = at.Window.End().UnixMilli()
			return
		}
	}
	if reason != "" {
		s.reason, s.until = reason, until
	}
}

// lacks says whether a key has too little left, and whether it has some, but less than the need.
func lacks(room account.Room, r Request) (why selection.Reason, small bool) {
	why = selection.Exhausted
	if room.More {
		why = selection.Busy
	}
	if r.Need == 0 { // it costs nothing
		return "", false
	}
	least := int64(1)
	if r.Fixed {
		least = r.Need
	}
	switch {
	case room.Unspent < least || room.UnspentRequests < 1:
		return why, false
	case room.Free < least || room.FreeRequests < 1:
		return selection.Busy, false
	}
	return "", room.Free < r.Need
}

// applies says what a finding means for a key, and how much that weighs against another finding.
func (p *Picker) applies(f account.Finding, k *protocol.Key, model string) (selection.Reason, int) {
	if id, rev, ok := protocol.SplitCredential(f.Credential); ok {
		if i, known := p.byID[id]; known {
			if _, now, _ := protocol.SplitCredential(p.a.Keys[i].Credential); rev < now {
				return "", 0
			}
		}
	}
	if f.Kind == protocol.Invalid {
		if f.Credential == k.Credential {
			return selection.Invalid, 4
		}
		return "", 0
	}
	if f.Org != k.Org || f.Model != "" && f.Model != model {
		return "", 0
	}
	switch f.Kind {
	case protocol.Restricted:
		return selection.Restricted, 3
	case protocol.Blocked:
		return selection.Blocked, 2
	case protocol.Cooling:
		return selection.Cooling, 1
	}
	return "", 0
}

func (p *Picker) candidate(i int, room account.Room, v *view) selection.Candidate {
	k := &p.a.Keys[i]
	c := selection.Candidate{Priority: k.Priority, Rank: p.ranks[i], Remaining: room.Free, Limit: k.LimitTokens, Health: 1}
	if i < len(v.standing) && v.standing[i].ID == k.ID {
		c.Health = v.standing[i].Health
		c.Speed = selection.Speed(v.standing[i].MedianMS, v.fastest)
	}
	return c
}

// choose takes the best key that has room for the need, then the one with the most left: max_tokens alone never refuses a
// request while a key has tokens. Such a request takes all that is free, so that there is one at a time. Last come keys
// that were tried without a fault of their own.
//
// By priority, keys are looked at only until one can serve: most calls see one entry. Keys that are kept for other models
// are not looked at.
func (p *Picker) choose(b *account.Book, r Request, at Instant, anyOne bool) Choice {
	from, to, ok := p.among(r)
	if !ok {
		return Choice{Refusal: p.unknownKey(r)}
	}
	v := p.view(b, r, at)
	if s, ok := p.best(&v, from, to, anyOne); ok {
		return s.choice(r)
	}
	states := make([]state, 0, to-from)
	for i := from; i < to; i++ {
		if serves(&p.a.Keys[i], r) {
			states = append(states, p.state(&v, i))
		}
	}
	if s := p.secondBest(states); s != nil {
		return s.choice(r)
	}
	return Choice{Refusal: refusal(r, states, to-from, at)}
}

func (s *state) choice(r Request) Choice {
	return Choice{
		Key: s.key, Reserve: max(0, min(r.Need, s.room.Free)), Room: s.room, Again: s.tried, name: s.name, entry: s.entry, cas: s.cas,
	}
}

// best is the best key that has room for the need and was not tried, or just any.
func (p *Picker) best(v *view, from, to int, anyOne bool) (full state, ok bool) {
	strategy := p.strategy()
	for i := from; i < to; i++ {
		k := &p.a.Keys[i]
		if ok && anyOne {
			break
		}
		if ok && strategy == selection.Priority && k.Priority != full.key.Priority {
			break
		}
		if !serves(k, v.request) {
			continue
		}
		if s := p.state(v, i); s.reason == "" && !s.small && !s.tried && (!ok || selection.Better(s.cand, full.cand, strategy)) {
			full, ok = s, true
		}
	}
	return full, ok
}

// secondBest is the key for a request that no key has room for and no try behind it; nil: none can serve.
func (p *Picker) secondBest(states []state) *state {
	var small, again, smallAgain *state
	for i := range states {
		s := &states[i]
		switch {
		case s.reason != "":
		case !s.small:
			again = better(again, s, p.strategy())
		case s.tried:
			smallAgain = larger(smallAgain, s)
		default:
			small = larger(small, s)
		}
	}
	for _, s := range [...]*state{small, again} {
		if s != nil {
			return s
		}
	}
	return smallAgain
}

func larger(best, s *state) *state {
	if best == nil || s.room.Free > best.room.Free {
		return s
	}
	return best
}

func better(best, s *state, strategy selection.Strategy) *state {
	if best == nil || selection.Better(s.cand, best.cand, strategy) {
		return s
	}
	return best
}
