package roster_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
)

// nth is the secret that a key's nth revision has in these tests.
func nth(id string, revision uint32) secret.Key {
	return hidden(fmt.Sprintf("Key%sRevision%d", id, revision))
}

// rightSecrets wants every credential to have the secret that was made for it, and none that is in force to lack one.
func rightSecrets(t *testing.T, h *house) {
	before := h.ledger.Assignment()
	secrets := h.Secrets()
	after := h.ledger.Assignment()
	for credential, s := range secrets {
		id, revision, ok := protocol.SplitCredential(credential)
		if !ok || !s.Equal(nth(id, revision)) {
			t.Errorf("credential %s has another's secret", credential)
		}
	}
	if before.Generation != after.Generation {
		return // some credential was replaced between the looks
	}
	for _, k := range before.Keys {
		if secrets[k.Credential].IsZero() {
			t.Errorf("credential %s is in force, and its secret is not there", k.Credential)
		}
	}
}

// TestSecretsWhileTheyChange replaces secrets, adds and removes keys, by the API and by the settings, with a store that
// fails now and then, while others ask for the secrets.
func TestSecretsWhileTheyChange(t *testing.T) {
	const rounds = 40
	settings := func(revision uint32) []config.Key {
		first, second := setting("1", ""), setting("2", "")
		first.Secret, second.Secret = nth("1", revision), nth("2", 1)
		return []config.Key{first, second}
	}
	h := newHouse(t, settings(1)...)
	var commits atomic.Int64
	h.store.Before = func([]store.Record) error {
		if commits.Add(1)%5 == 0 {
			return errFull
		}
		return nil
	}
	insist := func(change func() error) {
		for {
			err := change()
			if err == nil {
				return
			}
			if !errors.Is(err, ledger.ErrUnavailable) {
				t.Error(err)
				return
			}
		}
	}
	var changing, asking sync.WaitGroup
	changing.Go(func() { // key 1 by the settings
		for n := range uint32(rounds) {
			insist(func() error { return second(h.Configure(t.Context(), settings(n+2), audit.Entry{Who: audit.File})) })
		}
	})
	changing.Go(func() { // key 2 by the API
		for n := range uint32(rounds) {
			insist(func() error { return second(h.Change(t.Context(), "2", roster.Patch{Secret: nth("2", n+2)}, admin)) })
		}
	})
	changing.Go(func() { // others come and go
		for n := range uint32(rounds) {
			id := strconv.Itoa(10 + int(n%3))
			insist(func() error {
				return third(h.Add(t.Context(), id, roster.Patch{Secret: nth(id, n/3+1)}, admin))
			})
			insist(func() error { return second(h.Remove(t.Context(), id, admin)) })
		}
	})
	over := make(chan struct{})
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					rightSecrets(t, h)
				}
			}
		})
	}
	changing.Wait()
	close(over)
	asking.Wait()
	rightSecrets(t, h)
	h.store.Before = nil
	h.settings = settings(rounds + 1)
	h.reopen()
	rightSecrets(t, h)
	if got := h.ids(); got != "1 2" {
		t.Errorf("in force: %s", got)
	}
	for _, id := range strings.Fields(h.ids()) {
		if !h.Secret(id).Equal(nth(id, rounds+1)) {
			t.Errorf("key %s has not its last secret", id)
		}
	}
}
