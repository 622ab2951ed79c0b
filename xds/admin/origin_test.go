package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
)

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

// TestForeignRequests is what another site's page can make a browser send with our cookie, or could if the cookie went along.
func TestForeignRequests(t *testing.T) {
	cases := map[string]struct {
		change        []func(*http.Request)
		write, signIn int // 0: it is let through
		read          int
	}{
		"the page's own":                {nil, 0, 0, 0},
		"the page's, with a charset":    {[]func(*http.Request){header("Content-Type", "application/json; charset=utf-8")}, 0, 0, 0},
		"an old browser's":              {[]func(*http.Request){header("Sec-Fetch-Site")}, 0, 0, 0},
		"a program's":                   {[]func(*http.Request){header("Sec-Fetch-Site"), header("Origin")}, 0, 0, 0},
		"typed by hand":                 {[]func(*http.Request){header("Sec-Fetch-Site", "none")}, 0, 0, 0},
		"cross-site":                    {[]func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 403, 403, 403},
		"another port of this machine":  {[]func(*http.Request){header("Sec-Fetch-Site", "same-site"), header("Origin", "http://localhost:3000")}, 403, 403, 403},
		"another port, quiet":           {[]func(*http.Request){header("Sec-Fetch-Site", "same-site"), header("Origin")}, 403, 403, 403},
		"evil origin":                   {[]func(*http.Request){header("Origin", "https://evil.example")}, 403, 403, 403},
		"evil origin, old browser":      {[]func(*http.Request){header("Origin", "https://evil.example"), header("Sec-Fetch-Site")}, 403, 403, 403},
		"evil port, old browser":        {[]func(*http.Request){header("Origin", "http://localhost:3000"), header("Sec-Fetch-Site")}, 403, 403, 403},
		"our name at evil's":            {[]func(*http.Request){header("Origin", "http://localhost:8080.evil.example")}, 403, 403, 403},
		"null origin":                   {[]func(*http.Request){header("Origin", "null")}, 403, 403, 403},
		"no origin's name":              {[]func(*http.Request){header("Origin", "")}, 403, 403, 403},
		"two origins":                   {[]func(*http.Request){header("Origin", "http://localhost:8080", "https://evil.example")}, 403, 403, 403},
		"a form":                        {[]func(*http.Request){header("Content-Type", "application/x-www-form-urlencoded")}, 403, 403, 0},
		"a form with a file":            {[]func(*http.Request){header("Content-Type", "multipart/form-data; boundary=x")}, 403, 403, 0},
		"JSON as text/plain":            {[]func(*http.Request){header("Content-Type", "text/plain")}, 403, 403, 0},
		"text/plain like JSON":          {[]func(*http.Request){header("Content-Type", "text/plain; a=+json")}, 403, 403, 0},
		"no type":                       {[]func(*http.Request){header("Content-Type")}, 403, 403, 0},
		"a type that is none":           {[]func(*http.Request){header("Content-Type", "application/json; =")}, 403, 403, 0},
		"no page header":                {[]func(*http.Request){header("X-Keywheel-Page")}, 403, 0, 0},
		"another page header":           {[]func(*http.Request){header("X-Keywheel-Page", "true")}, 403, 0, 0},
		"a name that leads here":        {[]func(*http.Request){func(r *http.Request) { r.Host = "evil.example:8080" }, header("Origin", "http://evil.example:8080")}, 403, 403, 403},
		"a name that leads here, quiet": {[]func(*http.Request){func(r *http.Request) { r.Host = "evil.example" }, header("Origin")}, 403, 403, 403},
	}
	f := newFixture(t, func(o *admin.Options) { o.Addr = "127.0.0.1:8080" })
	b := f.signIn(t, adminToken)
	for name, c := range cases {
		f.speed = -1
		b.want(t, name, max(200, c.write), "PUT", clockPath, clockBody, c.change...)
		if changed := f.speed != -1; changed != (c.write == 0) {
			t.Errorf("%s: changed: %v", name, changed)
		}
		b.want(t, name, max(200, c.read), "GET", "/api/v1/pool", "", c.change...)
		stranger := &browser{f: f}
		stranger.want(t, name+", signing in", max(204, c.signIn), "POST", sessionPath, `{"token": "`+adminToken+`"}`, c.change...)
	}
	for name, c := range cases { // no browser sends a bearer token by itself
		if strings.Contains(name, "type") || strings.Contains(name, "form") || strings.Contains(name, "text") {
			continue // the library refuses these, with 415, or takes them for JSON
		}
		b := &browser{f: f}
		b.want(t, name+", with a token", 200, "PUT", clockPath, clockBody, append(c.change, header("Authorization", "Bearer "+adminToken))...)
	}
}

// TestTextIsNotJSON has the library refuse what a form could send, whoever sends it.
func TestTextIsNotJSON(t *testing.T) {
	f := newFixture(t)
	for _, kind := range []string{"text/plain", "text/plain; a=+json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		b := &browser{f: f}
		b.want(t, kind, 415, "PUT", clockPath, clockBody, header("Content-Type", kind), header("Authorization", "Bearer "+adminToken))
	}
	if f.speed != -1 {
		t.Error("the clock was set")
	}
}

func TestSignOutIsNotForOthers(t *testing.T) {
	f := newFixture(t)
	b := f.signIn(t, readToken)
	b.want(t, "another site", 403, "DELETE", sessionPath, "", header("Sec-Fetch-Site", "cross-site"))
	b.want(t, "a form", 403, "DELETE", sessionPath, "", header("X-Keywheel-Page"))
	b.want(t, "still signed in", 200, "GET", sessionPath, "")
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		addr, host string
		served     bool
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080", true},
		{"127.0.0.1:8080", "localhost:9000", true}, // forwarded by ssh
		{"127.0.0.1:8080", "LocalHost", true},
		{"127.0.0.1:8080", "[::1]:8080", true},
		{"127.0.0.1:8080", "[::1]", true},
		{"127.0.0.1:8080", "localhost.evil.example:8080", false},
		{"127.0.0.1:8080", "127.0.0.1.evil.example", false},
		{"127.0.0.1:8080", "192.0.2.1:8080", false},
		{"127.0.0.1:8080", "", false},
		{"127.0.0.2:8080", "127.0.0.2:8080", true},
		{"localhost:8080", "127.0.0.1:8080", true},
		{"[::1]:8080", "evil.example", false},
		{"0.0.0.0:8080", "keywheel.example", true},
		{"[::]:8080", "keywheel.example", true},
		{":8080", "keywheel.example", true},
		{"192.0.2.1:8080", "keywheel.example", true},
		{"", "keywheel.example", true},
	} {
		f := &fixture{handler: admin.New(admin.Options{Ledger: &account{}, Token: secret.New(adminToken), Addr: c.addr})}
		b := &browser{f: f}
		w := b.send("POST", sessionPath, `{"token": "`+adminToken+`"}`, func(r *http.Request) { r.Host = c.host }, header("Origin"))
		if served := w.Code == 204; served != c.served || !served && w.Code != 403 {
			t.Errorf("listening on %q, asked as %q: got %d", c.addr, c.host, w.Code)
		}
		if w := b.send("GET", "/api/v1/pool", "", func(r *http.Request) { r.Host = c.host }, header("Authorization", "Bearer "+adminToken)); w.Code != 200 {
			t.Errorf("listening on %q, asked as %q with a token: got %d", c.addr, c.host, w.Code)
		}
	}
}
