package picker

import (
	"encoding/binary"
	"hash/fnv"

	"keywheel/filter/account"
	"keywheel/shared/protocol"
	"keywheel/shared/selection"
)

// leave says why the key in use did not take this request, if it cannot serve for longer than a moment. A key that was
// cleared, or got another secret, since it came into use is still that key.
func (p *Picker) leave(b *account.Book, r Request, at Instant, inUse protocol.CredentialID) account.Leave {
	id, _, _ := protocol.SplitCredential(inUse)
	i, ok := p.byID[id]
	if !ok { // no longer assigned
		return account.Leave{Reason: string(selection.Disabled), Cause: cause(inUse, selection.Disabled, 0)}
	}
	inUse = p.a.Keys[i].Credential
	v := p.view(b, r, at)
	s := p.state(&v, i)
	forOthers := !serves(&p.a.Keys[i], r) // it goes on for its own models, unless it is out for every one
	switch {
	case forOthers && (s.reason == "" || s.reason == selection.Cooling || s.reason == selection.Blocked):
		return account.Leave{}
	case s.reason == selection.Exhausted, s.reason == "" && s.small: // also too little for this request: it counts once a window
		return account.Leave{Reason: string(selection.Exhausted), Cause: cause(inUse, selection.Exhausted, int64(at.Window))}
	case s.reason == "", s.reason == selection.Busy:
		return account.Leave{}
	}
	return account.Leave{Reason: string(s.reason), Cause: cause(inUse, s.reason, s.until)}
}

// cause tells one reason to leave from the next.
func cause(c protocol.CredentialID, why selection.Reason, until int64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c))
	_, _ = h.Write([]byte(why))
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(until)))
	return h.Sum64()
}

// Takes says whether a choice makes its key the one in use: when the one before had to leave, or when a better one can
// serve again. A key that takes what another has no room for at the moment does not.
func (p *Picker) Takes(c Choice) bool {
	if c.InUse == "" || c.Leave.Reason != "" {
		return true
	}
	if isOf(c.InUse, c.Key) { // a worker that knows only the old revision does not turn it back
		_, was, _ := protocol.SplitCredential(c.InUse)
		_, is, _ := protocol.SplitCredential(c.Key.Credential)
		return is > was
	}
	if p.strategy() != selection.Priority {
		return false
	}
	id, _, _ := protocol.SplitCredential(c.InUse)
	i, ok := p.byID[id]
	if !ok {
		return true
	}
	was := &p.a.Keys[i]
	// A key that is nearly spent takes small requests until its last token; it is not in use again for that.
	return c.Key.Priority < was.Priority && (c.Key.LimitTokens == 0 || c.Room.Unspent >= c.Key.LimitTokens/20)
}
