package admin_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
)

func TestAccess(t *testing.T) {
	f := newFixture(t)
	type call struct{ method, path string }
	reads := []call{
		{"GET", "/api/v1/pool"}, {"HEAD", "/api/v1/pool"}, {"GET", "/api/v1/keys"}, {"GET", "/api/v1/keys/1"},
		{"GET", "/api/v1/proxies"}, {"GET", "/api/openapi.json"}, {"GET", "/api/v1/events"}, {"GET", "/api/v1/notifications"},
		{"GET", "/api/v1/summaries/2025-11-18"}, {"GET", "/api/v1/usage"}, {"GET", "/api/v1/usage.csv"}, {"GET", "/api/v1/audit"},
		{"HEAD", "/api/v1/stream"},
	}
	writes := []call{
		{"POST", "/api/v1/keys/1/clear"}, {"POST", "/api/v1/notifications/test"}, {"PUT", "/api/v1/clock"}, {"DELETE", "/api/v1/keys/1"},
		{"POST", "/api/v1/keys"}, {"PATCH", "/api/v1/keys/1"}, {"PATCH", "/nowhere"}, {"GET", "/api/v1/backup"}, {"HEAD", "/api/v1/backup"},
		{"POST", "/api/v1/restore"}, {"DELETE", "/api/v1/proxies/x"},
	}
	public := []call{{"GET", "/"}, {"GET", "/healthz"}, {"GET", "/readyz"}}
	refused := map[string]string{
		"no token": "", "wrong": "Bearer wrong", "empty": "Bearer ", "no scheme": adminToken, "Basic": "Basic " + adminToken,
		"cut": "Bearer " + adminToken[:len(adminToken)-1], "long": "Bearer " + strings.Repeat("a", 1<<20), "two": "Bearer " + adminToken + " " + readToken,
	}
	calls := 0
	status := func(c call, authorization ...string) int {
		r := httptest.NewRequest(c.method, c.path, nil)
		calls++
		r.RemoteAddr = fmt.Sprintf("198.51.%d.%d:1", calls/256, calls%256) // wrong tokens are counted by address
		for _, a := range authorization {
			r.Header.Add("Authorization", a)
		}
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		if w.Code == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s %s: 401 without WWW-Authenticate", c.method, c.path)
		}
		if c.method != "HEAD" && w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d as %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"))
		}
		return w.Code
	}
	for _, c := range append(append([]call{}, reads...), writes...) {
		for name, authorization := range refused {
			if got := status(c, authorization); got != 401 {
				t.Errorf("%s %s with %s: got %d, want 401", c.method, c.path, name, got)
			}
		}
		if got := status(c, "Bearer "+adminToken, "Bearer "+adminToken); got != 401 {
			t.Errorf("%s %s with two headers: got %d, want 401", c.method, c.path, got)
		}
		if got := status(c, "bearer "+adminToken); got == 401 || got == 403 {
			t.Errorf("%s %s as admin: got %d", c.method, c.path, got)
		}
	}
	for _, c := range reads {
		if got := status(c, "Bearer "+readToken); got != 200 {
			t.Errorf("%s %s as reader: got %d, want 200", c.method, c.path, got)
		}
	}
	for _, c := range writes {
		if got := status(c, "Bearer "+readToken); got != 403 {
			t.Errorf("%s %s as reader: got %d, want 403", c.method, c.path, got)
		}
	}
	for _, c := range public {
		if got := status(c); got != 200 {
			t.Errorf("%s %s: got %d, want 200", c.method, c.path, got)
		}
	}
	if len(f.account.cleared) != 1 {
		t.Errorf("cleared %v, want once, by the admin", f.account.cleared)
	}
	if f.notifier.tests != 1 {
		t.Errorf("%d test messages, want one, of the admin", f.notifier.tests)
	}
}

func TestWithoutTokensNobodyGetsIn(t *testing.T) {
	f := &fixture{handler: admin.New(admin.Options{Ledger: &account{}})}
	r := httptest.NewRequest("GET", "/api/v1/pool", nil)
	r.Header.Set("Authorization", "Bearer ")
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("got %d, want 401", w.Code)
	}
	f = &fixture{handler: admin.New(admin.Options{Ledger: &account{}, Token: secret.New(adminToken)})}
	if w := f.do("GET", "/api/v1/pool", "", ""); w.Code != 401 {
		t.Errorf("without a read-only token: got %d, want 401", w.Code)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	f := newFixture(t)
	for path, want := range map[string]int{"/api/v1/nothing": 404, "/api/": 404, "/docs": 404, "/openapi.yaml": 404, "/schemas/Key.json": 404} {
		if w := f.do("GET", path, adminToken, ""); w.Code != want {
			t.Errorf("GET %s: got %d, want %d", path, w.Code, want)
		}
	}
	w := f.do("DELETE", "/api/v1/pool", adminToken, "")
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE of the pool: got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/healthz", "", "", 200), `{"status": "ok"}`)
	wantJSON(t, f.call(t, "GET", "/readyz", "", "", 200), `{"ready": true, "missing": []}`)
	f.missing = []string{"store", "xds"}
	wantJSON(t, f.call(t, "GET", "/readyz", "", "", 503), `{"ready": false, "missing": ["store", "xds"]}`)
	wantJSON(t, f.call(t, "GET", "/healthz", "", "", 200), `{"status": "ok"}`)
}

