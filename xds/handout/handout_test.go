package handout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/guess"
	"keywheel/xds/handout"
	"keywheel/xds/logging/loggingtest"
)

const token = "CANARY-the-token-of-the-proxies"

// desk is a Handler over a made-up publisher.
type desk struct {
	t         *testing.T
	log       loggingtest.Buffer
	version   string
	content   []byte
	refreshed int
	broken    error
	now       time.Time
	from      string
	*handout.Handler
}

func newDesk(t *testing.T, token string) *desk {
	d := &desk{
		t: t, version: "v1", content: []byte("\n\x08keywheel\xff\x00"), from: "192.0.2.7:4000",
		now: time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC),
	}
	d.Handler = handout.New(handout.Options{
		Token: secret.New(token), Now: func() time.Time { return d.now },
		Current: func() (string, []byte) { return d.version, d.content },
		Refresh: func(context.Context) error { d.refreshed++; return d.broken },
		Log:     slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return d
}

func (d *desk) ask(method string, headers ...string) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequest(method, protocol.AssignmentPath, nil)
	r.RemoteAddr = d.from
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		d.t.Errorf("cache-control %q", got)
	}
	if strings.Contains(d.log.String(), "CANARY") {
		d.t.Fatal("the token is in the log")
	}
	return w
}

func TestTheAssignmentIsGiven(t *testing.T) {
	d := newDesk(t, token)
	w := d.ask("GET", "Authorization", "Bearer "+token)
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), d.content) || w.Header().Get("ETag") != `"v1"` || d.refreshed != 1 {
		t.Errorf("%d %q, %v, refreshed %d times", w.Code, w.Body, w.Header(), d.refreshed)
	}
	w = d.ask("GET", "Authorization", "Bearer "+token, "If-None-Match", `"v1"`)
	if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != `"v1"` {
		t.Errorf("%d %q, %v", w.Code, w.Body, w.Header())
	}
	d.version, d.content = "v2", []byte("other")
	w = d.ask("GET", "Authorization", "Bearer "+token, "If-None-Match", `"v1"`)
	if w.Code != 200 || w.Body.String() != "other" || w.Header().Get("ETag") != `"v2"` {
		t.Errorf("%d %q, %v", w.Code, w.Body, w.Header())
	}
	if d.refreshed != 1 {
		t.Errorf("one that has a version made %d refreshes", d.refreshed-1)
	}
	for _, from := range []string{"192.0.2.7:4001", "192.0.2.8:1", "@"} {
		d.from = from
		d.ask("GET", "Authorization", "Bearer "+token)
	}
	for _, peer := range []string{"192.0.2.7", "192.0.2.8", "the Unix socket"} {
		if n := strings.Count(d.log.String(), peer); n != 1 {
			t.Errorf("%s is named %d times in\n%s", peer, n, d.log.String())
		}
	}
}

func TestWhoGetsNothing(t *testing.T) {
	refusals := map[string]bool{}
	for i, header := range []string{"", "Bearer ", "Bearer x", "bearer " + token, token, "Bearer " + token + " ", "Bearer " + strings.Repeat("a", 100_000)} {
		d := newDesk(t, token)
		w := d.ask("GET", "Authorization", header)
		if w.Code != http.StatusUnauthorized || d.refreshed != 0 || w.Header().Get("ETag") != "" {
			t.Errorf("header %d: %d, %v", i, w.Code, w.Header())
		}
		refusals[w.Body.String()] = true
	}
	if len(refusals) != 1 {
		t.Errorf("refusals differ: %v", refusals)
	}
	for _, authorization := range []string{"", "Bearer ", "Bearer " + token} { // no token set: an empty one opens nothing
		d := newDesk(t, "")
		if w := d.ask("GET", "Authorization", authorization); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "KEYWHEEL_PROXY_TOKEN") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	d := newDesk(t, token)
	if w := d.ask("POST", "Authorization", "Bearer "+token); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	d.version = ""
	if w := d.ask("GET", "Authorization", "Bearer "+token); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
		t.Errorf("before the first: %d, %v", w.Code, w.Header())
	}
}

func TestGuessingIsSlowAndSeen(t *testing.T) {
	d := newDesk(t, token)
	for i := range guess.MaxWrong + 50 {
		want := http.StatusUnauthorized
		if i >= guess.MaxWrong {
			want = http.StatusTooManyRequests
		}
		if w := d.ask("GET", "Authorization", fmt.Sprintf("Bearer %d", i)); w.Code != want || (w.Header().Get("Retry-After") == "60") != (i >= guess.MaxWrong) {
			t.Fatalf("guess %d: %d, %v", i, w.Code, w.Header())
		}
	}
	if w := d.ask("GET", "Authorization", "Bearer "+token); w.Code != 200 {
		t.Errorf("the right one from there: %d", w.Code)
	}
	if n := strings.Count(d.log.String(), "wrong KEYWHEEL_PROXY_TOKEN"); n != guess.MaxWrong+1 {
		t.Errorf("%d lines", n)
	}
}

func TestTheLastOneIsGivenWhereThereIsNoNewer(t *testing.T) {
	d := newDesk(t, token)
	d.broken = errors.New("the assignment names credential 2.1, which has no secret")
	if w := d.ask("GET", "Authorization", "Bearer "+token); w.Code != 200 || !strings.Contains(d.log.String(), "credential 2.1") {
		t.Errorf("%d, log %s", w.Code, d.log.String())
	}
}
