package cli_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

// kept is a control plane's account and keys over a real file.
type kept struct {
	store  *bolt.Store
	ledger *ledger.Ledger
	roster *roster.Roster
}

// openStore opens the file at path, with key 1 of the settings and, where there is none yet, key 2 added by the API.
func openStore(path string) (*kept, error) {
	ctx := context.Background()
	file, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return nil, err
	}
	k := &kept{store: file}
	if k.ledger, err = ledger.Open(ctx, ledger.Options{Store: file, Now: func() time.Time { return at(14, 0) }}); err != nil {
		return nil, err
	}
	sealer, err := seal.New([]secret.Key{secret.New("a master key of these tests")})
	if err != nil {
		return nil, err
	}
	k.roster, err = roster.Open(ctx, roster.Options{
		Account: k.ledger, Sealer: sealer, Log: slog.New(slog.DiscardHandler),
		Configured: []config.Key{{ID: "1", Priority: 1, Org: "one", Secret: secret.New("gsk_CANARYone")}},
	})
	if err != nil || len(k.roster.Keys()) == 2 {
		return k, err
	}
	_, _, err = k.roster.Add(ctx, "2", roster.Patch{Secret: secret.New("gsk_CANARYtwo")}, audit.Entry{})
	return k, err
}

// vaulted is a control plane that makes and restores backups.
func vaulted(t *testing.T) http.Handler {
	t.Helper()
	k, err := openStore(filepath.Join(t.TempDir(), "keywheel.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.ledger.Close() })
	return admin.New(admin.Options{
		Ledger: k.ledger, Roster: k.roster, Token: secret.New(token), ReadToken: secret.New(readToken),
		Vault: backup.NewLive(backup.Live{
			Store: k.store, Audit: k.ledger.Audit, Now: func() time.Time { return at(14, 0) },
			Restore: func(ctx context.Context, records []store.Record, by audit.Entry) (int64, error) {
				return k.roster.Restore(ctx, k.ledger, records, by)
			},
		}),
	})
}

// makeStore makes a store, as a Keywheel that has stopped leaves it: store FILE. With ! the store stays open, as that of
// one that runs.
func makeStore(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: store FILE")
	}
	k, err := openStore(ts.MkAbs(args[0]))
	ts.Check(err)
	if neg {
		ts.Defer(func() { _ = k.ledger.Close() })
		return
	}
	ts.Check(k.ledger.Close())
}
