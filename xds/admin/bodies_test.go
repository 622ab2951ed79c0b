package admin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/audit"
	"keywheel/xds/roster"
)

// noKeys is a roster without keys, whom nobody gets a change to.
type noKeys struct{ t *testing.T }

func (noKeys) Keys() []roster.Key { return nil }

func (r noKeys) Add(context.Context, string, roster.Patch, audit.Entry) (string, int64, error) {
	r.t.Error("a key was added")
	return "", 0, roster.ErrInvalid
}

func (r noKeys) Change(context.Context, string, roster.Patch, audit.Entry) (int64, error) {
	r.t.Error("a key was changed")
	return 0, roster.ErrNoKey
}

func (r noKeys) Remove(context.Context, string, audit.Entry) (int64, error) {
	r.t.Error("a key was removed")
	return 0, roster.ErrNoKey
}

// TestBodiesThatAreRefused: each gets a 422 that says what to write, in words that have neither Go's names nor what was
// sent.
func TestBodiesThatAreRefused(t *testing.T) {
	f := &fixture{handler: admin.New(admin.Options{Ledger: &account{}, Token: secret.New(adminToken), Roster: noKeys{t}})}
	for body, want := range map[string]string{
		`{"label": "Spare"}`:                                 "expected required property secret to be present",
		`{"secret": "gsk_x", "priority": 147500.0}`:          "without a decimal point",
		`{"secret": "gsk_x", "limit_tokens": 1475e80}`:       "without a decimal point",
		`{"secret": "gsk_x", "limit_requests": 14750000.0}`:  "without a decimal point",
		`{"secret": "gsk_x", "thresholds": [75, 1475000.0]}`: "without a decimal point",
		`{"secret": "gsk_x", "limit_tokens": 0}`:             "expected number >= 1",
	} {
		w := f.do("POST", "/api/v1/keys", adminToken, body)
		if w.Code != 422 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %d %s, want %q", body, w.Code, w.Body, want)
		}
		for _, repeated := range []string{"1475", "gsk_x", "Spare", "json:", "struct"} {
			if strings.Contains(w.Body.String(), repeated) {
				t.Errorf("%s: the answer has %q: %s", body, repeated, w.Body)
			}
		}
	}
}

// TestMembersInOtherLetters: a member is written as the document has it. One that differs in its letters' case alone is
// none, or it would be read in the place of the one that was examined.
func TestMembersInOtherLetters(t *testing.T) {
	f := newAccount(t)
	before := f.keys.Stored()
	for body, path := range map[string]string{
		`{"label": "Team B", "Label": "` + strings.Repeat("x", 41) + `"}`: "PATCH /api/v1/keys/2",
		`{"priority": 1, "PRIORITY": -5}`:                                 "PATCH /api/v1/keys/2",
		`{"models": ["a"], "model\u017f": [""]}`:                          "PATCH /api/v1/keys/2",
		`{"Disabled": true}`:                                              "PATCH /api/v1/keys/2",
		`{"secret": "gsk_x", "id": "b", "ID": "../b"}`:                    "POST /api/v1/keys",
		`{"Secret": "gsk_x"}`:                                             "POST /api/v1/keys",
		`{"now": "2025-11-18T08:00:00Z", "Speed": -1}`:                    "PUT /api/v1/clock",
		`{"Token": "` + adminToken + `"}`:                                 "POST /api/v1/session",
	} {
		method, path, _ := strings.Cut(path, " ")
		if w := f.do(method, path, adminToken, body); w.Code != 422 || !strings.Contains(w.Body.String(), "unexpected property") {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
	if diff := cmp.Diff(before, f.keys.Stored()); diff != "" || f.speed != -1 {
		t.Errorf("something changed: the clock's speed is %v\n%s", f.speed, diff)
	}
}
