package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/harness"
)

// exchange is one request, by HTTP/2 unless raw says its bytes.
type exchange struct {
	name string
	raw  string
	want string // the answer's status; of several, the first one's

	method, host, path, body string
	header                   http.Header
	trailers                 bool
	events                   int    // the answer is a stream of so many events, each of which is waited for
	after                    string // what is sent once the protocol was switched
}

// outcome is what the client got, and what the upstreams did.
type outcome struct {
	Answer string
	Seen   []string
}

// edgeExchanges are what clients do with the listener that Groq's route was added to.
func edgeExchanges() []exchange {
	const shop, api = "shop.example.com", "api.example.com"
	big := strings.Repeat("0123456789abcdef", 1<<14)
	all := []exchange{
		{name: "WebSocket", want: "101", after: "any bytes at all", raw: "GET /live HTTP/1.1\r\nHost: shop.example.com\r\n" +
			"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
		{name: "refused header", want: "400", raw: "GET / HTTP/1.1\r\nHost: shop.example.com\r\nno_such: 1\r\nConnection: close\r\n\r\n"},
		{name: "no HTTP", want: "400", raw: "GARBAGE\r\n\r\n"},
		{name: "two on one connection", want: "200", raw: "GET /a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n" +
			"GET /gone HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"},
		{name: "chunked", want: "200", raw: "POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n" +
			"Connection: close\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"},
	}
	for _, x := range []exchange{
		{name: "page", method: "GET", host: shop, path: "/a/../b?c=%2F", want: "200"},
		{name: "compressed", method: "GET", host: shop, path: "/", header: http.Header{"Accept-Encoding": {"gzip"}}, want: "200"},
		{name: "head", method: "HEAD", host: shop, path: "/gone", want: "404"},
		{name: "upload", method: "POST", host: shop, path: "/upload", body: big, want: "200"},
		{name: "headers of its own", method: "GET", host: shop, path: "/x", want: "200", header: http.Header{
			"Authorization": {"Bearer of-the-client"}, "Cookie": {"a=b; c=d"}, "X-Keywheel-Key": {"7"}, "X-Forwarded-For": {"192.0.2.1"},
			"X-Envoy-Retry-On": {"5xx"}, "Accept-Encoding": {"br"}, "Openai-Organization": {"own"},
		}},
		{name: "rewritten", method: "GET", host: shop, path: "/p/42", want: "200"},
		{name: "not modified", method: "GET", host: shop, path: "/cached", header: http.Header{"If-None-Match": {`"7"`}}, want: "304"},
		{name: "missing", method: "GET", host: shop, path: "/gone", want: "404"},
		{name: "retried in vain", method: "GET", host: shop, path: "/broken", want: "503"},
		{name: "login", method: "POST", host: shop, path: "/login", body: "user=a", want: "200"},
		{name: "a login too many", method: "POST", host: shop, path: "/login", body: "user=a", want: "429"},
		{name: "redirect", method: "GET", host: "www.example.com", path: "/x?y", want: "301"},
		{name: "nobody's", method: "GET", host: "example.org", path: "/openai/v1/models", want: "404"},
		{name: "health", method: "GET", host: "any", path: "/healthz", want: "200"},
		{name: "preflight", method: "OPTIONS", host: api, path: "/orders/1", want: "200", header: http.Header{
			"Origin": {"https://shop.example.com"}, "Access-Control-Request-Method": {"POST"},
		}},
		{name: "order", method: "POST", host: api, path: "/orders/1", body: `{"n":1}`, want: "200", header: http.Header{
			"Origin": {"https://shop.example.com"}, "Content-Type": {"application/json"},
		}},
		{name: "payment", method: "POST", host: api, path: "/payments/1", body: big, header: http.Header{"Cookie": {"a=b"}}, want: "200"},
		{name: "no API", method: "GET", host: api, path: "/elsewhere", want: "404"},
		{name: "a model of its own", method: "POST", host: harness.LLMHost, path: "/v1/chat/completions", want: "200", events: 3,
			body: `{"model":"own","stream":true}`, header: http.Header{"Authorization": {"Bearer of-the-client"}}},
		{name: "no model", method: "GET", host: harness.LLMHost, path: "/", want: "404"},
	} {
		h1 := x
		h1.raw = x.asHTTP1()
		all = append(all, h1, x)
	}
	return all
}

// asHTTP1 writes the request, after which the connection is closed.
func (x exchange) asHTTP1() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s", x.method, x.path, x.host, headerText(x.header))
	if x.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(x.body))
	}
	return b.String() + "\r\n" + x.body
}

