package admin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"keywheel/xds/admin"
)

// operation is one of the served document, as those who attack would find it.
type operation struct {
	method, path string // the path is a template
	query        []string
	members      []string // of its body; nil without one
	endless      bool     // its answer goes on until the client goes away
}

// operations are all of the document, in order.
func (d openAPI) operations() []operation {
	var found []operation
	for path, item := range d.at("paths") {
		for method := range item.(map[string]any) {
			op := operation{method: strings.ToUpper(method), path: path}
			spec := openAPI(d.at("paths", path, method))
			op.endless = spec.at("responses", "200", "content", "text/event-stream") != nil
			parameters, _ := spec["parameters"].([]any)
			for _, p := range parameters {
				if p := p.(map[string]any); p["in"] == "query" {
					op.query = append(op.query, p["name"].(string))
				}
			}
			if schema := spec.at("requestBody", "content", "application/json", "schema"); schema != nil {
				if ref, ok := schema["$ref"].(string); ok {
					schema = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
				}
				op.members = slices.Sorted(maps.Keys(openAPI(schema).at("properties")))
			}
			found = append(found, op)
		}
	}
	slices.SortFunc(found, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return found
}

// at returns the operation's path with value for each parameter.
func (o operation) at(value string) string {
	parts := strings.Split(o.path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = url.PathEscape(value)
		}
	}
	return strings.Join(parts, "/")
}

func (o operation) String() string { return o.method + " " + o.path }

func (o operation) writes() bool { return o.method != http.MethodGet }

