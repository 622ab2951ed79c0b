package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// steeringHeaders are what a client could spend keys with, were Envoy to obey it.
func steeringHeaders() http.Header {
	return http.Header{
		"X-Envoy-Max-Retries":                      {"5"},
		"X-Envoy-Retry-On":                         {"5xx,reset,gateway-error,connect-failure,retriable-4xx,retriable-status-codes,retriable-headers"},
		"X-Envoy-Retry-Grpc-On":                    {"cancelled,internal"},
		"X-Envoy-Retriable-Status-Codes":           {"200,404,422"},
		"X-Envoy-Retriable-Header-Names":           {"content-type"},
		"X-Envoy-Hedge-On-Per-Try-Timeout":         {"true"},
		"X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms":   {"1"},
		"X-Envoy-Upstream-Rq-Timeout-Ms":           {"1"},
		"X-Envoy-Expected-Rq-Timeout-Ms":           {"1"},
		"X-Envoy-Upstream-Rq-Timeout-Alt-Response": {"204"},
		"X-Envoy-Upstream-Alt-Stat-Name":           {"other"},
		"X-Envoy-Attempt-Count":                    {"3"},
		"X-Envoy-Decorator-Operation":              {"other"},
		"X-Envoy-Original-Path":                    {"/elsewhere"},
		"X-Envoy-Internal":                         {"true"},
		"X-Keywheel-Rotate":                        {"1"},
	}
}

// trusting makes Envoy take this machine's clients for internal ones, whose x-envoy-* headers it obeys.
func trusting(t *testing.T, b harness.Bootstrap) {
	b.ConnectionManager(t)["internal_address_config"] = map[string]any{"cidr_ranges": []any{
		map[string]any{"address_prefix": "127.0.0.0", "prefix_len": 8},
	}}
}

// A client that sends Envoy's retry, hedge and time-out headers spends one key once, also with an Envoy that trusts it.
func TestClientCannotSteerRetries(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Groq:      fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Bootstrap: func(b harness.Bootstrap) { trusting(t, b) },
	})
	for version, c := range s.Clients() {
		for what, script := range map[string]fakegroq.Rule{
			"an answer":        {},
			"a slow answer":    {Silence: fakegroq.Duration(300 * time.Millisecond)},
			"the caller's 404": {Fault: fakegroq.ModelNotFound},
			"the caller's 422": {Fault: fakegroq.Unprocessable},
		} {
			for _, stream := range []bool{false, true} {
				a := c.Do(t, harness.Call{Stream: stream, Script: script, Header: steeringHeaders()})
				attempts := s.Attempts(t, a.Tag)
				if got := harness.KeysOf(attempts); got != "1" || a.Status != attempts[0].Status || a.SHA256 != attempts[0].AnswerSHA256 {
					t.Errorf("%s, %s: tried keys %q: %s", version, what, got, a)
				}
			}
		}
	}
	s.AssertOracle(t)
}

// What a client says of itself stays here: its own key, however often it is given, its cookies, its organization, and
// whatever calls itself Keywheel's. And Groq's cookies do not come back.
func TestClientsOwnHeadersStay(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	const canary = "canary-of-the-client"
	header := http.Header{
		"Authorization":       {"Bearer " + harness.ClientSecret, "Basic " + canary},
		"Cookie":              {"session=" + canary, "more=" + canary},
		"Openai-Organization": {canary},
		"Openai-Project":      {canary},
		"X-Keywheel-Key":      {canary},
		"X-Keywheel-Rotate":   {canary},
		"X-Keywheel-Anything": {canary},
		"X-Forwarded-For":     {canary},
		"X-Own":               {"passes"},
	}
	for version, c := range s.Clients() {
		a := c.Do(t, harness.Call{Header: header})
		if a.Status != 200 || a.Key != "1" {
			t.Fatalf("%s: %s", version, a)
		}
		if v := a.Header.Values("set-cookie"); len(v) != 0 {
			t.Errorf("%s: Groq's cookies came back: %v", version, v)
		}
		got := s.Attempts(t, a.Tag)[0].Header
		if want := []string{"Bearer " + s.Keys[0].Secret}; !slices.Equal(got.Values("Authorization"), want) {
			t.Errorf("%s: %d Authorization headers reached Groq, of which one must be key 1's", version, len(got.Values("Authorization")))
		}
		if got.Get("X-Own") != "passes" {
			t.Errorf("%s: a harmless header was taken away", version)
		}
		for name, values := range got {
			for _, v := range values {
				if strings.Contains(v, canary) || strings.Contains(v, harness.ClientSecret) {
					t.Errorf("%s: %s of the client reached Groq", version, name)
				}
			}
		}
	}
}

