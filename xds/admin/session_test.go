package admin_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
)

const (
	sessionPath = "/api/v1/session"
	clockPath   = "/api/v1/clock"
	clockBody   = `{"now": "2025-11-18T08:00:00Z"}`
)

// browser sends requests as the page does, unless change makes them others.
type browser struct {
	f      *fixture
	cookie *http.Cookie
}

func (b *browser) send(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	var content io.Reader
	if body != "" {
		content = bytes.NewBufferString(body)
	}
	r := httptest.NewRequest(method, "http://localhost:8080"+path, content)
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-Keywheel-Page", "1")
	if method != http.MethodGet && method != http.MethodHead {
		r.Header.Set("Origin", "http://localhost:8080")
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.f.handler.ServeHTTP(w, r)
	return w
}

// signIn returns a browser with a session.
func (f *fixture) signIn(t *testing.T, token string) *browser {
	t.Helper()
	b := &browser{f: f}
	w := b.send("POST", sessionPath, `{"token": "`+token+`"}`)
	cookies := w.Result().Cookies()
	if w.Code != 204 || len(cookies) != 1 {
		t.Fatalf("got %d and %d cookies: %s", w.Code, len(cookies), w.Body)
	}
	b.cookie = cookies[0]
	return b
}

func (b *browser) want(t *testing.T, what string, status int, method, path, body string, change ...func(*http.Request)) {
	t.Helper()
	if w := b.send(method, path, body, change...); w.Code != status {
		t.Errorf("%s: %s %s: got %d, want %d: %s", what, method, path, w.Code, status, w.Body)
	}
}

func TestSessionCookie(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		change func(*http.Request)
		secure bool
	}{
		"plain":               {func(*http.Request) {}, false},
		"TLS":                 {func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, true},
		"TLS at a proxy":      {func(r *http.Request) { r.Header.Set("Origin", "https://localhost:8080") }, true},
		"an old browser":      {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Del("Origin") }, false},
		"without page header": {func(r *http.Request) { r.Header.Del("X-Keywheel-Page") }, false},
		"blanks round the key": {func(r *http.Request) {
			r.Body = io.NopCloser(bytes.NewBufferString(`{"token": " ` + adminToken + `\n"}`))
		}, false},
	} {
		b := &browser{f: f}
		w := b.send("POST", sessionPath, `{"token": "`+adminToken+`"}`, c.change)
		cookies := w.Result().Cookies()
		if w.Code != 204 || w.Body.Len() != 0 || len(cookies) != 1 {
			t.Errorf("%s: got %d, %d cookies, %s", name, w.Code, len(cookies), w.Body)
			continue
		}
		got := cookies[0]
		if got.Name != "keywheel_session" || len(got.Value) != 43 || !got.HttpOnly || got.SameSite != http.SameSiteStrictMode ||
			got.Path != "/" || got.MaxAge != 12*3600 || got.Domain != "" || got.Secure != c.secure {
			t.Errorf("%s: the cookie is %s", name, w.Header().Get("Set-Cookie"))
		}
	}
}

