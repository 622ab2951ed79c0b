package roster

import (
	"encoding/hex"
	"slices"
	"strconv"

	"keywheel/shared/secret"
	"keywheel/xds/config"
)

// edit is what the API said of a key. Fields that are nil it said nothing of.
type edit struct {
	Added   bool   `json:"added,omitempty"`   // the API made it; the settings may have it too by now
	Removed string `json:"removed,omitempty"` // the fingerprint of the secret with which the settings' key was removed
	Box     string `json:"box,omitempty"`     // the secret, sealed

	Label         *string   `json:"label,omitempty"`
	Priority      *int      `json:"priority,omitempty"`
	Tier          *string   `json:"tier,omitempty"`
	Org           *string   `json:"org,omitempty"`
	LimitTokens   *int64    `json:"limit_tokens,omitempty"` // 0: no limit
	LimitRequests *int64    `json:"limit_requests,omitempty"`
	Disabled      *bool     `json:"disabled,omitempty"`
	Models        *[]string `json:"models,omitempty"`
	Thresholds    *[]int    `json:"thresholds,omitempty"`

	secret secret.Key // what is in Box
}

// set puts a value over what the settings say, and notes that it did.
func set[T any](to *T, value *T, name string, changed *[]string) {
	if value != nil {
		*to = *value
		*changed = append(*changed, name)
	}
}

// over is a key of the settings with the edit on top of it.
func (e edit) over(c config.Key) Key {
	k := Key{Key: c}
	set(&k.Label, e.Label, "label", &k.Changed)
	set(&k.Priority, e.Priority, "priority", &k.Changed)
	set(&k.Tier, e.Tier, "tier", &k.Changed)
	set(&k.Org, e.Org, "org", &k.Changed)
	set(&k.LimitTokens, e.LimitTokens, "limit_tokens", &k.Changed)
	set(&k.LimitRequests, e.LimitRequests, "limit_requests", &k.Changed)
	set(&k.Disabled, e.Disabled, "disabled", &k.Changed)
	set(&k.Models, e.Models, "models", &k.Changed)
	set(&k.Thresholds, e.Thresholds, "thresholds", &k.Changed)
	if e.Label != nil {
		k.LabelByRank = *e.Label == ""
	}
	if !e.secret.IsZero() {
		k.Secret = e.secret
		k.Changed = append(k.Changed, "secret")
	}
	slices.Sort(k.Changed)
	return k
}

// fingerprint tells a secret from any other, without giving it away to who has the store: keys are long and random.
func fingerprint(s secret.Key) string {
	hash := s.Hash()
	return hex.EncodeToString(hash[:])
}

// defaultPriority is a key's number, as for keys of the settings; 100 for IDs that are none.
func defaultPriority(id string) int {
	if n, err := strconv.Atoi(id); err == nil && n > 0 {
		return n
	}
	return 100
}
