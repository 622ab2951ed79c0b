// Package roster holds the keys that are in force, with their secrets: those of the settings, as people changed them by
// the API, and those that they added.
//
// The rules are:
//   - What the settings say is the base. What the API changed of a key stays changed, whatever the settings say of it
//     later, until it is changed back.
//   - A change is in the account, in the store and in the audit in one commit, or nowhere.
//   - A secret that came by the API is stored sealed only. Without a master key it is refused.
//   - A key that was removed by the API stays away while the settings have the same secret for it; another brings it back.
//   - While Keywheel runs, one key at least is left.
package roster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/seal"
)

// Errors of changes. What wraps them says what to change.
var (
	ErrNoKey    = errors.New("there is no such key")
	ErrExists   = errors.New("there is such a key already")
	ErrNoMaster = errors.New("KEYWHEEL_MASTER_KEY is not set: a secret that comes by the API would be stored for everybody to read; " +
		"set it, or put the key into the settings")
	ErrInvalid = errors.New("the key cannot be so")
	ErrSealed  = errors.New("the secrets in the backup cannot be opened")
)

// Account is where keys are counted and changes are kept: the ledger.
type Account interface {
	// Reconfigure makes a change durable and returns the generation with which filters know it. On an error nothing has
	// changed.
	Reconfigure(ctx context.Context, c ledger.Change) (generation int64, err error)
	// Document returns what was kept under a name; nil if nothing was.
	Document(name string) []byte
	// Credential returns the revision in force of a key and its secret's hash.
	Credential(keyID string) (revision, base uint32, hash [32]byte, ok bool)
}

// Options are what a Roster is made of.
type Options struct {
	Account    Account
	Sealer     *seal.Sealer // nil: no secret can come by the API
	Configured []config.Key // in any order
	Log        *slog.Logger
}

// Roster is the keys in force. It is safe for concurrent use.
type Roster struct {
	account Account
	sealer  *seal.Sealer
	log     *slog.Logger

	changing sync.Mutex // held while a change is made; guards what follows
	configed []config.Key
	edits    map[string]edit // by key ID

	mu      sync.RWMutex // guards what follows
	keys    []Key        // in rank order
	ids     []string     // of the keys that the account has, or is about to have
	secrets map[[32]byte]secret.Key
}

// Key is one key in force.
type Key struct {
	config.Key
	Changed []string // names of what the API set, sorted
}

// document is the name under which edits are kept.
const document = "keys"

// Open reads what was changed earlier and puts the keys in force. The error says what keeps them from it; sealed secrets
// that no master key opens are one.
func Open(ctx context.Context, o Options) (*Roster, error) {
	r := &Roster{account: o.Account, sealer: o.Sealer, log: o.Log, secrets: map[[32]byte]secret.Key{}}
	var err error
	if r.edits, err = readEdits(o.Account.Document(document)); err != nil {
		return nil, err
	}
	resealed, err := r.openSecrets(r.edits)
	if err != nil {
		return nil, fmt.Errorf("%w; if it is lost, `keywheel keys forget-sealed` takes them out of the store", err)
	}
	r.configed = slices.Clone(o.Configured)
	if _, err = r.apply(ctx, r.edits, nil); err != nil {
		return nil, err
	}
	if resealed > 0 {
		r.log.Info("Secrets are sealed under the new master key", "secrets", resealed)
	}
	return r, nil
}

// readEdits reads what was kept of edits.
func readEdits(raw []byte) (map[string]edit, error) {
	edits := map[string]edit{}
	if raw == nil {
		return edits, nil
	}
	if err := json.Unmarshal(raw, &edits); err != nil {
		return nil, fmt.Errorf("reading the keys that were changed by the API: %w", err)
	}
	return edits, nil
}

// openSecrets opens every sealed secret of edits, and seals those anew that an older master key sealed. It returns how many
// these were.
func (r *Roster) openSecrets(edits map[string]edit) (resealed int, err error) {
	for id, e := range edits {
		if e.Box == "" {
			continue
		}
		if r.sealer == nil {
			return 0, fmt.Errorf("KEYWHEEL_MASTER_KEY: the secret of Groq Key %s is sealed in the store, and no master key is set; "+
				"set the one that sealed it", id)
		}
		plain, current, err := r.sealer.Open(purpose(id), e.Box)
		if err != nil {
			return 0, fmt.Errorf("KEYWHEEL_MASTER_KEY: the secret of Groq Key %s, sealed in the store, cannot be opened: %w; "+
				"set the master key that sealed it, behind a new one if need be: new,old", id, err)
		}
		e.secret = plain
		if !current {
			if e.Box, err = r.sealer.Seal(purpose(id), plain); err != nil {
				return 0, err
			}
			resealed++
		}
		edits[id] = e
	}
	return resealed, nil
}

// purpose is what the box of a key's secret is for.
func purpose(keyID string) string { return "groq key " + keyID }

