package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"keywheel/e2e/harness"
	"keywheel/e2e/testca"
)

// backend is what stands behind the foreign edge: it takes down all that reaches it, byte for byte where the connection is
// not encrypted, and answers in several ways.
type backend struct {
	harness.ForeignUpstreams
	ca *testca.CA

	mu   sync.Mutex
	seen []string
	next chan struct{} // a stream's next event, once the client has the one before
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	ca, err := testca.NewCA("a test's own")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ca: ca, next: make(chan struct{})}
	b.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(b.CA, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Shop, b.LLM = b.serve(t, "shop", nil), b.serve(t, "llm", nil)
	b.Orders, b.Payments = b.serve(t, "orders", []string{"h2"}), b.serve(t, "payments", []string{"http/1.1"})
	b.Postgres = b.serveRaw(t)
	return b
}

// wiretap is a connection that remembers what came by it since it was last asked.
type wiretap struct {
	net.Conn
	mu  sync.Mutex
	got bytes.Buffer
}

func (c *wiretap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Write(p[:n])
	return n, err
}

func (c *wiretap) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.got.Reset()
	return c.got.String()
}

type tapping struct{ net.Listener }

func (l tapping) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wiretap{Conn: conn}, nil
}

type tapKey struct{}

// serve runs one upstream, with TLS where protocols are named.
func (b *backend) serve(t *testing.T, name string, protocols []string) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.handle(name, w, r) }))
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if tap, ok := c.(*wiretap); ok {
			ctx = context.WithValue(ctx, tapKey{}, tap)
		}
		return ctx
	}
	if protocols == nil {
		s.Listener = tapping{s.Listener}
		s.Start()
	} else {
		cert, err := b.ca.Serve(harness.ForeignNames...)
		if err != nil {
			t.Fatal(err)
		}
		s.EnableHTTP2 = slices.Contains(protocols, "h2")
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protocols, MinVersion: tls.VersionTLS12}
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveRaw runs an upstream that sends back each connection's bytes in capitals.
func (b *backend) serveRaw(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				got, _ := io.ReadAll(conn)
				b.note("postgres " + string(got))
				_, _ = conn.Write(bytes.ToUpper(got))
			}()
		}
	}()
	return ln.Addr().String()
}

func (b *backend) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, what)
}

// take returns what reached the upstreams since it was last called, without what Envoy makes up anew. Sorted sorts each
// request's headers: the client of HTTP/2 sends them in any order.
func (b *backend) take(sorted bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = nil
	for i := range seen {
		seen[i] = settled(seen[i])
		if head, body, _ := strings.Cut(seen[i], "\n\n"); sorted {
			lines := strings.Split(head, "\n")
			slices.Sort(lines[1:])
			seen[i] = strings.Join(lines, "\n") + "\n\n" + body
		}
	}
	return seen
}

// unique are headers that differ from one exchange to the next; the last one only where it is what a retry has left of
// ten seconds, which can be all of them.
var unique = regexp.MustCompile(`(?mi)^(?:(date|x-request-id|x-envoy-upstream-service-time): .*?|(x-envoy-expected-rq-timeout-ms): (?:\d{1,4}|10000))(\r?)$`)

func settled(text string) string { return unique.ReplaceAllString(text, "$1$2: …$3") }

// handle takes a request down and answers it.
func (b *backend) handle(name string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	head := ""
	if tap, ok := r.Context().Value(tapKey{}).(*wiretap); ok {
		head, _, _ = strings.Cut(tap.take(), "\r\n\r\n")
	} else {
		head = fmt.Sprintf("%s %s %s\nhost: %s\n%s", r.Method, r.RequestURI, r.Proto, r.Host, headerText(r.Header))
	}
	b.note(fmt.Sprintf("%s\n%s\n\n%s", name, head, body))
	h := w.Header()
	h.Set("Server", name)
	h.Set("X-Powered-By", "Go")
	switch path := r.URL.Path; {
	case r.Header.Get("Upgrade") == "websocket":
		echoUpgrade(w)
	case strings.HasSuffix(path, "/chat/completions"):
		b.stream(w, r)
	case strings.HasPrefix(path, "/shop.Orders/"):
		h.Set("Content-Type", "application/grpc")
		h.Set("Trailer", "Grpc-Status")
		_, _ = w.Write(body)
		h.Set("Grpc-Status", "0")
	case path == "/broken":
		http.Error(w, "it always breaks", http.StatusServiceUnavailable)
	case path == "/cached":
		h.Set("Etag", `"7"`)
		w.WriteHeader(http.StatusNotModified)
	case path == "/gone":
		http.NotFound(w, r)
	default:
		h.Set("Content-Type", "application/json")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		fmt.Fprintf(w, `{"name":%q,"uri":%q,"bytes":%d,"pad":%q}`, name, r.RequestURI, len(body), strings.Repeat("long enough to be compressed ", 20))
	}
}

// stream sends three events, each once the client has the one before.
func (b *backend) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		fmt.Fprintf(w, "data: {\"event\":%d}\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-b.next:
		case <-r.Context().Done():
			return
		}
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}
