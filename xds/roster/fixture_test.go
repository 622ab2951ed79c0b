package roster_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

// tb is what both tests and properties have.
type tb interface {
	Helper()
	Context() context.Context
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// house is a store, with a ledger and a roster on what it has.
type house struct {
	tb
	*roster.Roster
	memory   *storetest.Memory
	store    *storetest.Faulty
	ledger   *ledger.Ledger
	sealer   *seal.Sealer // nil: no master key
	settings []config.Key
	log      bytes.Buffer
}

// today is the day of every test.
var today = time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)

// admin is who makes the changes.
var admin = audit.Entry{Who: audit.Admin, From: "127.0.0.1"}

// masters has a sealer for each set of master keys: deriving takes a moment, so tests share them.
var masters = struct {
	mu   sync.Mutex
	made map[string]*seal.Sealer
}{made: map[string]*seal.Sealer{}}

// sealerOf returns a sealer of master keys, the first of which seals.
func sealerOf(t tb, names ...string) *seal.Sealer {
	t.Helper()
	masters.mu.Lock()
	defer masters.mu.Unlock()
	all := strings.Join(names, ",")
	if masters.made[all] == nil {
		var keys []secret.Key
		for _, n := range names {
			keys = append(keys, secret.New("master key "+n))
		}
		s, err := seal.New(keys)
		if err != nil {
			t.Fatal(err)
		}
		masters.made[all] = s
	}
	return masters.made[all]
}

// text is the secret of a name, as it is written; hidden is the same as it is kept.
func text(name string) string { return "gsk_CANARY" + name + "5vLq0Zb7dW1nRk8sXy2T" }

func hidden(name string) secret.Key { return secret.New(text(name)) }

// setting is a key of the settings, whose secret goes by a name.
func setting(id, name string) config.Key {
	n := int(id[0] - '0')
	return config.Key{
		ID: id, Secret: hidden(name), Priority: n, Org: config.OwnOrg(id), Tier: config.TierFree, LimitTokens: 14400,
		Thresholds: config.DefaultThresholds(), Source: config.SourceEnvironment, LabelByRank: true,
	}
}

// newHouse is a house with a master key and these keys of the settings; without any, 1 to 3, whose secrets go by A, B and C.
func newHouse(t tb, keys ...config.Key) *house {
	t.Helper()
	if len(keys) == 0 {
		keys = []config.Key{setting("1", "A"), setting("2", "B"), setting("3", "C")}
	}
	h := &house{tb: t, memory: storetest.NewMemory(), sealer: sealerOf(t, "one"), settings: keys}
	h.store = &storetest.Faulty{Store: h.memory}
	h.reopen()
	return h
}

// reopen drops ledger and roster, as a crash does, and opens others on what the store has.
func (h *house) reopen() {
	h.Helper()
	if err := h.tryReopen(); err != nil {
		h.Fatal(err)
	}
}

func (h *house) tryReopen() error {
	h.Helper()
	h.memory.Open()
	l, err := ledger.Open(h.Context(), ledger.Options{Store: h.store, Now: func() time.Time { return today }})
	if err != nil {
		h.Fatal(err)
	}
	r, err := roster.Open(h.Context(), roster.Options{Account: l, Sealer: h.sealer, Configured: h.settings, Log: slog.New(slog.NewTextHandler(&h.log, nil))})
	if err != nil {
		if r != nil {
			h.Errorf("an error and a roster")
		}
		return err
	}
	h.ledger, h.Roster = l, r
	return nil
}

// done wants a change to be made.
func (h *house) done(generation int64, err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
	if now := h.ledger.Assignment().Generation; generation != now {
		h.Errorf("generation %d, want %d", generation, now)
	}
}

// added wants a key to be added, and returns its ID.
func (h *house) added(id string, p roster.Patch) string {
	h.Helper()
	id, generation, err := h.Add(h.Context(), id, p, admin)
	h.done(generation, err)
	return id
}

// changed wants a key to be changed, and removed a key to be removed.
func (h *house) changed(id string, p roster.Patch) {
	h.Helper()
	h.done(h.Change(h.Context(), id, p, admin))
}

func (h *house) removed(id string) {
	h.Helper()
	h.done(h.Remove(h.Context(), id, admin))
}

// configured wants other settings to be in force.
func (h *house) configured(keys ...config.Key) {
	h.Helper()
	h.settings = keys
	h.done(h.Configure(h.Context(), keys, audit.Entry{Who: audit.File, What: "settings", Outcome: audit.Done}))
}

// key is a key in force.
func (h *house) key(id string) roster.Key {
	h.Helper()
	for _, k := range h.Keys() {
		if k.ID == id {
			return k
		}
	}
	h.Fatalf("there is no key %s", id)
	return roster.Key{}
}

