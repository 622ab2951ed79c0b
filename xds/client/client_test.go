package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/admin/admintest"
	"keywheel/xds/audit"
	"keywheel/xds/client"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/notify"
	"keywheel/xds/summary"
)

const (
	token     = "a-token-that-nobody-guesses"
	readToken = "a-token-that-only-reads"
)

// account is one that the admin API shows.
type account struct {
	admintest.Nothing
	failing error
}

func (account) View() ledger.View {
	return ledger.View{
		Now: time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC), Health: 95, Pool: ledger.PoolView{Used: 12, Limit: 100, Remaining: 88},
		Keys:    []ledger.KeyView{{KeyConfig: ledger.KeyConfig{ID: "1", Label: "Primary", LimitTokens: 100}, Used: 12, Percent: 12}},
		Proxies: []ledger.ProxyView{{Incarnation: "one", Node: "n", Version: "1.40.0"}},
	}
}

func (a account) Clear(context.Context, string, audit.Entry) (int64, error) { return 42, a.failing }

// Newest and Events number their events so that it shows what was asked for.
func (account) Newest(limit int) []event.Event { return account{}.Events(int64(1000-limit), limit) }

func (account) Events(after int64, limit int) []event.Event {
	var out []event.Event
	for i := range limit {
		out = append(out, event.Event{ID: after + int64(i) + 1, Kind: event.Reset, Level: event.Info, Window: "2025-11-18"})
	}
	return out
}

func (account) Notifications(limit int, states ...event.State) []event.Notification {
	if len(states) == 0 {
		states = []event.State{event.Sent}
	}
	return slices.Repeat([]event.Notification{{Receiver: "email", State: states[0], Error: "550"}}, limit)
}

func (account) Summary(w quota.Window) (summary.Summary, bool) {
	return summary.Summary{Window: w.String(), Requests: 450}, w.String() == "2025-11-18"
}

// notifier reaches one of its receivers.
type notifier struct{}

func (notifier) Try(context.Context) []notify.Tried {
	return []notify.Tried{{Receiver: "telegram"}, {Receiver: "email", Failure: "550"}}
}

// serve returns a client of handler.
func serve(t *testing.T, handler http.Handler, token string) *client.Client {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return client.New(srv.Listener.Addr().String(), secret.New(token))
}

func TestAgainstTheAdminAPI(t *testing.T) {
	ctx := t.Context()
	c := serve(t, admin.New(admin.Options{Ledger: account{}, Token: secret.New(token)}), token)
	pool, err := c.Pool(ctx)
	if err != nil || pool.Used != 12 || pool.Limit == nil || *pool.Limit != 100 || pool.Now.Hour() != 14 {
		t.Errorf("pool %+v, %v", pool, err)
	}
	keys, err := c.Keys(ctx)
	if err != nil || len(keys) != 1 || keys[0].Label != "Primary" || keys[0].Percent == nil || *keys[0].Percent != 12 {
		t.Errorf("keys %+v, %v", keys, err)
	}
	proxies, err := c.Proxies(ctx)
	if err != nil || len(proxies) != 1 || proxies[0].Version == nil || *proxies[0].Version != "1.40.0" {
		t.Errorf("proxies %+v, %v", proxies, err)
	}
	if generation, err := c.Clear(ctx, "1"); err != nil || generation != 42 {
		t.Errorf("cleared with generation %d, %v", generation, err)
	}
	for _, id := range []string{"2", "../pool", "a/b", ""} {
		if _, err := c.Clear(ctx, id); err == nil {
			t.Errorf("key %q, which is not there, is cleared", id)
		}
	}
}

func TestEventsAndNotifications(t *testing.T) {
	ctx := t.Context()
	c := serve(t, admin.New(admin.Options{Ledger: account{}, Notifier: notifier{}, Token: secret.New(token)}), token)
	for _, tc := range []struct {
		after, first string
		limit        int
	}{{"", "998", 3}, {"", "1", 1000}, {"0", "1", 5}, {"41", "42", 1}} {
		events, err := c.Events(ctx, tc.after, tc.limit)
		if err != nil || len(events) != tc.limit || events[0].ID != tc.first || events[0].Title == "" {
			t.Errorf("events after %q: %d, %v", tc.after, len(events), err)
		}
	}
	if s, err := c.Summary(ctx, "2025-11-18"); err != nil || s.Requests != 450 || s.Date != "2025-11-18" {
		t.Errorf("summary %+v, %v", s, err)
	}
	for state, want := range map[string]string{"": "sent", "waiting": "waiting", "failed": "failed"} {
		told, err := c.Notifications(ctx, state, 2)
		if err != nil || len(told) != 2 || told[0].State != want || told[0].Error == nil || *told[0].Error != "550" {
			t.Errorf("notifications %+v, %v", told, err)
		}
	}
	tried, err := c.TestNotifications(ctx)
	if err != nil || len(tried) != 2 || !tried[0].OK || tried[0].Error != nil || tried[1].OK || tried[1].Error == nil || *tried[1].Error != "550" {
		t.Errorf("tried %+v, %v", tried, err)
	}
}

