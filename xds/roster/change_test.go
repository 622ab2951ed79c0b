package roster_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
)

// all sets every field.
func all(secret string) roster.Patch {
	return roster.Patch{
		Label: new("Team B"), Priority: new(7), Tier: new("paid"), Org: new("acme"), LimitTokens: new(int64(500)), LimitRequests: new(int64(60)),
		Disabled: new(true), Models: new([]string{"openai/gpt-oss-120b"}), Thresholds: new([]int{90, 50}), Secret: hidden(secret),
	}
}

// allOf is what a key is that has all.
func allOf(id, secret string) roster.Key {
	return roster.Key{
		Key: config.Key{
			ID: id, Secret: hidden(secret), Label: "Team B", Priority: 7, Tier: "paid", Org: "acme", LimitTokens: 500, LimitRequests: 60, Disabled: true,
			Models: []string{"openai/gpt-oss-120b"}, Thresholds: []int{50, 90}, Source: config.SourceEnvironment,
		},
		Changed: []string{"disabled", "label", "limit_requests", "limit_tokens", "models", "org", "priority", "secret", "thresholds", "tier"},
	}
}

var sameKeys = cmp.Options{cmp.Comparer(secret.Key.Equal), cmpopts.EquateEmpty()}

func TestAdd(t *testing.T) {
	h := newHouse(t)
	if id := h.added("", roster.Patch{Secret: hidden("D")}); id != "4" {
		t.Errorf("the first free number is %s", id)
	}
	want := roster.Key{
		Key: config.Key{
			ID: "4", Secret: hidden("D"), Label: quota.RankLabel(3), LabelByRank: true, Priority: 4, Tier: config.TierFree, Org: "key-4",
			Thresholds: []int{75, 90, 100}, Source: config.SourceAPI,
		},
		Changed: []string{"secret"},
	}
	if diff := cmp.Diff(want, h.key("4"), sameKeys); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	h.inForce("4", "D")
	h.added("team-b", all("E"))
	want = allOf("team-b", "E")
	want.Source = config.SourceAPI
	if diff := cmp.Diff(want, h.key("team-b"), sameKeys); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if id := h.added("", roster.Patch{Secret: hidden("F")}); id != "5" {
		t.Errorf("the next free number is %s", id)
	}
	if got := h.ids(); got != "1 2 3 4 5 team-b" {
		t.Errorf("in rank order: %s", got)
	}
	h.reopen()
	if got := h.ids(); got != "1 2 3 4 5 team-b" {
		t.Errorf("after a restart: %s", got)
	}
	if diff := cmp.Diff(want, h.key("team-b"), sameKeys); diff != "" {
		t.Errorf("after a restart: -want +got:\n%s", diff)
	}
	h.inForce("4", "D")
}

// TestTheAccountKnowsTheKeys wants the account to have each field, and filters to be told.
func TestTheAccountKnowsTheKeys(t *testing.T) {
	h := newHouse(t)
	h.changed("2", all("E"))
	want := ledger.KeyConfig{
		ID: "2", Label: "Team B", Priority: 7, Rank: 2, Org: "acme", Tier: "paid", Disabled: true, LimitTokens: 500, LimitRequests: 60,
		Thresholds: []int{50, 90}, Models: []string{"openai/gpt-oss-120b"}, SecretHash: hidden("E").Hash(),
	}
	view := h.ledger.View()
	if diff := cmp.Diff(want, view.Keys[2].KeyConfig); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if view.Keys[0].Label != "Primary" || view.Keys[1].ID != "3" || view.Keys[1].Label != "Backup" {
		t.Errorf("the others go by their new rank: %q, %q", view.Keys[0].Label, view.Keys[1].Label)
	}
	if got := h.ledger.Assignment().Keys[2]; got.Credential != "2.2" || !slices.Equal(got.Models, want.Models) {
		t.Errorf("filters are told %+v", got)
	}
}

