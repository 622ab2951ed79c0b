package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Assignment returns what filters may spend and how, without secrets. It is the same, with the same generation, as long
// as its content is.
func (l *Ledger) Assignment() protocol.Assignment {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.assignment
	a.Keys = slices.Clone(a.Keys)
	for i := range a.Keys {
		a.Keys[i].Fresh = slices.Clone(a.Keys[i].Fresh)
		a.Keys[i].Models = slices.Clone(a.Keys[i].Models)
	}
	return a
}

// reassign works out the slices for newcomers and, if anything in it changed, the next assignment.
func (t *tx) reassign() {
	l := t.l
	if l.assignment.Clock != l.clock() || t.window != t.shownWindow() {
		t.members, t.stale = true, true
	}
	if t.members {
		for _, k := range l.keys {
			t.refresh(k.account(t.window))
			t.refresh(k.account(t.window + 1))
		}
	} else {
		for a := range t.accounts {
			if a.window >= t.window && a.window <= t.window+1 {
				t.refresh(a)
			}
		}
	}
	if !t.stale || len(l.keys) == 0 {
		return
	}
	a := l.assign(t.window)
	sum := contentSum(&a)
	if l.meta.PushedSum != sum {
		m := change(t, l.meta)
		m.Pushed, m.PushedSum = t.generation(), sum
	}
	a.Generation = l.meta.Pushed
	if l.assignment.Generation == a.Generation && l.assignment.Epoch == a.Epoch {
		return
	}
	old := l.assignment
	t.undo = append(t.undo, func() { l.assignment = old })
	l.assignment = a
	t.pushed = true
}

// shownWindow is the first window that the present assignment speaks of.
func (t *tx) shownWindow() quota.Window {
	if keys := t.l.assignment.Keys; len(keys) > 0 {
		if w, err := quota.ParseWindow(keys[0].Fresh[0].Window); err == nil {
			return w
		}
	}
	return t.window
}

// refresh works out an account's slices for newcomers.
func (t *tx) refresh(a *account) {
	n := len(t.l.living)
	tokens, requests := a.tokens.nextFresh(n), a.requests.nextFresh(n)
	if a.key.Disabled {
		tokens, requests = 0, 0
	}
	if tokens != a.tokens.fresh || requests != a.requests.fresh {
		save(t, a)
		a.tokens.fresh, a.requests.fresh = tokens, requests
		t.stale = true
	}
}

// assign makes an assignment, without a generation, of what holds now.
func (l *Ledger) assign(today quota.Window) protocol.Assignment {
	a := protocol.Assignment{
		Version: protocol.Version, Epoch: l.meta.Epoch, Clock: l.clock(), Policy: l.policy, Keys: make([]protocol.Key, len(l.keys)),
	}
	for i, k := range l.keys {
		a.Keys[i] = protocol.Key{
			ID: k.ID, Credential: k.inForce, Priority: k.Priority, Org: k.Org, Tier: k.Tier, Disabled: k.Disabled,
			LimitTokens: k.LimitTokens, LimitRequests: k.LimitRequests, Models: k.Models,
		}
		for _, w := range [...]quota.Window{today, today + 1} {
			at := k.account(w)
			a.Keys[i].Fresh = append(a.Keys[i].Fresh, protocol.Fresh{Window: w.String(), Tokens: at.tokens.fresh, Requests: at.requests.fresh})
		}
	}
	return a
}

// contentSum tells an assignment's content from any other.
func contentSum(a *protocol.Assignment) string {
	b, err := json.Marshal(a)
	if err != nil {
		return "" // a clock that runs at no number: never the same as before
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
