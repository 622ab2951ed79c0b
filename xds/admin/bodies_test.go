package admin_test

import (
	"context"
	"strings"
	"testing"

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
