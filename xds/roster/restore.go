package roster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"keywheel/xds/audit"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
)

// Restore puts a backup in the place of the account and of what the API changed of keys, and returns the generation with
// which filters know it. The settings stay as they are. On an error nothing has changed: it wraps ErrInvalid where the
// backup's keys do not fit the settings, ErrSealed where no master key opens their secrets, or is the account's.
func (r *Roster) Restore(ctx context.Context, account Restorer, records []store.Record, by audit.Entry) (generation int64, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	edits, err := readEdits(ledger.DocumentIn(records, document))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	if _, err := r.openSecrets(edits); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	keys, err := merge(r.configed, edits)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%w: no key would be left, as the backup has those removed that the settings have", ErrInvalid)
	}
	if err != nil {
		return 0, err
	}
	return r.commit(keys, edits, func(kept map[string][]byte) (int64, error) {
		return account.Restore(ctx, ledger.Restoration{Records: records, Keys: configs(keys), Documents: kept, Audit: by})
	})
}

// Restorer is the account that a backup takes the place of.
type Restorer interface {
	// Restore puts a backup in the account's place; on an error nothing has changed.
	Restore(ctx context.Context, r ledger.Restoration) (generation int64, err error)
}

// Keeper is an account that no roster is open on.
type Keeper interface {
	// Document returns what was kept under a name; nil if nothing was.
	Document(name string) []byte
	// Keep keeps documents with the audit's entry; on an error nothing has changed.
	Keep(ctx context.Context, documents map[string][]byte, by audit.Entry) error
}

// ForgetSealed takes every sealed secret out of an account that no roster is open on: the way out where the master key is
// lost. It returns the IDs of the keys whose secrets these were. All else that the API changed of them stays, for when
// the settings name a secret for them.
func ForgetSealed(ctx context.Context, account Keeper, by audit.Entry) (forgotten []string, err error) {
	edits, err := readEdits(account.Document(document))
	if err != nil {
		return nil, err
	}
	for id, e := range edits {
		if e.Box != "" {
			e.Box, e.Added = "", false
			edits[id] = e
			forgotten = append(forgotten, id)
		}
	}
	if len(forgotten) == 0 {
		return nil, nil
	}
	slices.Sort(forgotten)
	kept, err := json.Marshal(edits)
	if err != nil {
		return nil, err
	}
	by.What, by.Outcome, by.Fields = "forget sealed secrets", audit.Done, forgotten
	return forgotten, account.Keep(ctx, map[string][]byte{document: kept}, by)
}