// ids are the keys in force, in rank order: "1 2 3".
func (h *house) ids() string {
	var ids []string
	for _, k := range h.Keys() {
		ids = append(ids, k.ID)
	}
	return strings.Join(ids, " ")
}

// inForce is the credential in force of a key, and wants its secret to be the one of a name.
func (h *house) inForce(id, name string) protocol.CredentialID {
	h.Helper()
	revision, _, hash, ok := h.ledger.Credential(id)
	credential := protocol.Credential(id, revision)
	if !ok || hash != hidden(name).Hash() {
		h.Errorf("credential %s has not the secret %s", credential, name)
	}
	if !h.Secret(id).Equal(hidden(name)) || !h.Secrets()[credential].Equal(hidden(name)) {
		h.Errorf("the secret of %s is not %s", credential, name)
	}
	return credential
}

// uses wants tokens of a key today.
func (h *house) uses(id string, tokens int64) {
	h.Helper()
	for _, k := range h.ledger.View().Keys {
		if k.ID == id && k.Used == tokens {
			return
		}
	}
	h.Errorf("key %s has not used %d tokens", id, tokens)
}

// spend reports use of a credential, by an Envoy of its own.
func (h *house) spend(incarnation int, credential protocol.CredentialID, tokens int64) {
	h.Helper()
	_, err := h.ledger.Apply(h.Context(), ledger.Peer{}, &protocol.Report{
		Version: protocol.Version, Node: "edge", Incarnation: fmt.Sprintf("019a9700-0000-7000-8000-%012d", incarnation), Seq: 1, Epoch: h.ledger.Assignment().Epoch,
		NowMS: today.UnixMilli(), Windows: []protocol.WindowUsage{{Window: quota.WindowAt(today).String(), Credentials: []protocol.CredentialUsage{{
			Credential: credential, Requests: 1, Models: []protocol.ModelUsage{{Model: "llama-3.3-70b-versatile", Completion: tokens, Total: tokens}},
		}}}},
	})
	if err != nil {
		h.Fatal(err)
	}
}

// errFull is what a store that is full says.
var errFull = errors.New("no space left on device")

// fill makes the store refuse everything until the function that it returns is called.
func (h *house) fill() (empty func()) {
	h.store.Before = func([]store.Record) error { return errFull }
	return func() { h.store.Before = nil }
}

// picture is everything that a change may touch.
type picture struct {
	Keys       []roster.Key
	Secrets    map[protocol.CredentialID]string // digests
	Assignment protocol.Assignment
	View       ledger.View
	Audits     []audit.Entry
	Document   string
	Records    []store.Record
}

// look takes a picture.
func (h *house) look() picture {
	p := picture{
		Keys: h.Keys(), Secrets: map[protocol.CredentialID]string{}, Assignment: h.ledger.Assignment(), View: h.ledger.View(), Audits: h.ledger.Audits(1000),
		Document: string(h.ledger.Document("keys")), Records: h.memory.Records(),
	}
	p.View.StoreError = ""
	for id, s := range h.Secrets() {
		sum := s.Hash()
		p.Secrets[id] = hex.EncodeToString(sum[:])
	}
	return p
}

// unchanged wants everything to be as it was.
func (h *house) unchanged(before picture) {
	h.Helper()
	if diff := cmp.Diff(before, h.look(), cmp.Comparer(secret.Key.Equal)); diff != "" {
		h.Errorf("something was changed (-before +after):\n%s", diff)
	}
}

// writings are the ways in which a secret may be written; of base64 what does not depend on its neighbours.
func writings(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	var percent, unicode strings.Builder
	for _, c := range []byte(secret) {
		fmt.Fprintf(&percent, "%%%02X", c)
		fmt.Fprintf(&unicode, `\u%04x`, c)
	}
	all = append(all, percent.String(), unicode.String())
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			encoded := e.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			all = append(all, encoded[(before*8+5)/6:(before+len(secret))*8/6])
		}
	}
	return all
}

// leakless wants no secret of the names in data, however it is written.
func leakless(t tb, where, data string, names ...string) {
	t.Helper()
	if data == "" {
		t.Errorf("%s is empty: nothing was looked at", where)
	}
	for _, name := range names {
		for form, w := range writings(text(name)) {
			if strings.Contains(data, w) {
				t.Errorf("%s holds the secret %s in writing %d", where, name, form)
			}
		}
	}
}

// TestLeaklessFinds shows that the check for leaks finds each writing, whatever stands beside it.
func TestLeaklessFinds(t *testing.T) {
	plain := text("A")
	for name, data := range map[string]string{
		"plain": plain, "JSON": `{"secret":"` + plain + `"}`, "hex": hex.EncodeToString([]byte("x" + plain)),
		"base64": base64.StdEncoding.EncodeToString([]byte("x" + plain + "yy")), "base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte("xyz" + plain)),
	} {
		found := false
		for _, w := range writings(plain) {
			found = found || strings.Contains(data, w)
		}
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
}
