package admin_test

import (
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

// keyring is a roster with its own account and store: what changes keys in these tests.
type keyring struct {
	*roster.Roster
	ledger *ledger.Ledger
}

// sealer is shared by all tests, as deriving its key takes a moment.
var sealer = sync.OnceValues(func() (*seal.Sealer, error) { return seal.New([]secret.Key{secret.New("a master key")}) })

// keyOf is the secret of a key of the settings.
func keyOf(id string) string { return "gsk_CANARYsetting" + id + "5vLq0Zb7dW1nRk8s" }

// newKeyring has three keys of the settings, and a store that fails when failing says so. Without sealed, no secret can
// come by the API.
func newKeyring(t *testing.T, sealed bool, failing func() error) *keyring {
	t.Helper()
	k := &keyring{}
	options := roster.Options{Log: slog.New(slog.DiscardHandler)}
	for i, label := range []string{"Primary", "<Backup>", "Emergency"} {
		id := string(rune('1' + i))
		options.Configured = append(options.Configured, config.Key{
			ID: id, Label: label, Priority: i + 1, Org: config.OwnOrg(id), Tier: config.TierFree, LimitTokens: 14400, Thresholds: config.DefaultThresholds(),
			Source: []config.Source{config.SourceEnvironment, config.SourceFile, config.SourceEnvironment}[i], Secret: secret.New(keyOf(id)),
		})
	}
	faulty := &storetest.Faulty{Store: storetest.NewMemory()}
	l, err := ledger.Open(t.Context(), ledger.Options{Store: faulty, Now: func() time.Time { return afternoon }})
	if err != nil {
		t.Fatal(err)
	}
	options.Account, k.ledger = l, l
	if sealed {
		if options.Sealer, err = sealer(); err != nil {
			t.Fatal(err)
		}
	}
	if k.Roster, err = roster.Open(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	faulty.Before = func([]store.Record) error { return failing() }
	return k
}

// newAccount is a fixture whose ledger is the account that its keys are in, so that it shows what is changed.
func newAccount(t *testing.T, changes ...func(*admin.Options)) *fixture {
	t.Helper()
	f := newFixture(t, changes...)
	f.options.Ledger = f.keys.ledger
	f.handler = admin.New(f.options)
	return f
}

// recorder is one that streams can be written to.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetWriteDeadline(time.Time) error { return nil }

// ids are the keys that there are, in rank order.
func (k *keyring) ids() []string {
	var ids []string
	for _, key := range k.Keys() {
		ids = append(ids, key.ID)
	}
	return slices.Clip(ids)
}

// byTest is who changes keys without the API.
var byTest = audit.Entry{Who: audit.Admin}

func patchOf(value string) roster.Patch { return roster.Patch{Secret: secret.New(value)} }