func TestChangeFieldByField(t *testing.T) {
	for field, c := range map[string]struct {
		patch roster.Patch
		want  func(*config.Key)
	}{
		"label":          {roster.Patch{Label: new("Team B")}, func(k *config.Key) { k.Label, k.LabelByRank = "Team B", false }},
		"priority":       {roster.Patch{Priority: new(9)}, func(k *config.Key) { k.Priority, k.Label = 9, "Emergency" }},
		"tier":           {roster.Patch{Tier: new("paid")}, func(k *config.Key) { k.Tier = "paid" }},
		"org":            {roster.Patch{Org: new("acme")}, func(k *config.Key) { k.Org = "acme" }},
		"limit_tokens":   {roster.Patch{LimitTokens: new(int64(0))}, func(k *config.Key) { k.LimitTokens = 0 }},
		"limit_requests": {roster.Patch{LimitRequests: new(int64(8))}, func(k *config.Key) { k.LimitRequests = 8 }},
		"disabled":       {roster.Patch{Disabled: new(true)}, func(k *config.Key) { k.Disabled = true }},
		"models":         {roster.Patch{Models: new([]string{"a", "b"})}, func(k *config.Key) { k.Models = []string{"a", "b"} }},
		"thresholds":     {roster.Patch{Thresholds: new([]int{80})}, func(k *config.Key) { k.Thresholds = []int{80} }},
		"secret":         {roster.Patch{Secret: hidden("E")}, func(k *config.Key) { k.Secret = hidden("E") }},
	} {
		h := newHouse(t)
		want := roster.Key{Key: h.key("2").Key, Changed: []string{field}}
		c.want(&want.Key)
		h.changed("2", c.patch)
		if diff := cmp.Diff(want, h.key("2"), sameKeys); diff != "" {
			t.Errorf("%s: -want +got:\n%s", field, diff)
		}
		h.reopen()
		if diff := cmp.Diff(want, h.key("2"), sameKeys); diff != "" {
			t.Errorf("%s, after a restart: -want +got:\n%s", field, diff)
		}
		entry := h.ledger.Audits(1)[0]
		if want := (audit.Entry{
			ID: 1, At: today, Who: audit.Admin, From: "127.0.0.1", What: "change key", Key: "2", Fields: []string{field}, Outcome: audit.Done,
		}); !cmp.Equal(want, entry) {
			t.Errorf("%s: in the audit: %s", field, cmp.Diff(want, entry))
		}
	}
}

// TestEmptyTextsTakeBack gives the name by rank and the own organization back.
func TestEmptyTextsTakeBack(t *testing.T) {
	h := newHouse(t)
	h.changed("2", roster.Patch{Label: new("Team B"), Org: new("acme")})
	h.changed("2", roster.Patch{Label: new(""), Org: new(""), Models: new([]string{})})
	if k := h.key("2"); k.Label != "Backup" || !k.LabelByRank || k.Org != "key-2" || len(k.Models) != 0 {
		t.Errorf("got %q by rank %v, %q, %q", k.Label, k.LabelByRank, k.Org, k.Models)
	}
}

func TestDisableAndEnable(t *testing.T) {
	h := newHouse(t)
	h.spend(1, "1.1", 100)
	for range 2 {
		h.changed("1", roster.Patch{Disabled: new(true)})
		if view := h.ledger.View(); view.Keys[0].Status != quota.Disabled {
			t.Errorf("status %s", view.Keys[0].Status)
		}
		h.reopen()
		h.changed("1", roster.Patch{Disabled: new(false)})
		if view := h.ledger.View(); view.Keys[0].Status == quota.Disabled {
			t.Errorf("status %s", view.Keys[0].Status)
		}
	}
	if c := h.inForce("1", "A"); c != "1.1" {
		t.Errorf("credential %s", c)
	}
	h.uses("1", 100)
}

// TestReplacedSecretStartsAtZero keeps what the other keys used, and what the old secret used apart from the new one's.
func TestReplacedSecretStartsAtZero(t *testing.T) {
	h := newHouse(t)
	h.spend(1, "1.1", 100)
	h.spend(2, "2.1", 200)
	h.changed("1", roster.Patch{Secret: hidden("D")})
	for range 2 {
		if c := h.inForce("1", "D"); c != "1.2" {
			t.Errorf("credential %s", c)
		}
		h.uses("1", 0)
		h.uses("2", 200)
		h.reopen()
	}
	h.spend(3, "1.2", 7)
	h.uses("1", 7)
	h.changed("1", roster.Patch{Secret: hidden("D"), Label: new("same again")})
	if c := h.inForce("1", "D"); c != "1.2" {
		t.Errorf("the same secret once more is credential %s", c)
	}
	h.uses("1", 7)
	h.changed("1", roster.Patch{Secret: hidden("A")})
	if c := h.inForce("1", "A"); c != "1.3" {
		t.Errorf("the first secret once more is credential %s", c)
	}
	h.uses("1", 100) // it used that up today, whatever came between
}