// Only the endpoints of the list pass; every other gets 403 and never reaches Groq.
func TestOtherEndpointsAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for version, c := range s.Clients() {
		for _, e := range []harness.Call{
			{Path: "/openai/v1/files"}, {Path: "/openai/v1/batches"}, {Path: "/v1/files", Method: "GET"}, {Path: "/v1/fine_tunings"},
			{Path: "/"}, {Path: "/elsewhere"}, {Path: "/openai/v1/models"}, {Path: "/openai/v1/models", Method: "DELETE"},
			{Path: "/v1/chat/completions/../../v1/files"}, {Path: "/v1/chat/completionsx"}, {Path: "/v1/chat/completions", Method: "DELETE"},
		} {
			a := c.Do(t, e)
			if a.Status != 403 || a.ErrorCode() != "endpoint_not_allowed" {
				t.Errorf("%s %s %s: %s", version, e.Method, e.Path, a)
			}
		}
	}
	if got := s.Groq.Truth().Received; got != 0 {
		t.Errorf("%d refused calls reached Groq", got)
	}
}

// An attempt without the gate's mark spends no key: neither on a route without the gate, nor as a mirror's copy.
func TestAttemptWithoutItsGateSpendsNothing(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Bootstrap: func(b harness.Bootstrap) {
			mirrored := clone(t, groqRoute(t, b))
			mirrored["name"] = "mirrored"
			mirrored["match"].(map[string]any)["headers"] = []any{map[string]any{"name": "x-test-mirror", "present_match": true}}
			mirrored["route"].(map[string]any)["request_mirror_policies"] = []any{map[string]any{"cluster": "groq"}}
			b.PrependRoute(t, mirrored)
			b.PrependRoute(t, map[string]any{
				"match": map[string]any{"prefix": "/naked/"},
				"route": map[string]any{"cluster": "groq", "prefix_rewrite": "/openai/v1/"},
			})
		},
	})
	// An attempt that the filter refuses counts as cancelled, one that is sent in the total.
	begun := func() (n int64) {
		for _, count := range s.Envoy.Stats(t, `^cluster\.groq\.upstream_rq_(cancelled|total)$`) {
			n += count
		}
		return n
	}
	for version, c := range s.Clients() {
		a := c.Do(t, harness.Call{Path: "/naked/chat/completions"})
		if a.Status != 503 || a.ErrorCode() != "keywheel_gate_missing" || a.Key != "" {
			t.Errorf("%s, a route without the gate: %s", version, a)
		}
		if got := s.Groq.Truth().Tagged(a.Tag); len(got) != 0 {
			t.Errorf("%s, a route without the gate spent keys %q", version, harness.KeysOf(got))
		}
		before := begun()
		a = c.Do(t, harness.Call{Header: http.Header{"X-Test-Mirror": {"yes"}}})
		if a.Status != 200 || a.Key != "1" {
			t.Errorf("%s, a mirrored call: %s", version, a)
		}
		harness.Eventually(t, "both the call and its copy have come to an attempt", func() error {
			if n := begun() - before; n < 2 {
				return fmt.Errorf("%d have", n)
			}
			return nil
		})
		if got := s.Attempts(t, a.Tag); harness.KeysOf(got) != "1" {
			t.Errorf("%s, a mirrored call was sent with keys %q", version, harness.KeysOf(got))
		}
	}
	s.AssertOracle(t)
}