func TestSessionAdmitsToWhatItsTokenDoes(t *testing.T) {
	f := newFixture(t)
	for token, c := range map[string]struct {
		access string
		write  int
	}{adminToken: {"admin", 200}, readToken: {"read", 403}} {
		b := f.signIn(t, token)
		w := b.send("GET", sessionPath, "")
		f.doc.check(t, "GET", sessionPath, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		wantJSON(t, w.Body.Bytes(), `{"access": "`+c.access+`"}`)
		wantJSON(t, f.call(t, "GET", sessionPath, token, "", 200), `{"access": "`+c.access+`"}`) // a bearer token may ask, too
		b.want(t, c.access, 200, "GET", "/api/v1/keys", "")
		b.want(t, c.access, 200, "HEAD", "/api/v1/keys", "")
		b.want(t, c.access, c.write, "PUT", clockPath, clockBody)

		w = b.send("DELETE", sessionPath, "")
		if gone := w.Result().Cookies(); w.Code != 204 || len(gone) != 1 || gone[0].MaxAge >= 0 || gone[0].Name != b.cookie.Name || gone[0].Path != "/" {
			t.Errorf("signing out: got %d and %s", w.Code, w.Header().Get("Set-Cookie"))
		}
		b.want(t, "signed out", 401, "GET", sessionPath, "")
		b.want(t, "signed out", 401, "PUT", clockPath, clockBody)
	}
}

func TestSessionNeedsAValidToken(t *testing.T) {
	f := newFixture(t)
	b := &browser{f: f}
	calls := 0
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"wrong":          {`{"token": "wrong"}`, 401},
		"cut":            {`{"token": "` + adminToken[:len(adminToken)-1] + `"}`, 401},
		"empty":          {`{"token": ""}`, 401},
		"long":           {`{"token": "` + adminToken + string(bytes.Repeat([]byte("a"), 50_000)) + `"}`, 401},
		"too long":       {`{"token": "` + string(bytes.Repeat([]byte("a"), 1<<20)) + `"}`, 413},
		"none":           {`{}`, 422},
		"a number":       {`{"token": 1}`, 422},
		"another member": {`{"token": "` + adminToken + `", "access": "admin"}`, 422},
		"not JSON":       {`{"token`, 400},
		"nothing":        {``, 400},
	} {
		calls++
		w := b.send("POST", sessionPath, c.body, func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", calls) })
		if w.Code != c.status || len(w.Result().Cookies()) != 0 {
			t.Errorf("%s: got %d, want %d, and %d cookies: %s", name, w.Code, c.status, len(w.Result().Cookies()), w.Body)
		}
		f.doc.check(t, "POST", sessionPath, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	}
	b.cookie = &http.Cookie{Name: "keywheel_session", Value: "made-up"}
	b.want(t, "a session that is none", 401, "GET", "/api/v1/pool", "")
}

func TestSessionEnds(t *testing.T) {
	const idle, lasts = 2 * time.Hour, 12 * time.Hour
	now, tokens := afternoon, [2]string{adminToken, readToken}
	options := admin.Options{
		Ledger: &account{view: fullView()}, Now: func() time.Time { return now },
		Tokens: func() (admin, read secret.Key) { return secret.New(tokens[0]), secret.New(tokens[1]) },
	}
	f := &fixture{handler: admin.New(options)}
	asks := func(t *testing.T, b *browser, status int) {
		t.Helper()
		b.want(t, now.Sub(afternoon).String(), status, "GET", sessionPath, "")
	}

	t.Run("without use", func(t *testing.T) {
		b := f.signIn(t, adminToken)
		now = now.Add(idle - time.Second)
		asks(t, b, 200)
		now = now.Add(idle - time.Second)
		asks(t, b, 200)
		now = now.Add(idle)
		asks(t, b, 401)
	})
	t.Run("in the end", func(t *testing.T) {
		b := f.signIn(t, adminToken)
		began := now
		for now = now.Add(time.Hour); now.Sub(began) < lasts; now = now.Add(time.Hour) {
			asks(t, b, 200)
		}
		asks(t, b, 401)
		now = now.Add(-time.Hour)
		asks(t, b, 401) // not even if the clock is set back
	})
	t.Run("when it is not the latest hundred", func(t *testing.T) {
		first, second := f.signIn(t, adminToken), f.signIn(t, adminToken)
		asks(t, first, 200)
		for range 99 {
			f.signIn(t, readToken)
		}
		asks(t, first, 200)
		asks(t, second, 401)
	})
	t.Run("with its token", func(t *testing.T) {
		b, reader := f.signIn(t, adminToken), f.signIn(t, readToken)
		tokens[0] = "another-token-0123456789"
		asks(t, b, 401)
		asks(t, reader, 200)
		tokens = [2]string{readToken, adminToken}
		asks(t, b, 401) // it has ended, whatever comes later
		wantJSON(t, reader.send("GET", sessionPath, "").Body.Bytes(), `{"access": "admin"}`)
		tokens = [2]string{adminToken, ""}
		asks(t, reader, 401)
	})
	t.Run("with the process", func(t *testing.T) {
		b := f.signIn(t, adminToken)
		f.handler = admin.New(options)
		asks(t, b, 401)
	})
}

func TestSigningInAgainEndsTheSessionBefore(t *testing.T) {
	f := newFixture(t)
	old := f.signIn(t, readToken)
	next := &browser{f: f, cookie: old.cookie}
	w := next.send("POST", sessionPath, `{"token": "`+adminToken+`"}`)
	if w.Code != 204 || w.Result().Cookies()[0].Value == old.cookie.Value {
		t.Fatalf("got %d with %s", w.Code, w.Header().Get("Set-Cookie"))
	}
	old.want(t, "the old session", 401, "GET", sessionPath, "")
	next.cookie = w.Result().Cookies()[0]
	next.want(t, "the new one", 200, "GET", sessionPath, "")
}

// TestTokenBeforeSession shows that a session never makes up for a wrong token, and that one among foreign cookies counts.
func TestTokenBeforeSession(t *testing.T) {
	f := newFixture(t)
	b := f.signIn(t, adminToken)
	b.want(t, "a wrong token", 401, "GET", "/api/v1/pool", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer wrong") })
	b.want(t, "the read-only token", 403, "PUT", clockPath, clockBody, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+readToken) })
	b.want(t, "foreign cookies", 200, "GET", "/api/v1/pool", "", func(r *http.Request) {
		r.Header.Set("Cookie", "keywheel_session=tossed; "+r.Header.Get("Cookie")+"; keywheel_session=")
	})
}

func TestDocumentHasTheSession(t *testing.T) {
	f := newFixture(t)
	schemes, err := json.Marshal(f.doc.at("components", "securitySchemes", "cookieAuth"))
	if err != nil || !bytes.Contains(schemes, []byte(`"in":"cookie","name":"keywheel_session","type":"apiKey"`)) {
		t.Errorf("cookieAuth is %s, %v", schemes, err)
	}
	if security := f.doc.at("paths", sessionPath, "post")["security"]; security != nil {
		t.Errorf("signing in needs %v", security)
	}
}
