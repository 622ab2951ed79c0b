package admin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/admin"
	"keywheel/xds/audit"
)

// ledgerOfRefusals keeps what the guard writes to the audit.
type ledgerOfRefusals struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (l *ledgerOfRefusals) add(ctx context.Context, e audit.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.entries = append(l.entries, e)
	}
	return errors.Join(l.err, ctx.Err())
}

func (l *ledgerOfRefusals) take() []audit.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.entries
	l.entries = nil
	return taken
}

// audited is an API whose clock stands still until the test moves it, and its audit.
func audited(t *testing.T, changes ...func(*admin.Options)) (f *fixture, kept *ledgerOfRefusals, now *time.Time) {
	t.Helper()
	kept, now = &ledgerOfRefusals{}, new(afternoon)
	changes = append(changes, func(o *admin.Options) { o.Audit, o.Now = kept.add, func() time.Time { return *now } })
	return newFixture(t, changes...), kept, now
}

// from does a request with a token from an address.
func (f *fixture) from(addr, method, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = addr
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

// TestBruteForce is a hundred guesses a second, from one address, for three minutes.
func TestBruteForce(t *testing.T) {
	f, kept, now := audited(t)
	const guesser = "198.51.100.7:4711"
	for minute := range 3 {
		refused, limited := 0, 0
		for i := range 6000 {
			w := f.from(guesser, "POST", "/api/v1/keys/1/clear", fmt.Sprintf("guess-%d", i))
			switch w.Code {
			case 401:
				refused++
			case 429:
				limited++
				wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
				if left := afternoon.Add(time.Duration(minute+1) * time.Minute).Sub(*now); err != nil || time.Duration(wait)*time.Second != left.Round(time.Second) && wait != int(left.Seconds())+1 {
					t.Fatalf("minute %d, guess %d: Retry-After %q with %v left", minute, i, w.Header().Get("Retry-After"), left)
				}
			default:
				t.Fatalf("guess %d: got %d", i, w.Code)
			}
			if i%1000 == 500 {
				for _, path := range []string{"/api/v1/pool", "/healthz"} {
					if w := f.from(guesser, "GET", path, adminToken); w.Code != 200 {
						t.Errorf("the right token, from the guesser's address: got %d for %s", w.Code, path)
					}
				}
			}
			*now = now.Add(10 * time.Millisecond)
		}
		if refused != 10 || limited != 5990 {
			t.Errorf("minute %d: %d times 401, %d times 429, want 10 and 5990", minute, refused, limited)
		}
	}
	if w := f.from("198.51.100.8:1", "GET", "/api/v1/pool", "guess"); w.Code != 401 {
		t.Errorf("another address: got %d, want 401", w.Code)
	}
	entries := kept.take()
	if len(entries) != 33 {
		t.Errorf("%d entries, want 10 and what follows, three times", len(entries))
	}
	for i, e := range entries {
		want := audit.Entry{Who: audit.Nobody, From: "198.51.100.7", What: "clear key", Key: "1", Outcome: audit.Refused, Detail: e.Detail}
		if i%11 == 10 {
			want.What, want.Key = "try tokens", ""
		}
		if diff := cmp.Diff(want, e); diff != "" || strings.Contains(e.Detail, "guess-") {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if len(f.account.cleared) != 0 {
		t.Error("a guesser cleared a key")
	}
}

func TestGuessingIsCountedByAddress(t *testing.T) {
	for _, c := range []struct {
		first, second string
		same          bool
	}{
		{"127.0.0.1:1", "127.0.0.1:2", true},
		{"127.0.0.1:1", "127.9.9.9:2", true}, // whoever has one loopback address has all
		{"[::1]:1", "127.0.0.1:2", true},
		{"[2001:db8::1]:1", "[2001:db8::2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2]:1", true},
		{"198.51.100.7:1", "[::ffff:198.51.100.7]:1", true},
		{"198.51.100.7:1", "198.51.100.8:1", false},
	} {
		f, _, _ := audited(t)
		for range 10 {
			f.from(c.first, "GET", "/api/v1/pool", "guess")
		}
		want := map[bool]int{true: 429, false: 401}[c.same]
		if w := f.from(c.second, "GET", "/api/v1/pool", "guess"); w.Code != want {
			t.Errorf("%s after %s: got %d, want %d", c.second, c.first, w.Code, want)
		}
	}
}

func TestGuessingAtTheSignIn(t *testing.T) {
	f, kept, now := audited(t)
	b := &browser{f: f}
	for i := range 12 {
		want := 401
		if i >= 10 {
			want = 429
		}
		w := b.send("POST", sessionPath, `{"token": "guess"}`)
		if w.Code != want || w.Header().Get("Content-Type") != "application/problem+json" || (want == 429) != (w.Header().Get("Retry-After") == "60") ||
			(want == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("guess %d: got %d %v %s", i, w.Code, w.Header(), w.Body)
		}
		f.doc.check(t, "POST", sessionPath, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
	}
	f.signIn(t, adminToken)
	*now = now.Add(-time.Hour)
	for range 10 {
		b.want(t, "the clock set back", 401, "POST", sessionPath, `{"token": "guess"}`)
	}
	*now = now.Add(time.Minute - time.Second)
	b.want(t, "within a minute", 429, "POST", sessionPath, `{"token": "guess"}`)
	*now = now.Add(time.Second)
	b.want(t, "a minute later", 401, "POST", sessionPath, `{"token": "guess"}`)
	entries := kept.take()
	for i, e := range entries[:10] {
		if e.What != "sign in" || e.From != "127.0.0.1" {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
}

// TestRefusedWritesAreAudited has each way in which a write is refused.
func TestRefusedWritesAreAudited(t *testing.T) {
	f, kept, now := audited(t)
	page, reader := f.signIn(t, adminToken), f.signIn(t, readToken)
	const (
		readOnly = "The read-only token cannot change anything; this needs the admin token."
		noToken  = "No valid token."
	)
	refusedBy := func(who, from, what, key, detail string) []audit.Entry {
		return []audit.Entry{{Who: who, From: from, What: what, Key: key, Outcome: audit.Refused, Detail: detail}}
	}
	for name, c := range map[string]struct {
		do   func()
		want []audit.Entry
	}{
		"read-only token":   {func() { f.from("192.0.2.9:1", "POST", "/api/v1/keys/2/clear", readToken) }, refusedBy(audit.Read, "192.0.2.9", "clear key", "2", readOnly)},
		"no such key":       {func() { f.from("192.0.2.9:1", "POST", "/api/v1/keys/gsk_planted/clear", readToken) }, refusedBy(audit.Read, "192.0.2.9", "clear key", "", readOnly)},
		"wrong token":       {func() { f.from("[2001:db8::1]:1", "PUT", clockPath, "guess") }, refusedBy(audit.Nobody, "2001:db8::1", "set clock", "", noToken)},
		"no token":          {func() { f.from("192.0.2.9:1", "PUT", clockPath, "") }, refusedBy(audit.Nobody, "192.0.2.9", "set clock", "", noToken)},
		"read-only session": {func() { reader.send("PUT", clockPath, clockBody) }, refusedBy(audit.Page, "127.0.0.1", "set clock", "", readOnly)},
		"another site": {func() { page.send("PUT", clockPath, clockBody, header("Sec-Fetch-Site", "cross-site")) },
			refusedBy(audit.Page, "127.0.0.1", "set clock", "", "This request came from another site's page.")},
		"another site signs in": {func() { page.send("POST", sessionPath, `{"token": "guess"}`, header("Sec-Fetch-Site", "cross-site")) },
			refusedBy(audit.Nobody, "127.0.0.1", "sign in", "", "This request came from another site's page.")},
		"wrong sign-in":        {func() { page.send("POST", sessionPath, `{"token": "guess"}`) }, refusedBy(audit.Nobody, "127.0.0.1", "sign in", "", noToken)},
		"reading":              {func() { f.from("192.0.2.9:1", "GET", "/api/v1/pool", "guess") }, nil},
		"asking":               {func() { f.from("192.0.2.9:1", "OPTIONS", clockPath, "") }, nil},
		"nothing there":        {func() { f.from("192.0.2.9:1", "POST", "/wp-login.php", "") }, nil},
		"done":                 {func() { f.from("192.0.2.9:1", "POST", "/api/v1/keys/2/clear", adminToken) }, nil},
		"signing in, rightly":  {func() { f.signIn(t, readToken) }, nil},
		"a reader signing out": {func() { f.signIn(t, readToken).send("DELETE", sessionPath, "") }, nil},
	} {
		*now = now.Add(time.Minute)
		c.do()
		if diff := cmp.Diff(c.want, kept.take()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestNoFloodOfEntries shows that those without a token can neither fill the audit nor hide in it what others do.
func TestNoFloodOfEntries(t *testing.T) {
	f, kept, now := audited(t)
	for i := range 300 {
		f.from(fmt.Sprintf("198.51.100.%d:1", i%200), "PUT", clockPath, "guess")
	}
	f.from("192.0.2.9:1", "PUT", clockPath, readToken)
	for range 11 {
		f.from("203.0.113.1:1", "GET", "/api/v1/pool", "guess")
	}
	entries := kept.take()
	if last := entries[len(entries)-1]; last.What != "try tokens" || last.From != "203.0.113.1" {
		t.Errorf("who guesses does not show: %+v", last)
	}
	entries = entries[:len(entries)-1]
	if len(entries) != 11 || entries[10].Who != audit.Read {
		t.Fatalf("got %d entries, want 10 of guessers and the reader's: %+v", len(entries), entries)
	}
	*now = now.Add(time.Minute)
	f.from("192.0.2.9:1", "GET", "/api/v1/pool", adminToken) // any request settles
	entries = kept.take()
	if len(entries) != 1 || !strings.HasPrefix(entries[0].Detail, "290 more") || entries[0].From != "198.51.100.99" {
		t.Errorf("got %+v, want a count of 290", entries)
	}
	*now = now.Add(time.Minute)
	f.from("192.0.2.9:1", "GET", "/api/v1/pool", adminToken)
	if entries = kept.take(); len(entries) != 0 {
		t.Errorf("counted twice: %+v", entries)
	}
}

// TestRefusedWithoutAnAudit shows that a refusal stands when it cannot be written, and that hanging up does not keep it out.
func TestRefusedWithoutAnAudit(t *testing.T) {
	var log strings.Builder
	f, kept, _ := audited(t, func(o *admin.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	r := httptest.NewRequestWithContext(ctx, "PUT", clockPath, nil)
	r.Header.Set("Authorization", "Bearer "+readToken)
	f.handler.ServeHTTP(httptest.NewRecorder(), r)
	if n := len(kept.take()); n != 1 || log.Len() != 0 {
		t.Errorf("who hung up left %d entries, and in the log: %s", n, &log)
	}
	kept.err = errors.New("disk full")
	if w := f.from("192.0.2.9:1", "PUT", clockPath, readToken); w.Code != http.StatusForbidden || f.speed != -1 {
		t.Errorf("got %d, and the speed is %v", w.Code, f.speed)
	}
	if !strings.Contains(log.String(), "disk full") {
		t.Error("nothing in the log")
	}
	f = newFixture(t) // nobody keeps an audit
	if w := f.from("192.0.2.9:1", "PUT", clockPath, readToken); w.Code != http.StatusForbidden {
		t.Errorf("without an audit: got %d", w.Code)
	}
}