// TestRefusals wants the control plane's own words, with what is wrong with which value.
func TestRefusals(t *testing.T) {
	ctx := t.Context()
	c := serve(t, admin.New(admin.Options{Ledger: account{}, Token: secret.New(token)}), token)
	of := func(_ any, err error) error { return err }
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"limit":       {of(c.Events(ctx, "", 0)), "validation failed\nquery.limit: expected number >= 1"},
		"two values":  {of(c.Events(ctx, "x", 1001)), "validation failed\nquery.after: expected string to be an event's ID\nquery.limit: expected number <= 1000"},
		"state":       {of(c.Notifications(ctx, "lost&limit=1", 1)), "validation failed\nquery.state: expected value to be one of \"waiting, sent, failed\""},
		"date":        {of(c.Summary(ctx, "../keys")), "validation failed\npath.date: expected string to be RFC 3339 date"},
		"unknown day": {of(c.Summary(ctx, "2025-11-17")), "Nothing is known of this day: nothing was counted in it, or it is older than KEYWHEEL_HISTORY_DAYS keeps."},
		"key":         {of(c.Clear(ctx, "9")), "There is no key with this ID; GET /api/v1/keys lists them."},
	} {
		if tc.err == nil || tc.err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", name, tc.err, tc.want)
		}
	}
}

// TestReady needs no token, and what is missing is no error.
func TestReady(t *testing.T) {
	for _, missing := range [][]string{{}, {"store", "xds"}} {
		c := serve(t, admin.New(admin.Options{Ledger: account{}, Token: secret.New(token), Missing: func() []string { return missing }}), "")
		if got, err := c.Ready(t.Context()); err != nil || !slices.Equal(got, missing) {
			t.Errorf("missing %v, %v; want %v", got, err, missing)
		}
	}
}

// TestReadOnlyToken is enough to look, and the error says that it is not for more.
func TestReadOnlyToken(t *testing.T) {
	c := serve(t, admin.New(admin.Options{Ledger: account{}, Notifier: notifier{}, Token: secret.New(token), ReadToken: secret.New(readToken)}), readToken)
	if _, err := c.Events(t.Context(), "", 1); err != nil {
		t.Error(err)
	}
	if _, err := c.TestNotifications(t.Context()); !errors.Is(err, client.ErrUnauthorized) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a test: %v", err)
	}
}

func TestErrors(t *testing.T) {
	plane := admin.New(admin.Options{Ledger: account{failing: errors.New("disk full")}, Token: secret.New(token)})
	if _, err := serve(t, plane, "another-token-altogether").Pool(t.Context()); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := serve(t, plane, "").Pool(t.Context()); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("no token: %v", err)
	}
	if _, err := serve(t, plane, token).Clear(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("the store fails: %v", err)
	}
	if _, err := client.New("127.0.0.1:0", secret.New(token)).Pool(t.Context()); !errors.Is(err, client.ErrUnreachable) || strings.Contains(err.Error(), token) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestStrangers(t *testing.T) {
	redirected := false
	for name, handler := range map[string]http.HandlerFunc{
		"HTML":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"not found": http.NotFound,
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			redirected = redirected || r.URL.Path == "/login"
			http.Redirect(w, r, "/login", http.StatusFound)
		},
	} {
		if _, err := serve(t, handler, token).Pool(t.Context()); !errors.Is(err, client.ErrNotKeywheel) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := serve(t, handler, token).Ready(t.Context()); !errors.Is(err, client.ErrNotKeywheel) {
			t.Errorf("%s is taken to be ready: %v", name, err)
		}
	}
	if redirected {
		t.Error("the token was carried along a redirect")
	}
}
