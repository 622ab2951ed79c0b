package plugin

import (
	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

// A VM that is busy does not go to shared data for each call: of a key with plenty left it takes several calls' worth at
// once (tab), and what calls came to it brings there together. All of it is there again with the next tick, before a
// report is made, and when something is learned of a key. Below brisk picks in a tick, and few keys, everything is exact.
const (
	brisk    = 8
	mostTabs = 8
	many     = 32 // keys, from which one look at them all is worth more than exactness
)

// tab is an account.Tab with the calls that it is for: those that the picker would give the key to, as it last looked.
type tab struct {
	account.Tab
	version account.Version
	key     *protocol.Key
	model   string
	blind   bool
	bearer  string
}

// taken is what a VM has taken, and what it has not told yet.
type taken struct {
	picks int // since the last tick
	open  []*tab
	spare spare[tab]

	ended account.Ended
	noted protocol.CredentialID // whose calls can be counted together; empty: none's
}

// tabFor returns the tab for such calls; nil: none. It serves a call's first try, if it holds as much.
func (v *vm) tabFor(version account.Version, model string, blind bool) *tab {
	for _, t := range v.taken.open {
		if t.version == version && t.model == model && t.blind == blind {
			return t
		}
	}
	return nil
}

// seen takes down what a choice showed, and fills a tab where that is worth it.
func (v *vm) seen(a *assigned, r *picker.Request, c *picker.Choice, at picker.Instant) {
	v.inUse = c.InUse
	if v.taken.picks++; v.taken.picks < brisk && len(a.Keys) < many || len(r.Tried) > 0 || c.Key == nil || !plenty(r, c) || a.picker.Takes(*c) {
		return
	}
	t := v.tabFor(a.version(), r.Model, r.Blind)
	if t == nil {
		if len(v.taken.open) == mostTabs {
			v.closeTabs()
		}
		t = v.taken.spare.take()
		v.taken.open = append(v.taken.open, t)
	}
	t.version, t.key, t.model, t.blind, t.bearer = a.version(), c.Key, r.Model, r.Blind, a.bearers[c.Key.Credential]
	v.book.Fill(&t.Tab, c.Key, v.id, at.Window, r.Need)
}

// plenty says whether a key has enough left that others can wait a moment to learn how much.
func plenty(r *picker.Request, c *picker.Choice) bool {
	return r.Only == "" && !c.Again && c.Room.Free >= account.Plenty*max(1, r.Need) && c.Room.FreeRequests >= account.Plenty && !runsLow(c.Room)
}

// runsLow says whether a later answer may allow more and a quarter of what was granted is left.
func runsLow(room account.Room) bool { return room.More && room.Unspent < room.Granted/4 }

// putOnTab has a tab take down how a try ended. It returns false where it is to be settled in the account.
func (v *vm) putOnTab(at picker.Instant, y *trail.Try, s *account.Settlement) bool {
	reserved := int64(-1)
	if y.State == trail.Pending {
		reserved = y.Reserved
	}
	found := false
	for _, t := range v.taken.open {
		if t.Credential() != y.Credential {
			continue
		}
		if t.Settle(at.Window, y.VM, reserved, s) {
			return true
		}
		found = true
	}
	if found { // what is settled from now on is seen with what was before
		v.closeTabs()
	}
	return false
}

// end counts a call.
func (v *vm) end(at picker.Instant, c *account.Call) {
	n := &v.taken.ended
	together := v.taken.picks >= brisk && c.Outcome == account.Succeeded && !c.Rescued && c.Credential != "" && c.Credential == v.taken.noted
	if together && (n.Calls == 0 || n.Window == at.Window) {
		n.Window = at.Window
		n.Calls++
		n.TimeMS += c.TimeMS
		n.LastMS = at.NowMS
		return
	}
	v.taken.noted = ""
	if v.book.End(at.Window, at.NowMS, *c) {
		v.taken.noted = c.Credential
	}
}

// closeTabs brings what the tabs know into the account, and gives back what they hold.
func (v *vm) closeTabs() {
	open := v.taken.open
	v.taken.open = nil // before anything can fail: it would fail again and again
	for _, t := range open {
		v.book.Close(&t.Tab)
		*t = tab{Tab: t.Tab}
		v.taken.spare.give(t)
	}
	v.taken.open = open[:0]
}

// tellAll brings all that only this VM knows into shared data.
func (v *vm) tellAll() {
	v.closeTabs()
	n := v.taken.ended
	v.taken.ended, v.taken.noted, v.taken.picks = account.Ended{}, "", 0
	if n.Calls > 0 {
		v.book.EndMany(n)
	}
	v.stats.tell()
	v.inUse = ""
}
