// Package keyring holds the keys with their secrets, and gives each secret its place in the account.
//
// What is counted and learned is kept by credential: a key ID and a revision. A key whose secret is another than at the
// last start gets the next revision, so that the new secret starts at zero and with a clean name; the same secret keeps
// its own. Clearing a key, which also takes a revision, is the account's matter; the keyring asks for the revision
// whenever it names a credential.
package keyring

import (
	"fmt"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
)

// Credentials keeps which revision of a key is in force, for good.
type Credentials interface {
	// Credential returns the revision in force of a key, the revision with which its present secret began (base), and
	// that secret's hash. ok is false for a key that never was.
	Credential(keyID string) (revision, base uint32, hash [32]byte, ok bool)
	// SetCredential replaces them. It is durable on return; on an error nothing has changed.
	SetCredential(keyID string, revision, base uint32, hash [32]byte) error
}

// Keyring is the configured keys. It does not change after New and is safe for concurrent use if its Credentials are.
type Keyring struct {
	keys        []config.Key
	credentials Credentials
}

// New takes keys, in rank order, and sees to it that each secret has a revision of its own.
func New(keys []config.Key, credentials Credentials) (*Keyring, error) {
	for _, key := range keys {
		revision, base, hash, ok := credentials.Credential(key.ID)
		if ok && hash == key.Secret.Hash() && base > 0 && revision >= base {
			continue
		}
		next := max(revision, base) + 1
		if err := credentials.SetCredential(key.ID, next, next, key.Secret.Hash()); err != nil {
			return nil, fmt.Errorf("recording the secret of Groq Key %s: %w", key.ID, err)
		}
	}
	return &Keyring{keys: slices.Clone(keys), credentials: credentials}, nil
}

// Keys returns the keys without their secrets, in rank order.
func (k *Keyring) Keys() []ledger.KeyConfig {
	configs := make([]ledger.KeyConfig, len(k.keys))
	for rank, key := range k.keys {
		configs[rank] = ledger.KeyConfig{
			ID: key.ID, Label: key.Label, Priority: key.Priority, Rank: rank, Org: key.Org, Tier: key.Tier,
			LimitTokens: key.LimitTokens, LimitRequests: key.LimitRequests,
			Thresholds: slices.Clone(key.Thresholds), SecretHash: key.Secret.Hash(),
		}
	}
	return configs
}

// Secret returns a key's secret; zero for a key that is not there.
func (k *Keyring) Secret(keyID string) secret.Key {
	for _, key := range k.keys {
		if key.ID == keyID {
			return key.Secret
		}
	}
	return secret.Key{}
}

// Credential returns the name of a key's credential in force, "1.2"; empty for a key that is not there.
func (k *Keyring) Credential(keyID string) protocol.CredentialID {
	if k.Secret(keyID).IsZero() {
		return ""
	}
	revision, _, _, _ := k.credentials.Credential(keyID) // New saw to it that there is one
	return protocol.Credential(keyID, revision)
}

// Secrets returns the secret of every credential in force.
func (k *Keyring) Secrets() map[protocol.CredentialID]secret.Key {
	secrets := make(map[protocol.CredentialID]secret.Key, len(k.keys))
	for _, key := range k.keys {
		secrets[k.Credential(key.ID)] = key.Secret
	}
	return secrets
}
