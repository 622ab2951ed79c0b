package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/keyring"
	"keywheel/xds/ledger"
)

// memory keeps credentials as the account does on disk.
type memory struct {
	of   map[string]record
	fail error
}

type record struct {
	revision, base uint32
	hash           [32]byte
}

var _ keyring.Credentials = (*memory)(nil)

func (m *memory) Credential(id string) (uint32, uint32, [32]byte, bool) {
	r, ok := m.of[id]
	return r.revision, r.base, r.hash, ok
}

func (m *memory) SetCredential(id string, revision, base uint32, hash [32]byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.of[id] = record{revision, base, hash}
	return nil
}

// clear is what the account does when an operator clears a key.
func (m *memory) clear(id string) {
	r := m.of[id]
	r.revision++
	m.of[id] = r
}

func key(id, value string) config.Key {
	return config.Key{ID: id, Secret: secret.New(value), Label: "Label " + id, Priority: 1, Org: "key-" + id, Tier: "free", Thresholds: []int{75}}
}

func open(t *testing.T, m *memory, keys ...config.Key) *keyring.Keyring {
	t.Helper()
	k, err := keyring.New(keys, m)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRevisions(t *testing.T) {
	m := &memory{of: map[string]record{}}
	credential := func(value string) protocol.CredentialID { return open(t, m, key("1", value)).Credential("1") }
	steps := []struct {
		what  string
		value string
		clear bool
		want  protocol.CredentialID
		base  uint32
	}{
		{what: "first start", value: "gsk_a", want: "1.1", base: 1},
		{what: "the same secret", value: "gsk_a", want: "1.1", base: 1},
		{what: "another secret", value: "gsk_b", want: "1.2", base: 2},
		{what: "after a clear", value: "gsk_b", clear: true, want: "1.3", base: 2},
		{what: "the first secret again is a new one", value: "gsk_a", want: "1.4", base: 4},
	}
	for _, s := range steps {
		if s.clear {
			m.clear("1")
		}
		if got := credential(s.value); got != s.want || m.of["1"].base != s.base {
			t.Errorf("%s: credential %s from revision %d on, want %s from %d on", s.what, got, m.of["1"].base, s.want, s.base)
		}
	}
	open(t, m, key("2", "gsk_c")) // key 1 is removed, and comes back
	if got := credential("gsk_a"); got != "1.4" {
		t.Errorf("a key that comes back with its secret is %s, want 1.4", got)
	}
}

func TestClearWhileRunning(t *testing.T) {
	m := &memory{of: map[string]record{}}
	k := open(t, m, key("1", "gsk_a"), key("2", "gsk_b"))
	m.clear("2")
	secrets := k.Secrets()
	if len(secrets) != 2 || secrets["1.1"].Reveal() != "gsk_a" || secrets["2.2"].Reveal() != "gsk_b" {
		t.Errorf("credentials %v, want 1.1 and 2.2 with their secrets", secrets)
	}
}

func TestKeys(t *testing.T) {
	m := &memory{of: map[string]record{}}
	first := key("7", "gsk_a")
	first.LimitTokens, first.LimitRequests = 14400, 100
	k := open(t, m, first, key("2", "gsk_b"))
	want := []ledger.KeyConfig{
		{ID: "7", Label: "Label 7", Priority: 1, Rank: 0, Org: "key-7", Tier: "free", LimitTokens: 14400, LimitRequests: 100, Thresholds: []int{75}, SecretHash: secret.New("gsk_a").Hash()},
		{ID: "2", Label: "Label 2", Priority: 1, Rank: 1, Org: "key-2", Tier: "free", Thresholds: []int{75}, SecretHash: secret.New("gsk_b").Hash()},
	}
	if diff := cmp.Diff(want, k.Keys()); diff != "" {
		t.Error(diff)
	}
	if !k.Secret("3").IsZero() || k.Credential("3") != "" {
		t.Error("a key that is not there has a secret or a credential")
	}
}

func TestStoreFails(t *testing.T) {
	m := &memory{of: map[string]record{}, fail: errors.New("disk full")}
	k, err := keyring.New([]config.Key{key("1", "gsk_a")}, m)
	if k != nil || !errors.Is(err, m.fail) || strings.Contains(err.Error(), "gsk_") {
		t.Errorf("keyring %v, error %v; want none and the store's", k, err)
	}
}

// However keys come, change, are cleared and come back: a credential never names two secrets, and revisions only rise.
func TestCredentialNamesOneSecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &memory{of: map[string]record{}}
		named := map[protocol.CredentialID]string{}
		last := map[string]uint32{}
		for range rapid.IntRange(1, 12).Draw(t, "starts") {
			var keys []config.Key
			for id := range rapid.IntRange(1, 3).Draw(t, "keys") {
				keys = append(keys, key(fmt.Sprint(id+1), fmt.Sprint("gsk_", rapid.IntRange(0, 2).Draw(t, "secret"))))
			}
			if id := fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "cleared")); m.of[id].revision > 0 {
				m.clear(id)
			}
			k, err := keyring.New(keys, m)
			if err != nil {
				t.Fatal(err)
			}
			for credential, s := range k.Secrets() {
				if before, ok := named[credential]; ok && before != s.Reveal() {
					t.Fatalf("%s names two secrets", credential)
				}
				named[credential] = s.Reveal()
			}
			for id, r := range m.of {
				if r.revision < last[id] || r.base > r.revision {
					t.Fatalf("key %s: revision %d, base %d, after revision %d", id, r.revision, r.base, last[id])
				}
				last[id] = r.revision
			}
		}
	})
}