// hostile are requests to o that carry planted wherever a client can put something.
func (o operation) hostile(planted string) []*http.Request {
	quoted, _ := json.Marshal(planted)
	bodies := []string{
		"", planted, string(quoted), `[` + string(quoted) + `]`, `{` + string(quoted) + `: ` + string(quoted) + `}`, `{` + string(quoted), `{"a": {"b": ` + string(quoted) + `}}`,
	}
	for _, m := range o.members {
		bodies = append(bodies,
			`{"`+m+`": `+string(quoted)+`}`, `{"`+m+`": [`+string(quoted)+`]}`, `{"`+m+`": {`+string(quoted)+`: 1}}`, `{"`+m+planted+`": 1}`)
	}
	queries := []string{""}
	for _, q := range o.query {
		queries = append(queries, "?"+q+"="+url.QueryEscape(planted))
	}
	queries = append(queries, "?"+url.QueryEscape(planted)+"=1", "?%zz"+planted)
	var requests []*http.Request
	for _, id := range []string{"1", "2025-11-18", planted, strings.Repeat(planted, 10)} {
		for _, query := range queries {
			for _, body := range bodies {
				r := httptest.NewRequest(o.method, o.at(id)+query, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				requests = append(requests, r)
			}
		}
	}
	for _, h := range []string{"Content-Type", "Accept", "Origin", "Referer", "Cookie", "Range", "If-Match", "Accept-Encoding", "X-Forwarded-For", "X-Keywheel-Page"} {
		r := httptest.NewRequest(o.method, o.at("1"), strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(h, planted)
		requests = append(requests, r)
	}
	return requests
}

// forms are the shapes in which a secret is a secret still.
func forms(planted string) []string {
	sum := sha256.Sum256([]byte(planted))
	return []string{
		planted, url.QueryEscape(planted), base64.StdEncoding.EncodeToString([]byte(planted)), base64.RawURLEncoding.EncodeToString([]byte(planted)),
		hex.EncodeToString([]byte(planted)), hex.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(sum[:]), base64.RawURLEncoding.EncodeToString(sum[:]),
	}
}

// TestErrorsTellNothing puts a key wherever a client can put something, at every operation, with and without a store
// that fails, and looks for it, and for the keys that there are, in every answer; in errors, for what the machine is like.
func TestErrorsTellNothing(t *testing.T) {
	const planted = "gsk_CANARY_9f8e7d6c5b4a"
	const machine = "/var/lib/keywheel/keywheel.db: bucket findings: write: no space left on device"
	secrets := append(forms(planted), forms(adminToken)...)
	for _, s := range []string{readToken, secretOf("1"), secretOf("2"), secretOf("3")} {
		secrets = append(secrets, forms(s)...)
	}
	ours := len(secrets) // the rest is no secret, but nothing that an error should tell
	secrets = append(secrets, "keywheel.db", "bucket", "findings", "no space", ".go:")
	gone, goAway := context.WithCancel(t.Context())
	goAway()
	for _, failing := range []error{nil, errors.New(machine + " " + planted)} {
		var answer bytes.Buffer
		f := newFixture(t)
		f.account.err = failing
		asked, refused := 0, 0
		check := func(r *http.Request, authorization string) {
			name := fmt.Sprintf("%s %s as %q", r.Method, r.URL, authorization)
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			w := recorder{httptest.NewRecorder()}
			f.handler.ServeHTTP(w, r)
			asked++
			answer.Reset()
			_ = w.Header().Write(&answer)
			answer.Write(w.Body.Bytes())
			for i, s := range secrets {
				if strings.Contains(answer.String(), s) && (i < ours || w.Code >= 400) {
					t.Errorf("%s: %d tells %s:\n%s", name, w.Code, s, &answer)
				}
			}
			if w.Code < 400 {
				return
			}
			refused++
			var p struct{ Title, Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Title != http.StatusText(w.Code) || p.Detail == "" ||
				w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d is no problem: %v %s", name, w.Code, err, &answer)
			}
			if w.Code == 500 {
				t.Errorf("%s: 500", name)
			}
		}
		for _, o := range f.doc.operations() {
			for _, authorization := range []string{"Bearer " + adminToken, "Bearer " + readToken, "Bearer " + planted, planted, ""} {
				for i, r := range o.hostile(planted) {
					if o.endless {
						r = r.WithContext(gone)
					}
					if authorization == "Bearer "+adminToken || i%7 == 0 {
						check(r, authorization)
					}
				}
			}
		}
		for _, path := range []string{"/" + planted, "/api/v1/" + planted, "/api/v1/keys/../" + planted, "/assets/" + planted, "//" + planted} {
			r := httptest.NewRequest("GET", "http://keywheel"+path, nil)
			check(r, "Bearer "+adminToken)
		}
		if refused < 500 {
			t.Errorf("only %d of %d requests were refused: the test asks for the wrong things", refused, asked)
		}
	}
}

// TestReadersWriteNothing tries every operation that the document has for writing, with a read-only token and session.
func TestReadersWriteNothing(t *testing.T) {
	f, kept, now := audited(t)
	session := f.signIn(t, readToken)
	writes := 0
	for _, o := range f.doc.operations() {
		if !o.writes() || o.path == sessionPath {
			continue
		}
		writes++
		for _, id := range []string{"1", "2", "9", "2025-11-18"} {
			*now = now.Add(1e9 * 61)
			kept.take()
			for _, body := range []string{"", `{}`, clockBody} {
				w := f.do(o.method, o.at(id), readToken, body)
				f.doc.check(t, o.method, o.at(id), w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
				if w.Code != 403 {
					t.Errorf("%v with the read-only token: got %d", o, w.Code)
				}
				if w := session.send(o.method, o.at(id), body); w.Code != 403 {
					t.Errorf("%v with a read-only session: got %d", o, w.Code)
				}
			}
			if entries := kept.take(); len(entries) != 6 || entries[0].Who != "read" || entries[1].Who != "page" || entries[0].What == "" {
				t.Errorf("%v: in the audit: %+v", o, entries)
			}
			*now = now.Add(1e9)
			session.want(t, "reading on", 200, "GET", "/api/v1/pool", "")
		}
	}
	if writes < 6 {
		t.Errorf("%d operations write: the document has more", writes)
	}
	if len(f.account.cleared) != 0 || f.notifier.tests != 0 || f.speed != -1 {
		t.Errorf("something was changed: cleared %v, %d test messages, clock at %v", f.account.cleared, f.notifier.tests, f.speed)
	}
	if got := f.ids(); !slices.Equal(got, []string{"1", "2", "3"}) || len(f.keys.Ledger.Audits(1)) != 0 {
		t.Errorf("keys were changed: there are %v", got)
	}
}

// TestNothingMoreThanTheDocumentHas sends members that no body has: what only Keywheel counts cannot be assigned.
func TestNothingMoreThanTheDocumentHas(t *testing.T) {
	f := newFixture(t)
	bodies := 0
	for _, o := range f.doc.operations() {
		if o.members == nil {
			continue
		}
		bodies++
		for _, member := range []string{"used", "used_tokens", "requests", "health", "revision", "generation", "__proto__", "$schema", "Access"} {
			body, err := json.Marshal(map[string]any{member: 0})
			if err != nil {
				t.Fatal(err)
			}
			w := f.do(o.method, o.at("1"), adminToken, string(body))
			if w.Code != 422 || !strings.Contains(w.Body.String(), "unexpected property") {
				t.Errorf("%v with %s: got %d %s", o, member, w.Code, w.Body)
			}
		}
	}
	if bodies < 4 {
		t.Errorf("%d operations have bodies: the document has more", bodies)
	}
	w := f.do("PUT", clockPath, adminToken, `{"now": "2025-11-18T08:00:00Z", "sped": 2}`)
	if w.Code != 422 || !strings.Contains(w.Body.String(), "body.sped") {
		t.Errorf("a slip of the pen is not named: %d %s", w.Code, w.Body)
	}
}

// TestPathsAreAsTheyAreSpelled tries ways around the table of public paths, and out of the paths that there are.
func TestPathsAreAsTheyAreSpelled(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) {
		o.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("the page")) })
	})
	for _, path := range []string{
		"/healthz/../api/v1/pool", "/./api/v1/pool", "//api/v1/pool", "/api/v1/pool/", "/api//v1/pool", "/assets/../api/v1/pool", "/assets/%2e%2e/api/v1/pool",
		"/assets/..%2fapi/v1/pool", "/assets//../api/v1/pool", "/healthz/", "/readyz%2f..%2fapi/v1/pool", "/%2e%2e/api/v1/pool", "/assets/",
		"/api/v1/keys/..", "/api/v1/keys/%2e%2e/clock", "/api/v1/keys/..%2f..%2fpool", "/api/v1/keys/%00", "/api/v1/keys/1%2f..%2f2", "/API/v1/pool", "/api/v1/session/",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS"} {
			r := httptest.NewRequest(method, "http://keywheel/", nil)
			u, err := url.Parse("http://keywheel" + path)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			if w.Code != 401 {
				t.Errorf("%s %s without a token: got %d", method, path, w.Code)
			}
			r.Header.Set("Authorization", "Bearer "+adminToken)
			w = httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			if w.Code != 404 && w.Code != 405 || w.Header().Get("Location") != "" {
				t.Errorf("%s %s as admin: got %d, Location %q", method, path, w.Code, w.Header().Get("Location"))
			}
		}
	}
}
