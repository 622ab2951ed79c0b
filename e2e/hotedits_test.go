package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/xds/admin"
)

// editor changes keys that nobody else changes. The first editor's first key always serves: its secret is replaced, and it
// is put before or behind others, but it is never taken away.
type editor struct {
	h       *hot
	random  *mathrand.Rand
	anchor  string // the ID of the key that is never taken away; empty: there is none
	keys    []*hotKey
	prefix  string // of the IDs of keys that it adds
	added   int
	owners  map[string]string   // each secret that ever was, and the ID of the key that had it
	audited map[string][]string // what the audit is to have, by key ID, oldest first
	bans    []*ban              // what calls must not go out with
}

// hotKey is a key as its editor knows it.
type hotKey struct {
	id      string
	secret  string
	old     string // the secret before; empty: none
	removed bool
	off     bool // disabled
	other   bool // kept for another model than the clients'
}

// serves says whether calls may go out with the key's secret.
func (k *hotKey) serves() bool { return !k.removed && !k.off && !k.other }

// newEditor takes every second key of the settings.
func newEditor(h *hot, i int, random *mathrand.Rand) *editor {
	e := &editor{h: h, random: random, prefix: string(rune('a' + i)), owners: map[string]string{}, audited: map[string][]string{}}
	if i == 0 {
		e.anchor = h.Keys[0].ID
	}
	for n, k := range h.Keys {
		if n%2 == i {
			e.keys = append(e.keys, &hotKey{id: k.ID, secret: k.Secret})
			e.owners[k.Secret] = k.ID
		}
	}
	return e
}