// TestMetrics: they need no token, and take nothing but reading.
func TestMetrics(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("keywheel_up 1")) })
	f := &fixture{handler: admin.New(admin.Options{Ledger: &account{}, Token: secret.New(adminToken), Metrics: metrics})}
	if w := f.do("GET", "/metrics", "", ""); w.Code != 200 || w.Body.String() != "keywheel_up 1" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := f.do("HEAD", "/metrics", "", ""); w.Code != 200 {
		t.Errorf("HEAD: got %d", w.Code)
	}
	if w := f.do("POST", "/metrics", adminToken, ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	for _, path := range []string{"/metrics/", "//metrics", "/Metrics", "/metrics/x"} {
		if w := f.do("GET", path, "", ""); w.Code != 401 {
			t.Errorf("GET %s without a token: got %d, want 401", path, w.Code)
		}
	}
	if w := newFixture(t).do("GET", "/metrics", "", ""); w.Code != 404 {
		t.Errorf("without metrics: got %d, want 404", w.Code)
	}
}

// TestWrap: what stands around the answers hears of those who were let in, and of the pattern that they asked for.
func TestWrap(t *testing.T) {
	var patterns []string
	f := &fixture{handler: admin.New(admin.Options{
		Ledger: &account{view: fullView()}, Token: secret.New(adminToken),
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				patterns = append(patterns, r.Pattern)
			})
		},
	})}
	for path, token := range map[string]string{"/api/v1/keys/2": adminToken, "/api/v1/pool": "wrong", "/api/v1/proxies": ""} {
		f.do("GET", path, token, "")
	}
	if diff := cmp.Diff([]string{"GET /api/v1/keys/{id}"}, patterns); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestPageLoadsNothing(t *testing.T) {
	w := newFixture(t).do("GET", "/", "", "")
	for _, loads := range []string{"<script", "<link", "<img", "src=", "https://", "@import"} {
		if strings.Contains(w.Body.String(), loads) {
			t.Errorf("the page has %s", loads)
		}
	}
	for _, path := range []string{"/api/v1/pool", "/api/v1/keys", "/api/v1/proxies", "/api/openapi.json"} {
		if !strings.Contains(w.Body.String(), path) {
			t.Errorf("the page does not name %s", path)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestDocument(t *testing.T) {
	f := newFixture(t)
	if v, _ := f.doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi: %v", f.doc["openapi"])
	}
	want := map[string][]string{
		"/api/v1/pool": {"get"}, "/api/v1/keys": {"get", "post"}, "/api/v1/keys/{id}": {"get", "patch", "delete"}, "/api/v1/keys/{id}/clear": {"post"},
		"/api/v1/usage": {"get"}, "/api/v1/usage.csv": {"get"}, "/api/v1/audit": {"get"}, "/api/v1/stream": {"get"},
		"/api/v1/session": {"get", "delete"}, "/api/v1/proxies": {"get"}, "/api/v1/proxies/{incarnation}": {"delete"}, "/api/v1/clock": {"put"}, "/healthz": {"get"}, "/readyz": {"get"},
		"/api/v1/events": {"get"}, "/api/v1/notifications": {"get"}, "/api/v1/notifications/test": {"post"}, "/api/v1/summaries/{date}": {"get"},
		"/api/v1/backup": {"get"}, "/api/v1/restore": {"post"},
	}
	if got := len(f.doc.at("paths")); got != len(want) {
		t.Errorf("%d paths, want %d", got, len(want))
	}
	for path, methods := range want {
		for _, method := range methods {
			operation := f.doc.at("paths", path, method)
			if operation == nil || operation["summary"] == "" {
				t.Errorf("%s %s is not described", method, path)
			}
			if guarded := operation["security"] != nil; guarded != strings.HasPrefix(path, "/api/") {
				t.Errorf("%s %s: guarded: %v", method, path, guarded)
			}
		}
	}
}

// TestServerRefusesHugeHeaders sends a token of a megabyte over a real connection.
func TestServerRefusesHugeHeaders(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := admin.NewServer(newFixture(t).handler, nil)
	if srv.ReadHeaderTimeout == 0 || srv.ReadTimeout == 0 || srv.WriteTimeout == 0 || srv.IdleTimeout == 0 {
		t.Error("a time-out is not set")
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the server answers before it has read all, and hangs up
		_, _ = conn.Write([]byte("GET /api/v1/pool HTTP/1.1\r\nHost: keywheel\r\nAuthorization: Bearer " + strings.Repeat("a", 1<<20) + "\r\n\r\n"))
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, want 431", answer.StatusCode)
	}
}