// Configure puts keys of settings that were read anew in force.
func (r *Roster) Configure(ctx context.Context, keys []config.Key, by audit.Entry) (generation int64, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	if left, err := merge(keys, r.edits); err == nil && len(left) == 0 && len(r.Keys()) > 0 {
		return 0, fmt.Errorf("%w: no key would be left, as the API removed what these settings have; add another first", ErrInvalid)
	}
	old := r.configed
	r.configed = slices.Clone(keys)
	generation, err = r.apply(ctx, r.edits, &by)
	if err != nil {
		r.configed = old
	}
	return generation, err
}

// apply puts edits in force, on top of the settings. The caller holds changing. On an error nothing has changed.
func (r *Roster) apply(ctx context.Context, edits map[string]edit, by *audit.Entry) (generation int64, err error) {
	keys, err := merge(r.configed, edits)
	if err != nil {
		return 0, err
	}
	return r.commit(keys, edits, func(kept map[string][]byte) (int64, error) {
		return r.account.Reconfigure(ctx, ledger.Change{Keys: configs(keys), Documents: kept, Audit: by})
	})
}

// commit puts keys in force, which the settings and edits make, once the account took them and what is kept of the edits.
// The caller holds changing. On an error nothing has changed.
func (r *Roster) commit(keys []Key, edits map[string]edit, account func(kept map[string][]byte) (int64, error)) (generation int64, err error) {
	kept, err := json.Marshal(edits)
	if err != nil {
		return 0, err
	}
	// The account may name a new key or credential before it returns, so its secret is known before.
	old := r.Keys()
	r.hold(old, slices.Concat(old, keys))
	generation, err = account(map[string][]byte{document: kept})
	if err != nil {
		r.hold(old, old)
		return 0, err
	}
	r.edits = edits
	r.hold(keys, keys)
	return generation, nil
}

// hold takes over the keys in force, and those whose secrets may be asked for.
func (r *Roster) hold(keys, known []Key) {
	ids, secrets := make([]string, len(known)), map[[32]byte]secret.Key{}
	for i, k := range known {
		ids[i], secrets[k.Secret.Hash()] = k.ID, k.Secret
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.ids, r.secrets = keys, ids, secrets
}

// merge returns the keys in force, in rank order.
func merge(configured []config.Key, edits map[string]edit) ([]Key, error) {
	var keys []Key
	known := map[string]bool{}
	for _, c := range configured {
		known[c.ID] = true
		e := edits[c.ID]
		if e.Removed != "" && e.Removed == fingerprint(c.Secret) {
			continue
		}
		keys = append(keys, e.over(c))
	}
	for id, e := range edits {
		if e.Added && !known[id] {
			keys = append(keys, e.over(config.Key{
				ID: id, Priority: defaultPriority(id), Org: "key-" + id, Tier: config.TierFree, Thresholds: config.DefaultThresholds(), Source: config.SourceAPI,
			}))
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	seen := map[[32]byte]string{}
	for rank := range keys {
		k := &keys[rank]
		if k.Label == "" || k.LabelByRank {
			k.Label, k.LabelByRank = quota.RankLabel(rank), true
		}
		if other, twice := seen[k.Secret.Hash()]; twice {
			return nil, fmt.Errorf("%w: Groq Key %s has the same secret as Groq Key %s; give one of them another, or leave it out", ErrInvalid, k.ID, other)
		}
		seen[k.Secret.Hash()] = k.ID
	}
	return keys, nil
}

// configs are the keys as the account knows them.
func configs(keys []Key) []ledger.KeyConfig {
	out := make([]ledger.KeyConfig, len(keys))
	for rank, k := range keys {
		out[rank] = ledger.KeyConfig{
			ID: k.ID, Label: k.Label, Priority: k.Priority, Rank: rank, Org: k.Org, Tier: k.Tier, Disabled: k.Disabled,
			LimitTokens: k.LimitTokens, LimitRequests: k.LimitRequests, Models: slices.Clone(k.Models),
			Thresholds: slices.Clone(k.Thresholds), SecretHash: k.Secret.Hash(),
		}
	}
	return out
}

// Keys returns the keys in force, in rank order.
func (r *Roster) Keys() []Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.keys)
}

// Secret returns a key's secret; zero for a key that is not there.
func (r *Roster) Secret(keyID string) secret.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.keys {
		if k.ID == keyID {
			return k.Secret
		}
	}
	return secret.Key{}
}

// Secrets returns the secret of every credential that is in force in the account at this moment.
func (r *Roster) Secrets() map[protocol.CredentialID]secret.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := map[protocol.CredentialID]secret.Key{}
	for _, id := range r.ids {
		revision, _, hash, ok := r.account.Credential(id) // both at once: a new credential is never given an old secret
		if s := r.secrets[hash]; ok && !s.IsZero() {
			out[protocol.Credential(id, revision)] = s
		}
	}
	return out
}
