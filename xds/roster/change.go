package roster

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
)

// Patch is what is to change of a key. Fields that are nil, and a zero Secret, stay as they are.
type Patch struct {
	Label         *string // empty: named by its rank
	Priority      *int
	Tier          *string
	Org           *string // empty: an organization of its own
	LimitTokens   *int64  // a day; 0: no limit
	LimitRequests *int64
	Disabled      *bool
	Models        *[]string // that it may be used for; empty: every model
	Thresholds    *[]int    // percent
	Secret        secret.Key
}

// fields are the names of what the patch sets.
func (p *Patch) fields() []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"label", p.Label != nil}, {"priority", p.Priority != nil}, {"tier", p.Tier != nil}, {"org", p.Org != nil},
		{"limit_tokens", p.LimitTokens != nil}, {"limit_requests", p.LimitRequests != nil}, {"disabled", p.Disabled != nil},
		{"models", p.Models != nil}, {"thresholds", p.Thresholds != nil}, {"secret", !p.Secret.IsZero()},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// check says what keeps the patch from being made.
func (p *Patch) check() error {
	wrong := ""
	text := func(what string, s *string) {
		if s != nil && *s != "" && wrong == "" {
			if why := config.CheckText(*s); why != "" {
				wrong = what + ": " + why
			}
		}
	}
	text("label", p.Label)
	text("org", p.Org)
	switch {
	case wrong != "":
	case p.Priority != nil && (*p.Priority < 1 || *p.Priority > config.MaxPriority):
		wrong = fmt.Sprintf("priority is a number from 1 to %d", config.MaxPriority)
	case p.Tier != nil && *p.Tier != config.TierFree && *p.Tier != config.TierPaid:
		wrong = "tier is free or paid"
	case p.LimitTokens != nil && (*p.LimitTokens < 0 || *p.LimitTokens > config.MaxCount):
		wrong = "limit_tokens is a number above 0, or null for no limit"
	case p.LimitRequests != nil && (*p.LimitRequests < 0 || *p.LimitRequests > config.MaxCount):
		wrong = "limit_requests is a number above 0, or null for no limit"
	case p.Thresholds != nil && !config.ValidThresholds(*p.Thresholds):
		wrong = "thresholds are different whole percentages from 1 to 100"
	case p.Models != nil && config.CheckModels(*p.Models) != "":
		wrong = "models: " + config.CheckModels(*p.Models)
	case !p.Secret.IsZero():
		if why := config.CheckSecret(p.Secret.Reveal()); why != "" {
			wrong = "secret: " + why
		}
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

// onto puts the patch on an edit.
func (r *Roster) onto(e edit, keyID string, p *Patch) (edit, error) {
	for _, set := range []func(){
		func() { replace(&e.Label, p.Label) }, func() { replace(&e.Priority, p.Priority) }, func() { replace(&e.Tier, p.Tier) },
		func() { replace(&e.Org, p.Org) }, func() { replace(&e.LimitTokens, p.LimitTokens) }, func() { replace(&e.LimitRequests, p.LimitRequests) },
		func() { replace(&e.Disabled, p.Disabled) }, func() { replace(&e.Models, p.Models) }, func() { replace(&e.Thresholds, p.Thresholds) },
	} {
		set()
	}
	if e.Org != nil && *e.Org == "" {
		own := config.OwnOrg(keyID)
		e.Org = &own
	}
	if e.Thresholds != nil {
		sorted := slices.Sorted(slices.Values(*e.Thresholds))
		e.Thresholds = &sorted
	}
	if p.Secret.IsZero() {
		return e, nil
	}
	if r.sealer == nil {
		return e, ErrNoMaster
	}
	box, err := r.sealer.Seal(purpose(keyID), p.Secret)
	if err != nil {
		return e, err
	}
	e.Box, e.secret = box, p.Secret
	return e, nil
}

func replace[T any](to **T, value *T) {
	if value != nil {
		*to = value
	}
}

// Add adds a key; an empty ID is the lowest number that is free. It returns the ID, and the generation with which
// filters know it.
func (r *Roster) Add(ctx context.Context, id string, p Patch, by audit.Entry) (newID string, generation int64, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	if p.Secret.IsZero() {
		return "", 0, fmt.Errorf("%w: a new key needs its secret", ErrInvalid)
	}
	switch {
	case id == "":
		id = r.freeID()
	case !validID(id):
		return "", 0, fmt.Errorf("%w: its ID is at most 32 letters, digits, - and _, and no secret", ErrInvalid)
	case r.has(id):
		return "", 0, fmt.Errorf("%w: Groq Key %s", ErrExists, id)
	}
	by.What, by.Key, by.Fields = "add key", id, p.fields()
	generation, err = r.change(ctx, id, edit{Added: true}, &p, by)
	return id, generation, err
}

// Change changes a key.
func (r *Roster) Change(ctx context.Context, id string, p Patch, by audit.Entry) (generation int64, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	if !r.has(id) {
		return 0, ErrNoKey
	}
	by.What, by.Key, by.Fields = "change key", id, p.fields()
	return r.change(ctx, id, r.edits[id], &p, by)
}

// change puts a patch of a key in force.
func (r *Roster) change(ctx context.Context, id string, e edit, p *Patch, by audit.Entry) (int64, error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	e, err := r.onto(e, id, p)
	if err != nil {
		return 0, err
	}
	by.Outcome = audit.Done
	edits := maps.Clone(r.edits)
	edits[id] = e
	return r.apply(ctx, edits, &by)
}

// Remove removes a key. What it spent stays in the account, and calls in flight are still charged to it.
func (r *Roster) Remove(ctx context.Context, id string, by audit.Entry) (generation int64, err error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	if !r.has(id) {
		return 0, ErrNoKey
	}
	if len(r.Keys()) == 1 {
		return 0, fmt.Errorf("%w: it is the only key; disable it instead, or add another first", ErrInvalid)
	}
	edits := maps.Clone(r.edits)
	delete(edits, id)
	for _, c := range r.configed {
		if c.ID == id {
			edits[id] = edit{Removed: fingerprint(c.Secret)}
		}
	}
	by.What, by.Key, by.Outcome = "remove key", id, audit.Done
	return r.apply(ctx, edits, &by)
}

// has says whether a key is in force.
func (r *Roster) has(id string) bool {
	return slices.ContainsFunc(r.Keys(), func(k Key) bool { return k.ID == id })
}

// idForm is what a key's ID may be. It stands in addresses, log lines and headers, so a secret in its place is refused.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func validID(id string) bool {
	return idForm.MatchString(id) && !strings.Contains(strings.ToLower(id), "gsk_")
}

// freeID is the lowest number that no key has, nor one that the settings may bring back.
func (r *Roster) freeID() string {
	for n := 1; ; n++ {
		id := strconv.Itoa(n)
		_, edited := r.edits[id]
		if !edited && !r.has(id) {
			return id
		}
	}
}