// groqRoute is the route of the shipped configuration that leads to Groq.
func groqRoute(t *testing.T, b harness.Bootstrap) map[string]any {
	t.Helper()
	for _, r := range b.Routes(t) {
		route := r.(map[string]any)
		if action, ok := route["route"].(map[string]any); ok && action["cluster"] == "groq" {
			return route
		}
	}
	t.Fatal("no route leads to groq")
	return nil
}

func clone(t *testing.T, v map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Another route of the same listener passes untouched, a WebSocket upgrade too.
func TestOtherRoutesPassUntouched(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			echoUpgrade(w)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Set-Cookie", "own=1")
		fmt.Fprintf(w, "%s %s %s %s", r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.Header.Get("Accept-Encoding"), body)
	}))
	defer other.Close()
	s := harness.Start(t, harness.Options{Bootstrap: func(b harness.Bootstrap) {
		b.AddCluster(t, "other", other.Listener.Addr().String())
		b.PrependRoute(t, map[string]any{"match": map[string]any{"prefix": "/other/"}, "route": map[string]any{"cluster": "other"}})
	}})
	for version, c := range s.Clients() {
		a := c.Do(t, harness.Call{Path: "/other/x", Body: strings.NewReader("body"), Header: http.Header{
			"Cookie": {"a=b"}, "Accept-Encoding": {"br"},
		}})
		want := "Bearer " + harness.ClientSecret + " a=b br body"
		if a.Status != 200 || string(a.Body) != want || a.Key != "" || a.Header.Get("Set-Cookie") != "own=1" {
			t.Errorf("%s: %s, %v", version, a, a.Header)
		}
	}
	upgradeAndEcho(t, s.Keywheel.Listen)
	if got := s.Groq.Truth().Received; got != 0 {
		t.Errorf("%d calls reached Groq", got)
	}
}

// echoUpgrade switches protocols and sends everything back.
func echoUpgrade(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
	if err == nil {
		_, _ = io.Copy(conn, buffered) // until the client goes
	}
}

func upgradeAndEcho(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(harness.Deadline)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /other/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("upgrade: %v, %v", res, err)
	}
	const text = "any bytes at all"
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Errorf("echoed %q, %v", got, err)
	}
}

// A call that comes back to Keywheel, because something before Groq leads there, ends with 508 instead of going round.
func TestLoopEnds(t *testing.T) {
	t.Parallel()
	var target atomic.Pointer[url.URL]
	var passes atomic.Int64
	relay := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		passes.Add(1)
		r.SetURL(target.Load())
	}})
	defer relay.Close()
	target.Store(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}) // until the listener is known
	s := harness.Start(t, harness.Options{Upstream: relay.URL})
	target.Store(&url.URL{Scheme: "http", Host: s.Keywheel.Listen})
	for version, c := range s.Clients() {
		passes.Store(0)
		a := c.Do(t, harness.Call{})
		if a.Status != 508 {
			t.Errorf("%s: %s", version, a)
		}
		if n := passes.Load(); n < 1 || n > int64(len(s.Keys)) {
			t.Errorf("%s: it went round %d times", version, n)
		}
	}
}

// Without a control plane Envoy says so at once, and serves as soon as it is there.
func TestNoAssignment(t *testing.T) {
	t.Parallel()
	harness.EnvoyBinary(t)
	keys := harness.Keys(1, 0)
	groq := harness.StartGroq(t, fakegroq.Options{}, keys)
	k := harness.NewKeywheel(t, harness.KeywheelOptions{Keys: keys, Upstream: groq.URL()})
	e := harness.NewEnvoy(t, k.EnvoyConfig(t))
	e.Start(t)
	for _, h2 := range []bool{false, true} {
		a := harness.NewClient(t, k.Listen, h2).Do(t, harness.Call{})
		if a.Status != 503 || a.ErrorCode() != "no_assignment" || a.Header.Get("retry-after") != "1" {
			t.Errorf("without a control plane: %s", a)
		}
	}
	k.Start(t, "serve")
	e.WaitAssigned(t)
	if a := harness.NewClient(t, k.Listen, false).Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
		t.Errorf("with it: %s", a)
	}
}
