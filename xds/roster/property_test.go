package roster_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/roster"
)

// said is what somebody said of a key: the settings, or the API over them. Fields that are nil they said nothing of.
type said struct {
	added   bool
	removed string // the name of the secret with which the settings' key was removed
	secret  string
	label   *string
	limit   *int64
}

// model is the rules of the roster, as simply as they can be told.
type model struct {
	settings, edits map[string]said
	revision        map[string]uint32
	last            map[string]string   // the secret of the newest revision
	used            map[[2]string]int64 // by key ID and secret
}

// of is what a key is; ok is false if it is not in force.
func (m *model) of(id string) (k said, ok bool) {
	k, configured := m.settings[id]
	e := m.edits[id]
	if !configured && !e.added || configured && e.removed != "" && e.removed == k.secret {
		return said{}, false
	}
	if e.secret != "" {
		k.secret = e.secret
	}
	if e.label != nil {
		k.label = e.label
	}
	if e.limit != nil {
		k.limit = e.limit
	}
	return k, true
}

func (m *model) ids() []string {
	all := map[string]bool{}
	for _, of := range []map[string]said{m.settings, m.edits} {
		for id := range of {
			if _, ok := m.of(id); ok {
				all[id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// clash says whether two keys in force have the same secret.
func (m *model) clash() bool {
	seen := map[string]bool{}
	for _, id := range m.ids() {
		k, _ := m.of(id)
		if seen[k.secret] {
			return true
		}
		seen[k.secret] = true
	}
	return false
}

// settle gives keys with another secret their next revision. What a secret used before counts on when it comes back.
func (m *model) settle() {
	for _, id := range m.ids() {
		if k, _ := m.of(id); m.last[id] != k.secret {
			m.last[id] = k.secret
			m.revision[id]++
		}
	}
}

// after is the model after a change, if that can be made: else the error that the roster should return.
func (m *model) after(change func(*model) error) (*model, error) {
	next := &model{
		settings: maps.Clone(m.settings), edits: maps.Clone(m.edits), revision: maps.Clone(m.revision), last: maps.Clone(m.last), used: maps.Clone(m.used),
	}
	if err := change(next); err != nil {
		return m, err
	}
	if next.clash() || len(next.ids()) == 0 && len(m.ids()) > 0 {
		return m, roster.ErrInvalid
	}
	next.settle()
	return next, nil
}

// agree wants the roster and the account to be as the model has it.
func (m *model) agree(h *house) {
	h.Helper()
	var got []string
	secrets := h.Secrets()
	if len(secrets) != len(m.ids()) {
		h.Fatalf("%d secrets of %d keys", len(secrets), len(m.ids()))
	}
	for _, k := range h.Keys() {
		got = append(got, k.ID)
		want, _ := m.of(k.ID)
		if !k.Secret.Equal(hidden(want.secret)) || !h.Secret(k.ID).Equal(k.Secret) {
			h.Fatalf("key %s has not the secret %s", k.ID, want.secret)
		}
		if want.limit != nil && k.LimitTokens != *want.limit || want.limit == nil && k.LimitTokens != 0 {
			h.Fatalf("key %s has a limit of %d", k.ID, k.LimitTokens)
		}
		if want.label != nil && *want.label != "" && k.Label != *want.label || (want.label == nil || *want.label == "") != k.LabelByRank {
			h.Fatalf("key %s is named %q", k.ID, k.Label)
		}
		credential := protocol.Credential(k.ID, m.revision[k.ID])
		if !secrets[credential].Equal(k.Secret) {
			h.Fatalf("the secrets have no %s, or another's", credential)
		}
		h.uses(k.ID, m.used[[2]string{k.ID, m.last[k.ID]}])
	}
	slices.Sort(got)
	if want := m.ids(); !slices.Equal(want, got) {
		h.Fatalf("keys %v in force, want %v", got, want)
	}
}

var (
	someSecrets = []string{"A", "B", "C", "D", "E"}
	someIDs     = []string{"1", "2", "3", "4", "x"}
)

// drawPatch is a patch and what it says.
func drawPatch(t *rapid.T, over said, needSecret bool) (roster.Patch, said) {
	var p roster.Patch
	if needSecret || rapid.IntRange(0, 2).Draw(t, "secret?") == 0 {
		over.secret = rapid.SampledFrom(someSecrets).Draw(t, "secret")
		p.Secret = hidden(over.secret)
	}
	if rapid.Bool().Draw(t, "label?") {
		label := rapid.SampledFrom([]string{"", "mine", "ours"}).Draw(t, "label")
		p.Label, over.label = &label, &label
	}
	if rapid.Bool().Draw(t, "limit?") {
		limit := rapid.Int64Range(0, 3).Draw(t, "limit") * 1000
		p.LimitTokens, over.limit = &limit, &limit
	}
	return p, over
}

// drawSettings are settings, and what they say.
func drawSettings(t *rapid.T) ([]config.Key, map[string]said) {
	var keys []config.Key
	says := map[string]said{}
	secrets := rapid.Permutation(someSecrets).Draw(t, "secrets")
	for i, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(someIDs[:4]), 1, 4, rapid.ID).Draw(t, "settings") {
		k, s := setting(id, secrets[i]), said{secret: secrets[i]}
		k.LimitTokens = rapid.Int64Range(0, 3).Draw(t, "limit") * 1000
		s.limit = new(k.LimitTokens)
		if rapid.Bool().Draw(t, "label?") {
			k.Label, k.LabelByRank, s.label = "theirs", false, new("theirs")
		}
		keys = append(keys, k)
		says[id] = s
	}
	return keys, says
}

// TestAnyHistory makes changes at random, by the API and by the settings, with restarts and a store that fails, and
// wants what is in force to be what the rules say.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys, says := drawSettings(t)
		h := newHouse(t, keys...)
		m := &model{settings: says, edits: map[string]said{}, revision: map[string]uint32{}, last: map[string]string{}, used: map[[2]string]int64{}}
		m.settle()
		m.agree(h)
		for i := range rapid.IntRange(1, 25).Draw(t, "steps") {
			m = step(t, h, m, i)
			m.agree(h)
		}
	})
}

// step makes one change and returns the model after it.
func step(t *rapid.T, h *house, m *model, i int) *model {
	id := rapid.SampledFrom(someIDs).Draw(t, "id")
	_, there := m.of(id)
	var change func() error          // what is asked of the roster
	var rule func(next *model) error // what comes of it
	switch op := rapid.SampledFrom([]string{"add", "add any", "change", "remove", "settings", "spend", "clear", "restart"}).Draw(t, "op"); op {
	case "add", "add any":
		given := id
		if op == "add any" {
			given, there, id = "", false, m.free()
		}
		p, s := drawPatch(t, said{added: true}, true)
		change = func() error {
			got, _, err := h.Add(t.Context(), given, p, admin)
			if err == nil && got != id {
				err = fmt.Errorf("added as %s, want %s", got, id)
			}
			return err
		}
		rule = func(next *model) error { next.edits[id] = s; return errorIf(there, roster.ErrExists) }
	case "change":
		p, s := drawPatch(t, m.edits[id], false)
		change = func() error { return second(h.Change(t.Context(), id, p, admin)) }
		rule = func(next *model) error { next.edits[id] = s; return errorIf(!there, roster.ErrNoKey) }
	case "remove":
		change = func() error { return second(h.Remove(t.Context(), id, admin)) }
		rule = func(next *model) error {
			delete(next.edits, id)
			if s, configured := next.settings[id]; configured {
				next.edits[id] = said{removed: s.secret}
			}
			return errorIf(!there, roster.ErrNoKey)
		}
	case "settings":
		keys, says := drawSettings(t)
		change = func() error {
			err := second(h.Configure(t.Context(), keys, audit.Entry{Who: audit.File}))
			if err == nil {
				h.settings = keys
			}
			return err
		}
		rule = func(next *model) error { next.settings = says; return nil }
	case "spend":
		if there {
			h.spend(i, protocol.Credential(id, m.revision[id]), 10)
			m.used[[2]string{id, m.last[id]}] += 10
		}
		return m
	case "clear":
		change = func() error { return second(h.ledger.Clear(t.Context(), id, admin)) }
		rule = func(next *model) error { next.revision[id]++; return errorIf(!there, ledger.ErrNoKey) }
	default:
		h.reopen()
		return m
	}
	next, want := m.after(rule)
	if rapid.IntRange(0, 4).Draw(t, "full?") == 0 {
		empty := h.fill()
		defer empty()
		next, want = m, orElse(want, errFull)
	}
	if err := change(); !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	return next
}

// free is the lowest number that no key has, nor one that the settings may bring back.
func (m *model) free() string {
	for n := 1; ; n++ {
		id := strconv.Itoa(n)
		_, there := m.of(id)
		if _, edited := m.edits[id]; !there && !edited {
			return id
		}
	}
}

func errorIf(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

func orElse(err, other error) error {
	if err == nil {
		return other
	}
	return err
}
