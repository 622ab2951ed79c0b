package account

import (
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Tab is what one VM has taken of a credential for many calls at once, and what those of its calls that ended came to.
// The entry is told when the tab is filled again or closed, not for each call. Until then all stays reserved that was, so
// that other VMs take for spent what may be. A tab is for a key with plenty left, and for a moment.
//
// The zero value holds nothing.
type Tab struct {
	credential protocol.CredentialID
	vm         uint32
	window     quota.Window

	calls, tokens int64 // reserved for calls to come
	need          int64 // tokens, of the call for which it was filled

	// Of calls that ended.
	ended, held int64 // that still have a reservation, and its tokens
	over        int64 // tokens that they cost beyond what was reserved, and nobody else sees
	tallies     []tally
}

const (
	// Plenty is for how many calls like one a key must have room for a tab.
	Plenty = 64

	mostAtOnce  = 128 // calls that a tab is filled for
	share       = 8   // part of what is free that one tab takes
	mostUnseen  = 4   // times a call's need that may be spent beyond what is reserved
	mostTallies = 16
)

// Credential returns whose tab it is; empty: it holds nothing.
func (t *Tab) Credential() protocol.CredentialID { return t.credential }

// Holds says whether a call that may need so many tokens can be served from the tab.
func (t *Tab) Holds(need int64) bool { return t.calls > 0 && t.tokens >= need }

// Take has a call hold what the tab holds.
func (t *Tab) Take(need int64) {
	t.calls--
	t.tokens -= need
}

// Settle takes down how an attempt with the tab's credential ended. reserved is what the VM still holds for it, in
// tokens; -1: it was given back. It returns false, and has done nothing, where the attempt is to be settled in the entry,
// after the tab was closed: in another window, by another VM, or where too much would be spent that others do not see.
func (t *Tab) Settle(w quota.Window, vm uint32, reserved int64, s *Settlement) bool {
	over := max(0, t.over+s.Tokens()-max(0, reserved))
	if w != t.window || vm != t.vm || t.ended >= mostAtOnce || over > mostUnseen*t.need {
		return false
	}
	y := t.tally(s)
	if y == nil {
		return false
	}
	y.add(s)
	t.over = over
	if reserved >= 0 {
		t.ended++
		t.held += reserved
	}
	return true
}

// tally returns the sums that an attempt belongs to; nil where there are too many.
func (t *Tab) tally(s *Settlement) *tally {
	for i := range t.tallies {
		if y := &t.tallies[i]; y.class == s.Class && y.model == s.Model {
			return y
		}
	}
	if len(t.tallies) == mostTallies {
		return nil
	}
	t.tallies = append(t.tallies, tally{class: s.Class, model: s.Model})
	return &t.tallies[len(t.tallies)-1]
}

// tell brings what the tab knows into the entry.
func (t *Tab) tell(e *Entry) {
	e.release(t.vm, t.ended+t.calls, t.held+t.tokens)
	for i := range t.tallies {
		e.count(t.window, &t.tallies[i])
	}
}

// Fill closes the tab and has it hold what some calls like one that may need so many tokens can need. It returns false
// where the key has not plenty left: the tab then holds nothing.
func (k *Book) Fill(t *Tab, key *protocol.Key, vm uint32, w quota.Window, need int64) bool {
	if t.credential != key.Credential {
		k.Close(t)
	}
	calls := int64(0)
	k.Update(key.Credential, func(e *Entry) bool {
		if t.credential != "" {
			t.tell(e)
		}
		room := e.Room(w, key.Fresh)
		calls = min(mostAtOnce, room.FreeRequests/share, room.Free/share/max(1, need))
		if calls < Plenty/share {
			calls = 0
		} else {
			e.reserve(vm, calls, calls*need)
		}
		return calls > 0 || t.credential != ""
	})
	t.clear()
	if calls == 0 {
		return false
	}
	t.credential, t.vm, t.window = key.Credential, vm, w
	t.calls, t.tokens, t.need = calls, calls*need, need
	return true
}

// Close brings the tab into its entry and gives back what it holds.
func (k *Book) Close(t *Tab) {
	if t.credential == "" {
		return
	}
	k.Update(t.credential, func(e *Entry) bool {
		t.tell(e)
		return true
	})
	t.clear()
}

func (t *Tab) clear() {
	clear(t.tallies)
	*t = Tab{tallies: t.tallies[:0]}
}