// run makes so many changes. Each time that it has made some together it waits until they are in effect everywhere.
func (e *editor) run(ctx context.Context, changes, together int) error {
	for i := range changes {
		generation, err := e.change(ctx)
		if err != nil {
			return fmt.Errorf("change %d: %w", i+1, err)
		}
		if i%together == together-1 {
			if err := e.h.shown.wait(ctx, generation); err != nil {
				return fmt.Errorf("change %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// pick takes one of the keys that are there; more often than not the one that serves just now, if it is this editor's.
func (e *editor) pick() *hotKey {
	e.h.mu.Lock()
	served := e.h.served
	e.h.mu.Unlock()
	there := e.there()
	for _, k := range there {
		if k.id == served && e.random.IntN(10) < 6 {
			return k
		}
	}
	return there[e.random.IntN(len(there))]
}

// there are the keys that are not removed.
func (e *editor) there() []*hotKey {
	return slices.DeleteFunc(slices.Clone(e.keys), func(k *hotKey) bool { return k.removed })
}

// change makes one change and returns its generation.
func (e *editor) change(ctx context.Context) (int64, error) {
	k := e.pick()
	switch n := e.random.IntN(100); {
	case n < 30:
		return e.replace(ctx, k)
	case n < 50:
		return e.set(ctx, k, "priority", func(f *admin.KeyFields) { f.Priority = pointer(1 + e.random.IntN(5)) })
	case n < 68 && k.id != e.anchor:
		return e.takeOrGive(ctx, k, n)
	case n < 76:
		return e.add(ctx)
	case n < 84 && k.id != e.anchor && len(e.there()) > 2:
		return e.remove(ctx, k)
	case n < 88:
		return e.clear(ctx, k)
	}
	return e.harmless(ctx, k)
}

// harmless changes what takes nothing from calls; a limit only of a key that need not serve.
func (e *editor) harmless(ctx context.Context, k *hotKey) (int64, error) {
	limits := []admin.Limit{admin.NewLimit(0), admin.NewLimit(5_000), admin.NewLimit(1_000_000)}
	limit := limits[e.random.IntN(len(limits))]
	switch n := e.random.IntN(6); {
	case n == 0 && k.id != e.anchor:
		return e.set(ctx, k, "limit_tokens", func(f *admin.KeyFields) { f.LimitTokens = limit })
	case n == 1 && k.id != e.anchor:
		return e.set(ctx, k, "limit_requests", func(f *admin.KeyFields) { f.LimitRequests = limit })
	case n == 2:
		return e.set(ctx, k, "thresholds", func(f *admin.KeyFields) { f.Thresholds = &[]int{20 + e.random.IntN(20), 90} })
	case n == 3:
		return e.set(ctx, k, "tier", func(f *admin.KeyFields) { f.Tier = pointer([]string{"free", "paid"}[e.random.IntN(2)]) })
	case n == 4:
		return e.set(ctx, k, "org", func(f *admin.KeyFields) { f.Org = pointer("org-" + strconv.Itoa(e.random.IntN(3))) })
	}
	return e.set(ctx, k, "label", func(f *admin.KeyFields) { f.Label = pointer("Label " + strconv.Itoa(e.random.IntN(1000))) })
}

func pointer[T any](v T) *T { return &v }

// set changes one field.
func (e *editor) set(ctx context.Context, k *hotKey, field string, set func(*admin.KeyFields)) (int64, error) {
	var fields admin.KeyFields
	set(&fields)
	before, sent := *k, time.Now()
	changed, err := e.h.admin.ChangeKey(ctx, k.id, fields)
	return e.note(k, before, sent, changed, err, "change key", field)
}

// note takes down a change: k is as it is now, before as it was.
func (e *editor) note(k *hotKey, before hotKey, sent time.Time, changed admin.Changed, err error, what string, fields ...string) (int64, error) {
	if err != nil {
		return 0, fmt.Errorf("%s %s %v: %w", what, k.id, fields, err)
	}
	if changed.ID != k.id {
		return 0, fmt.Errorf("%s %s: the answer is about key %s", what, k.id, changed.ID)
	}
	slices.Sort(fields)
	e.audited[k.id] = append(e.audited[k.id], audited(what, fields...))
	if k.serves() {
		e.lift(k.secret, sent)
	}
	if before.serves() && (!k.serves() || k.secret != before.secret) {
		e.bans = append(e.bans, &ban{why: what + " " + k.id, secret: before.secret, from: time.Now(), generation: changed.Generation})
	}
	return changed.Generation, nil
}

// lift ends the bans of a secret.
func (e *editor) lift(secret string, at time.Time) {
	for _, b := range e.bans {
		if b.secret == secret && b.to.IsZero() {
			b.to = at
		}
	}
}

// replace gives a key another secret: mostly one that never was, now and then the one before.
func (e *editor) replace(ctx context.Context, k *hotKey) (int64, error) {
	before, sent := *k, time.Now()
	next := e.secret(k.id)
	if k.old != "" && e.random.IntN(5) == 0 {
		next = k.old
	}
	changed, err := e.h.admin.ChangeKey(ctx, k.id, admin.KeyFields{Secret: &next})
	k.secret, k.old = next, before.secret
	return e.note(k, before, sent, changed, err, "change key", "secret")
}

// secret makes a secret that the simulated Groq accepts.
func (e *editor) secret(id string) string {
	s := "gsk_CANARY" + id + rand.Text() + rand.Text()
	e.h.Groq.AddKey(fakegroq.Key{Secret: s, Name: id})
	e.owners[s] = id
	return s
}

// takeOrGive disables a key or keeps it for another model; or gives it back.
func (e *editor) takeOrGive(ctx context.Context, k *hotKey, n int) (int64, error) {
	before, sent := *k, time.Now()
	var fields admin.KeyFields
	field := "disabled"
	if k.other || !k.off && n%4 == 0 {
		k.other = !k.other
		fields.Models, field = &[]string{}, "models"
		if k.other {
			fields.Models = &[]string{"another-model"}
		}
	} else {
		k.off = !k.off
		fields.Disabled = pointer(k.off)
	}
	changed, err := e.h.admin.ChangeKey(ctx, k.id, fields)
	return e.note(k, before, sent, changed, err, "change key", field)
}

// add adds a key, or one again that was removed, with the secret that it had.
func (e *editor) add(ctx context.Context) (int64, error) {
	i := slices.IndexFunc(e.keys, func(k *hotKey) bool { return k.removed })
	if i < 0 {
		e.added++
		id := e.prefix + strconv.Itoa(e.added)
		e.keys = append(e.keys, &hotKey{id: id, secret: e.secret(id), removed: true})
		i = len(e.keys) - 1
	}
	k := e.keys[i]
	before, sent := *k, time.Now()
	changed, err := e.h.admin.AddKey(ctx, admin.NewKey{ID: &k.id, KeyFields: admin.KeyFields{
		Secret: &k.secret, Label: pointer("Added"), Priority: pointer(1 + e.random.IntN(5)), LimitTokens: admin.NewLimit(2_000_000),
	}})
	k.removed, k.off, k.other = false, false, false
	return e.note(k, before, sent, changed, err, "add key", "secret", "label", "priority", "limit_tokens")
}

// remove removes a key.
func (e *editor) remove(ctx context.Context, k *hotKey) (int64, error) {
	before, sent := *k, time.Now()
	changed, err := e.h.admin.RemoveKey(ctx, k.id)
	k.removed = true
	return e.note(k, before, sent, changed, err, "remove key")
}

// clear forgets what was learned of a key.
func (e *editor) clear(ctx context.Context, k *hotKey) (int64, error) {
	before, sent := *k, time.Now()
	generation, err := e.h.admin.Clear(ctx, k.id)
	return e.note(k, before, sent, admin.Changed{ID: k.id, Generation: generation}, err, "clear key")
}
