package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/admin"
	"keywheel/xds/audit"
)

// added is the secret of a key that comes by the API.
const added = "gsk_CANARYadded5vLq0Zb7dW1nRk8s"

// key reads a key back, as its members.
func (f *fixture) key(t *testing.T, id string) map[string]any {
	t.Helper()
	var key map[string]any
	if err := json.Unmarshal(f.call(t, "GET", "/api/v1/keys/"+id, readToken, "", 200), &key); err != nil {
		t.Fatal(err)
	}
	return key
}

// change makes a change that is accepted, and wants the generation to be the account's.
func (f *fixture) change(t *testing.T, method, path, body, wantID string) {
	t.Helper()
	var got admin.Changed
	if err := json.Unmarshal(f.call(t, method, path, adminToken, body, 202), &got); err != nil {
		t.Fatal(err)
	}
	if want := (admin.Changed{ID: wantID, Generation: f.keys.Ledger.Assignment().Generation}); got != want {
		t.Errorf("%s %s: got %+v, want %+v", method, path, got, want)
	}
}

// has wants members of a key.
func has(t *testing.T, key map[string]any, want string) {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(want), &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		if diff := cmp.Diff(value, key[name]); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestAddKey(t *testing.T) {
	f := newAccount(t)
	f.change(t, "POST", "/api/v1/keys", `{"secret": " `+added+`\n"}`, "4")
	has(t, f.key(t, "4"), `{"id": "4", "label": "Emergency", "priority": 4, "rank": 4, "tier": "free", "org": "key-4", "limit_tokens": null, "limit_requests": null,
		"disabled": false, "models": [], "thresholds": [75, 90, 100], "source": "api", "changed": ["secret"], "used_tokens": 0, "status": "standby"}`)
	if f.keys.Secret("4").Reveal() != added {
		t.Error("the secret has blanks around it")
	}
	f.change(t, "POST", "/api/v1/keys", `{"id": "team-b", "secret": "`+added+`2", "label": "Team B", "priority": 1, "tier": "paid", "org": "acme",
		"limit_tokens": 500000, "limit_requests": 9007199254740992, "disabled": true, "models": ["openai/gpt-oss-120b", "a"], "thresholds": [90, 50]}`, "team-b")
	has(t, f.key(t, "team-b"), `{"label": "Team B", "priority": 1, "rank": 2, "tier": "paid", "org": "acme", "limit_tokens": 500000, "limit_requests": 9007199254740992,
		"disabled": true, "status": "disabled", "models": ["openai/gpt-oss-120b", "a"], "thresholds": [50, 90], "source": "api",
		"changed": ["disabled", "label", "limit_requests", "limit_tokens", "models", "org", "priority", "secret", "thresholds", "tier"]}`)
	f.change(t, "POST", "/api/v1/keys", `{"secret": "`+added+`3", "limit_tokens": null, "limit_requests": null}`, "5")
	has(t, f.key(t, "5"), `{"limit_tokens": null, "limit_requests": null, "changed": ["limit_requests", "limit_tokens", "secret"]}`)
}

func TestChangeKey(t *testing.T) {
	f := newAccount(t)
	has(t, f.key(t, "2"), `{"source": "file", "changed": [], "limit_tokens": 14400, "label": "<Backup>"}`)
	for _, c := range []struct{ body, want string }{
		{`{}`, `{"changed": []}`},
		{`{"limit_tokens": null}`, `{"limit_tokens": null, "percent": null, "remaining_tokens": null, "changed": ["limit_tokens"]}`},
		{`{"limit_requests": 7}`, `{"limit_tokens": null, "limit_requests": 7, "changed": ["limit_requests", "limit_tokens"]}`},
		{`{"limit_requests": null, "limit_tokens": 9}`, `{"limit_tokens": 9, "limit_requests": null}`},
		{`{"label": "<b>ü</b>"}`, `{"label": "<b>ü</b>"}`},
		{`{"label": ""}`, `{"label": "Backup"}`},
		{`{"priority": 9}`, `{"priority": 9, "rank": 3, "label": "Emergency"}`},
		{`{"tier": "free", "org": "acme"}`, `{"tier": "free", "org": "acme"}`},
		{`{"org": ""}`, `{"org": "key-2"}`},
		{`{"disabled": true}`, `{"disabled": true, "status": "disabled"}`},
		{`{"disabled": false}`, `{"disabled": false, "status": "standby"}`},
		{`{"models": ["a", "b"]}`, `{"models": ["a", "b"]}`},
		{`{"models": []}`, `{"models": []}`},
		{`{"thresholds": [100, 1]}`, `{"thresholds": [1, 100]}`},
		{`{"secret": "` + added + `"}`, `{"source": "file", "changed": ["disabled", "label", "limit_requests", "limit_tokens", "models", "org", "priority", "secret", "thresholds", "tier"]}`},
	} {
		f.change(t, "PATCH", "/api/v1/keys/2", c.body, "2")
		has(t, f.key(t, "2"), c.want)
	}
	if f.keys.Secret("2").Reveal() != added {
		t.Error("the secret is another")
	}
	if revision, _, _, _ := f.keys.Ledger.Credential("2"); revision != 2 {
		t.Errorf("revision %d: a new secret is a new credential, and nothing else is", revision)
	}
}

func TestRemoveKey(t *testing.T) {
	f := newAccount(t)
	f.change(t, "DELETE", "/api/v1/keys/2", "", "2")
	f.call(t, "GET", "/api/v1/keys/2", readToken, "", 404)
	f.call(t, "DELETE", "/api/v1/keys/2", adminToken, "", 404)
	f.call(t, "PATCH", "/api/v1/keys/2", adminToken, `{"label": "x"}`, 404)
	f.call(t, "POST", "/api/v1/keys/2/clear", adminToken, "", 404)
	f.change(t, "DELETE", "/api/v1/keys/1", "", "1")
	if body := f.call(t, "DELETE", "/api/v1/keys/3", adminToken, "", 422); !bytes.Contains(body, []byte("it is the only key; disable it instead, or add another first")) {
		t.Errorf("got %s", body)
	}
}

// TestRefusedEdits has what a body may not be, with the status and what the answer says; nothing is changed.
func TestRefusedEdits(t *testing.T) {
	f := newAccount(t)
	withSecret := func(members string) string { return `{"secret": "` + added + `", ` + members + `}` }
	type refused struct {
		body   string
		status int
		says   string
	}
	either := map[string]refused{
		"no JSON":               {`{"label": `, 400, ""},
		"nothing":               {``, 400, "request body is required"},
		"a list":                {`[]`, 422, "expected object"},
		"an unknown member":     {withSecret(`"limit": 5`), 422, "unexpected property"},
		"what is counted":       {withSecret(`"used_tokens": 0`), 422, "unexpected property"},
		"too large":             {withSecret(`"label": "` + strings.Repeat("a", 70_000) + `"`), 413, ""},
		"a label that is null":  {withSecret(`"label": null`), 422, "label: it is null; leave it out to keep what it is"},
		"a LABEL that is null":  {withSecret(`"LABEL": null`), 422, "unexpected property"},
		"a label that is one":   {withSecret(`"label": 1`), 422, "expected string"},
		"a long label":          {withSecret(`"label": "` + strings.Repeat("ä", 41) + `"`), 422, "expected length <= 40"},
		"a label of two lines":  {withSecret(`"label": "a\nb"`), 422, "label: it has characters that cannot be printed"},
		"priority 0":            {withSecret(`"priority": 0`), 422, "expected number >= 1"},
		"half a priority":       {withSecret(`"priority": 1.5`), 422, "expected integer"},
		"a huge priority":       {withSecret(`"priority": 1e300`), 422, "expected number <= 1e+06"},
		"an odd priority":       {withSecret(`"priority": 1e3`), 422, "A number here is written without a decimal point or an exponent"},
		"another tier":          {withSecret(`"tier": "gold"`), 422, `expected value to be one of`},
		"a limit of 0":          {withSecret(`"limit_tokens": 0`), 422, "expected number >= 1"},
		"a negative limit":      {withSecret(`"limit_requests": -1`), 422, "expected number >= 1"},
		"half a limit":          {withSecret(`"limit_tokens": 1.5`), 422, "expected integer"},
		"a huge limit":          {withSecret(`"limit_tokens": 9007199254740993`), 422, "limit_tokens is a number above 0, or null for no limit"},
		"a limit beyond any":    {withSecret(`"limit_tokens": 1e300`), 422, "A number here is written without a decimal point or an exponent"},
		"an odd limit":          {withSecret(`"limit_tokens": 1e3`), 422, "A number here is written without a decimal point or an exponent"},
		"a limit in words":      {withSecret(`"limit_tokens": "none"`), 422, "expected integer"},
		"disabled as a word":    {withSecret(`"disabled": "yes"`), 422, "expected boolean"},
		"too many models":       {withSecret(`"models": ["a"` + strings.Repeat(`, "a"`, 100) + `]`), 422, "expected array length <= 100"},
		"models that are null":  {withSecret(`"models": null`), 422, "models: it is null"},
		"a model that is null":  {withSecret(`"models": [null]`), 422, "body.models[0]"},
		"a model of blanks":     {withSecret(`"models": ["a b"]`), 422, "models: its entry 1 is not the name of a model"},
		"no thresholds":         {withSecret(`"thresholds": []`), 422, "hresholds"},
		"a threshold of 0":      {withSecret(`"thresholds": [0]`), 422, "hresholds"},
		"half a threshold":      {withSecret(`"thresholds": [75.5]`), 422, "expected integer"},
		"a threshold twice":     {withSecret(`"thresholds": [75, 75]`), 422, "thresholds are different whole percentages from 1 to 100"},
		"an empty secret":       {`{"secret": ""}`, 422, "expected length >= 1"},
		"a secret of blanks":    {`{"secret": "  \n"}`, 422, "The secret is empty."},
		"a secret that is null": {`{"secret": null}`, 422, "secret"},
		"a placeholder":         {`{"secret": "gsk_your_key_here"}`, 422, "secret: it is a placeholder"},
		"a secret with blanks":  {`{"secret": "` + added + ` ` + added + `"}`, 422, "secret: it has a blank inside"},
		"a long secret":         {`{"secret": "` + strings.Repeat("a", 4097) + `"}`, 422, "expected length <= 4096"},
		"another's secret":      {`{"secret": "` + secretOf("1") + `"}`, 422, "has the same secret as Groq Key 1; give one of them another"},
	}
	try := func(name, method, path string, c refused) {
		w := f.do(method, path, adminToken, c.body)
		body := w.Body.Bytes()
		f.doc.check(t, method, path, w.Code, w.Header().Get("Content-Type"), body)
		if w.Code != c.status {
			t.Errorf("%s, %s: got %d, want %d", name, method, w.Code, c.status)
		}
		if !bytes.Contains(body, []byte(c.says)) || bytes.Contains(body, []byte("CANARY")) {
			t.Errorf("%s, %s: got %s", name, method, body)
		}
	}
	for name, c := range either {
		try(name, "POST", "/api/v1/keys", c)
		try(name, "PATCH", "/api/v1/keys/2", c)
	}
	for name, c := range map[string]refused{
		"no secret":      {`{}`, 422, "expected required property secret to be present"},
		"an ID of dots":  {withSecret(`"id": "1.1"`), 422, "body.id"},
		"an ID too long": {withSecret(`"id": "` + strings.Repeat("a", 33) + `"`), 422, "body.id"},
		"an empty ID":    {withSecret(`"id": ""`), 422, "body.id"},
		"a secret as ID": {withSecret(`"id": "gsk_CANARY"`), 422, "its ID is at most 32 letters, digits, - and _, and no secret"},
		"there already":  {withSecret(`"id": "2"`), 409, "There is such a key already: Groq Key 2."},
	} {
		try(name, "POST", "/api/v1/keys", c)
	}
	try("an ID", "PATCH", "/api/v1/keys/2", refused{`{"id": "3"}`, 422, "unexpected property"})
	try("no such key", "PATCH", "/api/v1/keys/9", refused{`{"label": "x"}`, 404, "There is no key with this ID"})
	try("no such key", "DELETE", "/api/v1/keys/9", refused{``, 404, "There is no key with this ID"})
	try("a long ID", "DELETE", "/api/v1/keys/"+strings.Repeat("9", 65), refused{``, 422, "path.id"})
	if n := len(f.keys.Ledger.Audits(1)); n != 0 || !slices.Equal(f.ids(), []string{"1", "2", "3"}) || len(f.keys.Keys()[1].Changed) != 0 {
		t.Errorf("something was changed: %v", f.ids())
	}
}

// TestEditsAreJSON takes no other type of body: a form of another site could send that.
func TestEditsAreJSON(t *testing.T) {
	f := newAccount(t)
	for _, method := range []string{"POST", "PATCH"} {
		path := map[string]string{"POST": "/api/v1/keys", "PATCH": "/api/v1/keys/2"}[method]
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/cbor"} {
			r := httptest.NewRequest(method, path, strings.NewReader(`{"label": "x", "secret": "`+added+`"}`))
			r.Header.Set("Authorization", "Bearer "+adminToken)
			r.Header.Set("Content-Type", kind)
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			if w.Code != http.StatusUnsupportedMediaType {
				t.Errorf("%s as %s: got %d", method, kind, w.Code)
			}
			f.doc.check(t, method, path, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		}
	}
}

func TestEditsWithoutMasterKey(t *testing.T) {
	f := newAccount(t)
	f.keys = newKeys(t, true, nil)
	f.options.Roster, f.options.Ledger = f.keys, f.keys.Ledger
	f.handler = admin.New(f.options)
	for _, c := range [][3]string{
		{"POST", "/api/v1/keys", `{"secret": "` + added + `"}`}, {"PATCH", "/api/v1/keys/2", `{"label": "x", "secret": "` + added + `"}`},
	} {
		body := f.call(t, c[0], c[1], adminToken, c[2], 409)
		if !bytes.Contains(body, []byte("KEYWHEEL_MASTER_KEY is not set: a secret that comes by the API would be stored for everybody to read; set it, or put the key into the settings.")) {
			t.Errorf("%s: got %s", c[0], body)
		}
	}
	has(t, f.key(t, "2"), `{"label": "<Backup>", "changed": []}`)
	f.change(t, "PATCH", "/api/v1/keys/2", `{"label": "x"}`, "2")
}

func TestEditsWhenTheStoreFails(t *testing.T) {
	f := newAccount(t)
	f.account.err = errors.New("no space left on /secret/place")
	before := f.keys.Ledger.Assignment()
	for _, c := range [][3]string{
		{"POST", "/api/v1/keys", `{"secret": "` + added + `"}`}, {"PATCH", "/api/v1/keys/2", `{"label": "x"}`}, {"DELETE", "/api/v1/keys/2", ``},
	} {
		body := f.call(t, c[0], c[1], adminToken, c[2], 503)
		if !bytes.Contains(body, []byte("nothing was changed")) || bytes.Contains(body, []byte("space")) {
			t.Errorf("%s: got %s", c[0], body)
		}
	}
	if diff := cmp.Diff(before, f.keys.Ledger.Assignment()); diff != "" || !slices.Equal(f.ids(), []string{"1", "2", "3"}) {
		t.Errorf("something was changed: %s", diff)
	}
	f.account.err = nil
	f.change(t, "DELETE", "/api/v1/keys/2", "", "2")
}

// TestEditsAreAudited with who made them, from where, and which fields they set.
func TestEditsAreAudited(t *testing.T) {
	f := newAccount(t)
	page := f.signIn(t, adminToken)
	page.want(t, "the page", 202, "PATCH", "/api/v1/keys/2", `{"label": "x", "secret": "`+added+`"}`)
	page.want(t, "the page", 202, "POST", "/api/v1/keys/2/clear", "")
	f.from("[2001:db8::1]:1", "DELETE", "/api/v1/keys/3", adminToken)
	f.from("192.0.2.9:1", "DELETE", "/api/v1/keys/9", adminToken)
	want := []audit.Entry{
		{ID: 3, Who: audit.Admin, From: "2001:db8::1", What: "remove key", Key: "3"},
		{ID: 2, Who: audit.Page, From: "127.0.0.1", What: "clear key", Key: "2"},
		{ID: 1, Who: audit.Page, From: "127.0.0.1", What: "change key", Key: "2", Fields: []string{"label", "secret"}},
	}
	for i := range want {
		want[i].At, want[i].Outcome = afternoon.UTC(), audit.Done
	}
	if diff := cmp.Diff(want, f.keys.Ledger.Audits(9)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var shown []admin.Audit
	if err := json.Unmarshal(f.call(t, "GET", "/api/v1/audit?limit=1", readToken, "", 200), &shown); err != nil || len(shown) != 1 || shown[0].What != "remove key" {
		t.Errorf("got %+v, %v", shown, err)
	}
}

// TestPageMayEdit only by requests of its own.
func TestPageMayEdit(t *testing.T) {
	f := newAccount(t)
	page, reader := f.signIn(t, adminToken), f.signIn(t, readToken)
	without := func(r *http.Request) { r.Header.Del("X-Keywheel-Page") }
	for _, c := range [][3]string{
		{"POST", "/api/v1/keys", `{"secret": "` + added + `"}`}, {"PATCH", "/api/v1/keys/2", `{"label": "x"}`}, {"DELETE", "/api/v1/keys/3", ``},
	} {
		page.want(t, "without the header", 403, c[0], c[1], c[2], without)
		page.want(t, "another site", 403, c[0], c[1], c[2], header("Sec-Fetch-Site", "cross-site"))
		page.want(t, "another origin", 403, c[0], c[1], c[2], header("Origin", "http://localhost:9999"))
		reader.want(t, "the read-only token", 403, c[0], c[1], c[2])
		f.call(t, c[0], c[1], readToken, c[2], 403)
		page.want(t, "the page", 202, c[0], c[1], c[2])
	}
}

// TestSecretsNeverComeBack looks for secrets in all answers of an API on which keys were added, changed and refused.
func TestSecretsNeverComeBack(t *testing.T) {
	f := newAccount(t, func(o *admin.Options) { o.Closing = closed })
	var answers bytes.Buffer
	send := func(method, path, body string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+adminToken)
		r.Header.Set("Content-Type", "application/json")
		w := recorder{httptest.NewRecorder()}
		f.handler.ServeHTTP(w, r)
		fmt.Fprintf(&answers, "%s: %d\n", method, w.Code)
		_ = w.Header().Write(&answers)
		answers.Write(w.Body.Bytes())
	}
	secrets := []string{secretOf("1"), secretOf("2"), secretOf("3"), added, added + "2"}
	send("POST", "/api/v1/keys", `{"secret": "`+added+`", "label": "mine"}`)
	send("PATCH", "/api/v1/keys/1", `{"secret": "`+added+`2"}`)
	for _, s := range secrets {
		send("POST", "/api/v1/keys", `{"secret": "`+s+`"}`)
		send("PATCH", "/api/v1/keys/3", `{"secret": "`+s+`", "label": "`+s+`"}`)
		send("PATCH", "/api/v1/keys/"+s, `{"label": "x"}`)
		send("DELETE", "/api/v1/keys/"+s, "")
		send("POST", "/api/v1/keys", `{"id": "`+s+`", "secret": "`+s+`"}`)
	}
	for _, path := range []string{"keys", "keys/1", "keys/4", "pool", "proxies", "audit", "events", "usage", "usage.csv", "notifications", "stream", "../openapi.json", "summaries/2025-11-18"} {
		send("GET", strings.Replace("/api/v1/"+path, "/v1/..", "", 1), "")
	}
	if got := answers.String(); strings.Count(got, ": 202\n") != 3 || strings.Count(got, ": 200\n") != 13 || !strings.Contains(got, "event: state") {
		t.Errorf("the API was not used as it should:\n%s", got)
	}
	for _, s := range secrets {
		for _, form := range forms(s) {
			if strings.Contains(answers.String(), form) {
				t.Errorf("a secret came back")
			}
		}
	}
}

// closed is a channel that is.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// TestKeysWithoutARoster are shown, but have no source, and nothing can be changed.
func TestKeysWithoutARoster(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) { o.Roster = nil })
	has(t, f.key(t, "2"), `{"source": null, "changed": []}`)
	for _, c := range [][2]string{{"POST", "/api/v1/keys"}, {"PATCH", "/api/v1/keys/2"}, {"DELETE", "/api/v1/keys/2"}} {
		if w := f.do(c[0], c[1], adminToken, `{}`); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d", c[0], w.Code)
		}
	}
}
