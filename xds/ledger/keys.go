package ledger

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/audit"
	"keywheel/xds/event"
)

// SetKeys takes over the configured keys, in rank order. A key whose secret is another than before gets the next
// revision; the usage of a secret that is new to it starts at zero. Keys and secrets that are gone keep their usage in the
// store, should they come back.
func (l *Ledger) SetKeys(ctx context.Context, keys []KeyConfig) error {
	_, err := l.Reconfigure(ctx, Change{Keys: keys})
	return err
}

func checkIDs(keys []KeyConfig) error {
	seen := map[string]bool{}
	for _, k := range keys {
		if k.ID == "" || seen[k.ID] {
			return fmt.Errorf("key ID %q is empty or there twice", k.ID)
		}
		seen[k.ID] = true
	}
	return nil
}

func (t *tx) setKeys(keys []KeyConfig) {
	t.rearrange(func() {
		for _, k := range keys {
			t.revise(k)
		}
		t.l.arrange(keys)
	})
	t.crossLimits()
}

// SetPolicy takes over what holds for all keys.
func (l *Ledger) SetPolicy(ctx context.Context, p protocol.Policy) error {
	return l.do(ctx, func(t *tx) error {
		old := l.policy
		t.undo = append(t.undo, func() { l.policy = old })
		l.policy = p
		t.stale = true
		return nil
	})
}

// Credential returns the revision in force of a key, the revision with which its present secret began, and that
// secret's SHA-256. ok is false for a key that never was.
func (l *Ledger) Credential(keyID string) (revision, base uint32, hash [32]byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.credentials[keyID]
	if !ok {
		return 0, 0, hash, false
	}
	copy(hash[:], c.Hash)
	return c.Revision, c.Base, hash, true
}

// Clear forgets what was learned of the key's organization: each of its keys gets the next revision, keeping today's
// usage. It returns the generation with which filters know it, or ErrNoKey. by says who did it.
func (l *Ledger) Clear(ctx context.Context, keyID string, by audit.Entry) (generation int64, err error) {
	err = l.do(ctx, func(t *tx) error {
		k := l.byID[keyID]
		if k == nil {
			return fmt.Errorf("%w: %s", ErrNoKey, keyID)
		}
		var told []*finding
		for _, f := range l.findings {
			if l.org(f.Credential) == k.Org {
				t.forget(f)
				if f.Told {
					told = append(told, f)
				}
			}
		}
		t.rearrange(func() {
			for _, other := range l.keys {
				if other.Org == k.Org {
					t.setCredential(other.ID, other.cred.Revision+1, other.cred.Base, other.cred.Hash)
				}
			}
			l.arrange(l.configs())
		})
		t.tell(event.Event{Kind: event.KeyCleared, Level: event.Info, Key: keyID},
			line{slog.LevelInfo, k.name() + " cleared: what was learned of its organization is forgotten", nil})
		slices.SortFunc(told, func(a, b *finding) int {
			return cmp.Or(cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Model, b.Model))
		})
		for _, f := range told {
			t.recovered(l.keyOf(f.Credential), f)
		}
		by.Key, by.What, by.Outcome = keyID, "clear key", audit.Done
		t.audit(by)
		t.after = append(t.after, func() { generation = l.assignment.Generation })
		return nil
	})
	return generation, err
}

// revise gives a key that has a new secret a new revision.
func (t *tx) revise(k KeyConfig) {
	c := t.l.credentials[k.ID]
	switch {
	case c == nil:
		t.setCredential(k.ID, 1, 1, k.SecretHash[:])
	case !slices.Equal(c.Hash, k.SecretHash[:]):
		change(t, c).Earlier = joinEras(c.eras(), nil)
		t.setCredential(k.ID, c.Revision+1, c.Revision+1, k.SecretHash[:])
	}
}

func (t *tx) setCredential(keyID string, revision, base uint32, hash []byte) {
	c := t.l.credentials[keyID]
	if c == nil {
		c = &credential{id: keyID}
		put(t, t.l.credentials, keyID, c)
		t.undo = append(t.undo, func() { c.gone = true })
	}
	change(t, c)
	c.Revision, c.Base, c.Hash = revision, base, slices.Clone(hash)
	for _, f := range t.l.findings {
		if id, r, ok := protocol.SplitCredential(f.Credential); ok && id == keyID && r != revision {
			t.forget(f)
		}
	}
}

