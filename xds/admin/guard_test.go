package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/guess"
)

// serveOn serves handler with time-outs that are short, and returns its address.
func serveOn(t *testing.T, handler http.Handler, shorten func(*http.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(handler, nil)
	shorten(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(Bounded(l)) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestLongAnswers streams through all that surrounds the operations, for three times as long as an answer may take: that
// is cut off, unless it asks for more time.
func TestLongAnswers(t *testing.T) {
	const limit = 300 * time.Millisecond
	for name, asks := range map[string]bool{"asks for time": true, "does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux, cancelled := http.NewServeMux(), make(chan bool, 1)
			mux.HandleFunc("GET /api/v1/stream", func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				if asks {
					if err := rc.SetWriteDeadline(time.Time{}); err != nil {
						t.Error(err)
					}
				}
				_, _ = io.WriteString(w, "data: first\n\n")
				if err := rc.Flush(); err != nil {
					t.Error(err)
				}
				select {
				case <-time.After(3 * limit):
				case <-r.Context().Done():
				}
				cancelled <- r.Context().Err() != nil
				_, _ = io.WriteString(w, "data: last\n\n")
				_ = rc.Flush()
			})
			g := newGuard(Options{Token: secret.New("token"), Now: time.Now})
			addr := serveOn(t, around(mux, g), func(srv *http.Server) { srv.ReadTimeout, srv.WriteTimeout = limit, limit })
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/api/v1/stream", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer token")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			lines := bufio.NewReader(answer.Body)
			if line, err := lines.ReadString('\n'); err != nil || line != "data: first\n" {
				t.Fatalf("got %q, %v before the handler went on", line, err)
			}
			rest, err := io.ReadAll(lines)
			if whole := err == nil && strings.HasSuffix(string(rest), "data: last\n\n"); whole != asks {
				t.Errorf("got %q, %v", rest, err)
			}
			if <-cancelled && asks {
				t.Error("its context was cancelled")
			}
		})
	}
}

// TestCallerIsKnown has a handler ask who calls, and whether they still may.
func TestCallerIsKnown(t *testing.T) {
	now := time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)
	token := secret.New("token")
	g := newGuard(Options{
		Now:    func() time.Time { return now },
		Tokens: func() (admin, read secret.Key) { return token, secret.New("reader") },
	})
	ask := func(change func(*http.Request)) Caller {
		var c Caller
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/api/v1/pool", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "[::ffff:192.0.2.9]:4711"
		change(r)
		g.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			c = caller(r.Context())
			if by := byCaller(r.Context()); by.Who != c.Who || by.From != c.From {
				t.Errorf("the audit is told of %s from %s, not %s from %s", by.Who, by.From, c.Who, c.From)
			}
		})).ServeHTTP(nil, r)
		return c
	}
	bearerOf := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	cookieOf := func(id string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id}) }
	}
	first, second := g.sessions.begin(digestOf("token")), g.sessions.begin(digestOf("reader"))
	admin, reader, page, readingPage := ask(bearerOf("token")), ask(bearerOf("reader")), ask(cookieOf(first)), ask(cookieOf(second))
	for who, c := range map[string]Caller{audit.Admin: admin, audit.Read: reader, audit.Page: page} {
		if c.Who != who || c.From != "192.0.2.9" || !c.still() {
			t.Errorf("want %s, got %s from %s", who, c.Who, c.From)
		}
	}
	for range 3 { // asking is using
		now = now.Add(sessionIdle - time.Second)
		if !page.still() {
			t.Error("the session ended, though a stream used it")
		}
	}
	if readingPage.still() {
		t.Error("a session that was not used goes on")
	}
	token = secret.New("another")
	if admin.still() || page.still() || !reader.still() {
		t.Error("with another admin token, only the reader may go on")
	}
	if c := caller(context.Background()); c.Who != audit.Nobody || c.still() {
		t.Errorf("without a guard: %s", c.Who)
	}
}

// TestWhatIsRememberedIsBounded has more sources and sessions than there is room for.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	now := time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)
	g := newGuard(Options{Now: func() time.Time { return now }})
	for i := range 3 * guess.MaxSources {
		g.limiter.Wrong(address(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>8, i&0xff)))
		g.sessions.begin(digest{byte(i)})
	}
	if n := g.limiter.Sources(); n != guess.MaxSources {
		t.Errorf("%d sources", n)
	}
	if n := g.sessions.live.Len(); n != maxSessions {
		t.Errorf("%d sessions", n)
	}
}
