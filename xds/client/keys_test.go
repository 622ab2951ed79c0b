package client_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/admin/admintest"
	"keywheel/xds/client"
	"keywheel/xds/config"
)

// newKeys are keys 1 and 2 of the settings, and a client that may change them.
func newKeys(t *testing.T, token string) (*admintest.Keys, *client.Client) {
	t.Helper()
	o := admintest.KeysOptions{Now: time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)}
	for _, id := range []string{"1", "2"} {
		o.Configured = append(o.Configured, config.Key{
			ID: id, Label: "Key " + id, Priority: 1, Org: config.OwnOrg(id), Tier: config.TierFree, LimitTokens: 100, Thresholds: config.DefaultThresholds(),
			Source: config.SourceEnvironment, Secret: secret.New("gsk_CANARY" + id),
		})
	}
	keys := admintest.NewKeys(t, o)
	return keys, serve(t, admin.New(admin.Options{
		Ledger: keys.Ledger, Roster: keys, Token: secret.New("a-token-that-nobody-guesses"), ReadToken: secret.New(readToken),
	}), token)
}

func TestKeysAreChanged(t *testing.T) {
	ctx := t.Context()
	keys, c := newKeys(t, token)
	want := func(what, id string, got admin.Changed, err error) {
		t.Helper()
		if now := keys.Ledger.Assignment().Generation; err != nil || got != (admin.Changed{ID: id, Generation: now}) {
			t.Errorf("%s: got %+v, %v, want key %s with generation %d", what, got, err, id, now)
		}
	}
	got, err := c.AddKey(ctx, admin.NewKey{KeyFields: admin.KeyFields{Secret: new("gsk_CANARYthird")}})
	want("add", "3", got, err)
	got, err = c.AddKey(ctx, admin.NewKey{ID: new("team-b"), KeyFields: admin.KeyFields{
		Secret: new("gsk_CANARYfourth"), Label: new("Team B"), Priority: new(7), Tier: new("paid"), Org: new("acme"), LimitTokens: admin.NewLimit(500),
		LimitRequests: admin.NewLimit(60), Disabled: new(true), Models: new([]string{"a"}), Thresholds: new([]int{50}),
	}})
	want("add all", "team-b", got, err)
	got, err = c.ChangeKey(ctx, "2", admin.KeyFields{LimitTokens: admin.NewLimit(0), Label: new("")})
	want("change", "2", got, err)
	got, err = c.RemoveKey(ctx, "1")
	want("remove", "1", got, err)

	there, err := c.Keys(ctx)
	if err != nil || len(there) != 3 {
		t.Fatalf("%d keys, %v", len(there), err)
	}
	byID := map[string]admin.Key{}
	for _, k := range there {
		byID[k.ID] = k
	}
	if k := byID["2"]; k.LimitTokens != nil || k.Label == "Key 2" || !slices.Equal(k.Changed, []string{"label", "limit_tokens"}) {
		t.Errorf("key 2: %+v", k)
	}
	if k := byID["team-b"]; k.Label != "Team B" || k.Priority != 7 || k.Tier != "paid" || k.Org != "acme" || *k.LimitTokens != 500 || *k.LimitRequests != 60 ||
		!k.Disabled || !slices.Equal(k.Models, []string{"a"}) || !slices.Equal(k.Thresholds, []int{50}) {
		t.Errorf("key team-b: %+v", k)
	}
	if keys.Secret("team-b").Reveal() != "gsk_CANARYfourth" || keys.Secret("2").Reveal() != "gsk_CANARY2" {
		t.Error("a secret is another")
	}

	for limit, want := range map[int]int{1: 1, 100: 4} {
		audits, err := c.Audits(ctx, limit)
		if err != nil || len(audits) != want || audits[0].What != "remove key" || audits[0].Who != "admin" || *audits[0].Key != "1" {
			t.Errorf("audit: %+v, %v", audits, err)
		}
	}
}

// TestRefusedChanges says why in the control plane's words, without the secret.
func TestRefusedChanges(t *testing.T) {
	ctx := t.Context()
	_, c := newKeys(t, token)
	of := func(_ any, err error) error { return err }
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"no such key": {of(c.ChangeKey(ctx, "9", admin.KeyFields{Label: new("x")})), "There is no key with this ID; GET /api/v1/keys lists them."},
		"a path":      {of(c.RemoveKey(ctx, "../pool")), "There is no key with this ID; GET /api/v1/keys lists them."},
		"there":       {of(c.AddKey(ctx, admin.NewKey{ID: new("1"), KeyFields: admin.KeyFields{Secret: new("gsk_CANARYx")}})), "There is such a key already: Groq Key 1."},
		"taken": {of(c.AddKey(ctx, admin.NewKey{KeyFields: admin.KeyFields{Secret: new("gsk_CANARY2")}})),
			"The key cannot be so: Groq Key 3 has the same secret as Groq Key 2; give one of them another, or leave it out."},
		"two values": {of(c.ChangeKey(ctx, "1", admin.KeyFields{Priority: new(0), Tier: new("gold")})),
			"validation failed\nbody.priority: expected number >= 1\nbody.tier: expected value to be one of \"free, paid\""},
		"limit": {of(c.Audits(ctx, 0)), "validation failed\nquery.limit: expected number >= 1"},
	} {
		if tc.err == nil || tc.err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", name, tc.err, tc.want)
		}
	}
	_, reader := newKeys(t, readToken)
	if err := of(reader.RemoveKey(ctx, "1")); !errors.Is(err, client.ErrUnauthorized) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a reader: %v", err)
	}
	if audits, err := reader.Audits(ctx, 10); err != nil || len(audits) != 0 {
		t.Errorf("a reader sees %+v, %v", audits, err)
	}
}
