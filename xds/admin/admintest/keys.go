package admintest

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
	"keywheel/xds/roster"
	"keywheel/xds/seal"
)

// Keys can be changed. Their account and store are their own, in memory.
type Keys struct {
	*roster.Roster
	Ledger *ledger.Ledger

	memory  *storetest.Memory
	options KeysOptions
}

// KeysOptions are what Keys are made of.
type KeysOptions struct {
	Configured []config.Key // by the settings
	NoMaster   bool         // there is no master key: no secret can come by the API
	Now        time.Time    // at which time stands still
	Failing    func() error // why the store takes nothing; nil, or nil from it: it works
}

// master is shared by all tests, as deriving its key takes a moment.
var master = sync.OnceValues(func() (*seal.Sealer, error) { return seal.New([]secret.Key{secret.New("a master key")}) })

// NewKeys returns keys that are in force.
func NewKeys(t testing.TB, o KeysOptions) *Keys {
	t.Helper()
	return openKeys(t, storetest.NewMemory(), o)
}

func openKeys(t testing.TB, memory *storetest.Memory, o KeysOptions) *Keys {
	t.Helper()
	faulty := &storetest.Faulty{Store: memory}
	l, err := ledger.Open(t.Context(), ledger.Options{Store: faulty, Now: func() time.Time { return o.Now }})
	if err != nil {
		t.Fatal(err)
	}
	options := roster.Options{Account: l, Configured: o.Configured, Log: slog.New(slog.DiscardHandler)}
	if !o.NoMaster {
		if options.Sealer, err = master(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := roster.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if o.Failing != nil {
		faulty.Before = func([]store.Record) error { return o.Failing() }
	}
	return &Keys{Roster: r, Ledger: l, memory: memory, options: o}
}

// Stored is all that the store has.
func (k *Keys) Stored() []store.Record { return k.memory.Records() }

// Reopened are the keys as they are after a restart.
func (k *Keys) Reopened(t testing.TB) *Keys {
	t.Helper()
	return openKeys(t, k.memory.Open(), k.options)
}
