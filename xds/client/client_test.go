package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/client"
	"keywheel/xds/ledger"
)

const token = "a-token-that-nobody-guesses"

// account is one that the admin API shows.
type account struct{ failing error }

func (account) View() ledger.View {
	return ledger.View{
		Now: time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC), Health: 95, Pool: ledger.PoolView{Used: 12, Limit: 100, Remaining: 88},
		Keys:    []ledger.KeyView{{KeyConfig: ledger.KeyConfig{ID: "1", Label: "Primary", LimitTokens: 100}, Used: 12, Percent: 12}},
		Proxies: []ledger.ProxyView{{Incarnation: "one", Node: "n", Version: "1.40.0"}},
	}
}

func (a account) Clear(context.Context, string) (int64, error) { return 42, a.failing }

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
	}
	if redirected {
		t.Error("the token was carried along a redirect")
	}
}