// configs returns the keys as they were configured.
func (l *Ledger) configs() []KeyConfig {
	configs := make([]KeyConfig, len(l.keys))
	for i, k := range l.keys {
		configs[i] = k.KeyConfig
	}
	return configs
}

// rearrange runs f, which changes keys and credentials and then calls arrange. The keys before it, and their accounts,
// stay as they are until all is committed.
func (t *tx) rearrange(f func()) {
	l, old, byID := t.l, t.l.keys, t.l.byID
	t.undo = append(t.undo, func() { // runs after what f did is undone
		l.keys, l.byID = old, byID
		for _, s := range l.sources {
			s.account = l.accountOf(s.id)
		}
		l.markReplaced()
	})
	f()
	t.members, t.stale = true, true
}

// freshOf returns the slices in force of keys, which arrange keeps.
func (l *Ledger) freshOf(keys []*key) map[crossedID][2]int64 {
	fresh := map[crossedID][2]int64{}
	for _, k := range keys {
		for w, a := range k.accounts {
			fresh[crossedID{w, k.ID}] = [2]int64{a.tokens.fresh, a.requests.fresh}
		}
	}
	return fresh
}

// arrange makes the keys anew from their configuration, and their accounts from the sources.
func (l *Ledger) arrange(configs []KeyConfig) {
	fresh := l.freshOf(l.keys)
	keys, byID := make([]*key, len(configs)), map[string]*key{}
	for i, c := range configs {
		c.Thresholds, c.Models = slices.Clone(c.Thresholds), slices.Clone(c.Models)
		r := l.rings[c.ID]
		if r == nil {
			r = &ring{}
			l.rings[c.ID] = r
		}
		keys[i] = &key{
			KeyConfig: c, cred: l.credentials[c.ID], inForce: protocol.Credential(c.ID, l.credentials[c.ID].Revision),
			accounts: map[quota.Window]*account{}, ring: r,
		}
		byID[c.ID] = keys[i]
	}
	l.keys, l.byID = keys, byID
	l.fill(fresh)
}

// fill counts every source into the account it belongs to.
func (l *Ledger) fill(fresh map[crossedID][2]int64) {
	for _, s := range l.sources {
		s.account = l.accountOf(s.id)
		s.account.enter(s)
		if a := s.account; a != nil && a.key.inForce == s.id.credential {
			a.own[s.inc] = s
		}
	}
	l.markReplaced()
	for id, f := range fresh {
		if k := l.byID[id.key]; k != nil {
			a := k.account(id.window)
			a.tokens.fresh, a.requests.fresh = f[0], f[1]
		}
	}
}

// markReplaced finds the sources of credentials that were replaced, of which filters may still spend.
func (l *Ledger) markReplaced() {
	for _, inc := range l.incarnations {
		inc.replaced = nil
	}
	for _, s := range l.sources {
		a := s.account
		if a == nil || a.key.inForce == s.id.credential || s.tokens.hold(s.spent) == 0 && s.requests.hold(s.Requests) == 0 {
			continue
		}
		if s.inc.replaced == nil {
			s.inc.replaced = map[*source]struct{}{}
		}
		s.inc.replaced[s] = struct{}{}
	}
}

// accountOf returns the account that a source counts in; nil for a key that is not configured, or for a secret before
// its present one.
func (l *Ledger) accountOf(id sourceID) *account {
	k := l.keyOf(id.credential)
	if k == nil {
		return nil
	}
	if _, revision, _ := protocol.SplitCredential(id.credential); !k.cred.counts(revision) {
		return nil
	}
	return k.account(id.window)
}

// keyOf returns the configured key of a credential, whatever its revision; nil if there is none.
func (l *Ledger) keyOf(c protocol.CredentialID) *key {
	id, _, ok := protocol.SplitCredential(c)
	if !ok {
		return nil
	}
	return l.byID[id]
}

// org is the organization of a credential's key; empty if it is not configured.
func (l *Ledger) org(c protocol.CredentialID) string {
	if k := l.keyOf(c); k != nil {
		return k.Org
	}
	return ""
}