func TestRemove(t *testing.T) {
	h := newHouse(t)
	h.spend(1, "2.1", 200)
	h.removed("2")
	if got := h.ids(); got != "1 3" {
		t.Errorf("left: %s", got)
	}
	if !h.Secret("2").IsZero() || len(h.Secrets()) != 2 {
		t.Error("the secret is still there")
	}
	for _, err := range []error{
		second(h.Change(t.Context(), "2", roster.Patch{Label: new("x")}, admin)), second(h.Remove(t.Context(), "2", admin)), second(h.Remove(t.Context(), "9", admin)),
	} {
		if !errors.Is(err, roster.ErrNoKey) {
			t.Errorf("got %v", err)
		}
	}
	h.added("4", roster.Patch{Secret: hidden("D")})
	h.removed("4")
	h.reopen()
	if got := h.ids(); got != "1 3" {
		t.Errorf("after a restart: %s", got)
	}
	if id := h.added("", roster.Patch{Secret: hidden("E")}); id != "4" {
		t.Errorf("key 2 may come back, key 4 does not: the next is %s", id)
	}
	h.removed("3")
	h.removed("1")
	err := second(h.Remove(t.Context(), "4", admin))
	if !errors.Is(err, roster.ErrInvalid) || !strings.Contains(err.Error(), "it is the only key; disable it instead, or add another first") || h.ids() != "4" {
		t.Errorf("got %v", err)
	}
}

func second(_ int64, err error) error { return err }

// TestRemovedAndAddedAgain has a key come back by the API, in the place that the settings have for it.
func TestRemovedAndAddedAgain(t *testing.T) {
	h := newHouse(t)
	h.spend(1, "2.1", 200)
	h.removed("2")
	h.added("2", roster.Patch{Secret: hidden("B")})
	h.uses("2", 200) // the same secret has spent it
	h.removed("2")
	h.added("2", roster.Patch{Secret: hidden("D"), Label: new("anew")})
	h.uses("2", 0)
	h.reopen()
	if c := h.inForce("2", "D"); c != "2.2" || h.key("2").Label != "anew" {
		t.Errorf("credential %s, %q", c, h.key("2").Label)
	}
	h.removed("2")
	h.reopen()
	if got := h.ids(); got != "1 3" {
		t.Errorf("left: %s", got)
	}
}

// TestClear is a key that the account cleared: the roster goes by the new credential.
func TestClear(t *testing.T) {
	h := newHouse(t)
	if _, err := h.ledger.Clear(t.Context(), "1", admin); err != nil {
		t.Fatal(err)
	}
	if c := h.inForce("1", "A"); c != "1.2" {
		t.Errorf("credential %s", c)
	}
}

// TestAudit has one entry for each change that was made, and none of those that were not.
func TestAudit(t *testing.T) {
	h := newHouse(t)
	h.added("", all("D"))
	h.removed("4")
	_, _, _ = h.Add(t.Context(), "1", roster.Patch{Secret: hidden("E")}, admin)
	_, _ = h.Change(t.Context(), "1", roster.Patch{Priority: new(0)}, admin)
	h.configured(h.settings[:2]...)
	var got []string
	for _, e := range h.ledger.Audits(100) {
		got = append(got, strings.TrimSpace(strings.Join([]string{e.Who, e.What, e.Key, strings.Join(e.Fields, " ")}, " ")))
	}
	want := []string{
		"file settings", "admin remove key 4",
		"admin add key 4 label priority tier org limit_tokens limit_requests disabled models thresholds secret",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestStoreFails makes each change while the store takes nothing: all stays as it was, until the store works again.
func TestStoreFails(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	changes := map[string]func() error{
		"add": func() error {
			_, _, err := h.Add(t.Context(), "", roster.Patch{Secret: hidden("E")}, admin)
			return err
		},
		"change":  func() error { return second(h.Change(t.Context(), "2", all("E"), admin)) },
		"disable": func() error { return second(h.Change(t.Context(), "1", roster.Patch{Disabled: new(true)}, admin)) },
		"remove":  func() error { return second(h.Remove(t.Context(), "1", admin)) },
		"removed": func() error { return second(h.Remove(t.Context(), "4", admin)) },
		"configure": func() error {
			return second(h.Configure(t.Context(), []config.Key{setting("1", "E"), setting("5", "F")}, audit.Entry{Who: audit.File}))
		},
	}
	for name, change := range changes {
		before := h.look()
		empty := h.fill()
		for range 2 {
			if err := change(); !errors.Is(err, ledger.ErrUnavailable) || !errors.Is(err, errFull) {
				t.Errorf("%s: got %v", name, err)
			}
			h.unchanged(before)
		}
		empty()
		h.reopen()
		h.unchanged(before)
	}
	h.store.After = func([]store.Record) error { return errFull } // it took the change, though it says that it failed
	before := h.look()
	if err := changes["change"](); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	h.store.After = nil
	h.changed("3", roster.Patch{Label: new("later")})
	after := h.look()
	if diff := cmp.Diff(before.Keys[:2], after.Keys[:2], sameKeys); diff != "" {
		t.Errorf("what failed is there: %s", diff)
	}
	h.reopen()
	h.inForce("2", "B")
	if err := changes["add"](); err != nil {
		t.Errorf("after all: %v", err)
	}
}
