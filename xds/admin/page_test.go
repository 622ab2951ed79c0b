package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"keywheel/xds/admin"
)

func TestPageIsMounted(t *testing.T) {
	files := fstest.MapFS{"index.html": {Data: []byte("<!doctype html>the page")}, "assets/app.js": {Data: []byte("'use strict'")}}
	f := newFixture(t, func(o *admin.Options) { o.Page = http.FileServerFS(files) })
	for path, want := range map[string]string{"/": "<!doctype html>the page", "/assets/app.js": "'use strict'"} {
		w := f.do("GET", path, "", "")
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
		csp := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy %q has no %s", path, csp, part)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || strings.Contains(csp, "http") {
			t.Errorf("%s: the policy allows too much: %s", path, csp)
		}
		if w := f.do("HEAD", path, "", ""); w.Code != 200 || w.Header().Get("Content-Security-Policy") != csp {
			t.Errorf("HEAD %s: got %d", path, w.Code)
		}
		if w := f.do("POST", path, "", ""); w.Code != 405 {
			t.Errorf("POST %s: got %d, want 405", path, w.Code)
		}
	}
	for path, want := range map[string]int{"/assets/none.js": 404, "/index.html": 401, "/app.js": 401, "/assets": 401} {
		if w := f.do("GET", path, "", ""); w.Code != want {
			t.Errorf("%s without a token: got %d, want %d", path, w.Code, want)
		}
	}
	if csp := f.do("GET", "/api/v1/pool", adminToken, "").Header().Get("Content-Security-Policy"); strings.Contains(csp, "'self'") {
		t.Errorf("the API's answers may load things: %s", csp)
	}
	f = newFixture(t)
	if w := f.do("GET", "/assets/app.js", "", ""); w.Code != 404 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("without a page: got %d for its files", w.Code)
	}
	if w := f.do("GET", "/", "", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "Keywheel is running") {
		t.Errorf("without a page: got %d for /", w.Code)
	}
}