// exchanges plays all of them, one after the other, and returns what came of each.
func exchanges(t *testing.T, b *backend, e *harness.ForeignEdge) map[string]outcome {
	t.Helper()
	out := map[string]outcome{}
	play := func(addr string, x exchange) {
		t.Helper()
		name, answer := x.name+" by HTTP/2", ""
		var err error
		if x.raw != "" {
			name = x.name + " by HTTP/1.1"
			answer, err = b.playRaw(addr, x)
		} else {
			answer, err = b.play(t, addr, x)
		}
		if fields := strings.Fields(answer); err != nil || len(fields) < 2 || fields[1] != x.want {
			t.Fatalf("%s: want %s, got %.300q, %v", name, x.want, answer, err)
		}
		out[name] = outcome{Answer: settled(answer), Seen: b.take(x.raw == "")}
	}
	for _, x := range edgeExchanges() {
		play(e.Edge, x)
	}
	play(e.Partners, exchange{
		name: "gRPC", method: "POST", host: "partners.example.com", path: "/shop.Orders/List", want: "200", body: "\x00\x00\x00\x00\x02ok",
		header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}, trailers: true,
	})
	answer, err := playTCP(e.Postgres, "select 1")
	if err != nil || answer != "SELECT 1" {
		t.Fatalf("postgres: %q, %v", answer, err)
	}
	out["postgres"] = outcome{Answer: answer, Seen: b.take(false)}
	for name, o := range out {
		if name == "login by HTTP/1.1" && len(o.Seen) != 1 || name == "retried in vain by HTTP/2" && len(o.Seen) != 3 {
			t.Errorf("%s: %d requests reached the upstream", name, len(o.Seen))
		}
	}
	return out
}

// play makes a request by HTTP/2. What it returns begins like an answer by HTTP/1.1.
func (b *backend) play(t *testing.T, addr string, x exchange) (string, error) {
	req, err := http.NewRequestWithContext(harness.Context(t), x.method, "http://"+addr+x.path, strings.NewReader(x.body))
	if err != nil {
		return "", err
	}
	req.Host = x.host
	maps.Copy(req.Header, x.header)
	res, err := harness.NewClient(t, addr, true).HTTP().Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := b.readAnswer(res.Body, x.events)
	if x.trailers && len(res.Trailer) == 0 {
		err = errors.Join(err, errors.New("there are no trailers"))
	}
	return fmt.Sprintf("%s %s\n%s\n%s\n%s", res.Proto, res.Status, headerText(res.Header), body, headerText(res.Trailer)), err
}

// playRaw sends a request's bytes, and returns those of the answer; of two requests, of both answers.
func (b *backend) playRaw(addr string, x exchange) (string, error) {
	conn, err := dial(addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, x.raw); err != nil {
		return "", err
	}
	var got bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &got))
	for range max(1, strings.Count(x.raw, "Host: ")) {
		res, err := http.ReadResponse(r, &http.Request{Method: x.method})
		if err != nil {
			return got.String(), err
		}
		if _, err := b.readAnswer(res.Body, x.events); err != nil {
			return got.String(), err
		}
	}
	if x.after != "" {
		if _, err := io.WriteString(conn, x.after); err != nil {
			return "", err
		}
		_, err = io.CopyN(io.Discard, r, int64(len(x.after)))
	}
	return got.String(), err
}

// readAnswer reads a body to its end. Each event of a stream must have come before the next one is let go.
func (b *backend) readAnswer(r io.Reader, events int) (string, error) {
	var got bytes.Buffer
	for i := range events {
		for piece := make([]byte, 1); !strings.Contains(got.String(), fmt.Sprintf("{\"event\":%d}\n\n", i)); {
			if _, err := r.Read(piece); err != nil {
				return got.String(), err
			}
			got.Write(piece)
		}
		b.next <- struct{}{}
	}
	_, err := io.Copy(&got, r)
	return got.String(), err
}

// playTCP sends something that is not HTTP.
func playTCP(addr, text string) (string, error) {
	conn, err := dial(addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// dial connects for as long as a test may take.
func dial(addr string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(harness.Deadline))
}
