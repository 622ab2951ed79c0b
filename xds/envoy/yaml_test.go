package envoy_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"keywheel/xds/envoy"
)

// groq is an upstream that answers as its test says and counts the calls that reach it.
type groq struct {
	*httptest.Server
	calls atomic.Int64
}

func newGroq(t *testing.T, tls bool, answer http.HandlerFunc) *groq {
	g := &groq{}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.calls.Add(1)
		answer(w, r)
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		g.EnableHTTP2 = true
		g.StartTLS()
	} else {
		g.Start()
	}
	t.Cleanup(g.Close)
	return g
}

// call makes a call through Envoy and returns the answer with its body read.
func call(t *testing.T, method, url string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(got)
}

func TestWhatGroqAndTheClientSee(t *testing.T) {
	g := newGroq(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "groq")
		w.Header().Set("Set-Cookie", "__cf_bm=x")
		w.Header().Set("X-Keywheel-Key", "2")
		var names []string
		for name := range r.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprint(w, r.Method, " ", r.Host, r.URL.RequestURI(), " ", names)
	})
	set := envoy.Settings{Upstream: upstreamOf(t, g.Server)}
	c, base := realEnvoy(t, set)
	supervise(t, c).serve(t)
	header := http.Header{
		"Cookie": {"a=b"}, "Openai-Organization": {"mine"}, "Openai-Project": {"mine"}, "Forwarded": {"for=1.2.3.4"},
		"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Host": {"h"}, "X-Forwarded-Proto": {"https"}, "X-Envoy-Max-Retries": {"9"},
		"X-Envoy-Upstream-Rq-Timeout-Ms": {"1"}, "X-Stainless-Lang": {"go"}, "Accept-Encoding": {"identity"}, "User-Agent": {"u"},
	}
	host := strings.TrimPrefix(g.URL, "http://")
	for path, want := range map[string]string{
		"/v1/models?x=%2F":                "200 GET " + host + "/openai/v1/models?x=%2F [Accept-Encoding User-Agent X-Stainless-Lang]",
		"/openai/v1/models/a/b":           "200 GET " + host + "/openai/v1/models/a/b [Accept-Encoding User-Agent X-Stainless-Lang]",
		"//openai//v1/./x/../models":      "200 GET " + host + "/openai/v1/models [Accept-Encoding User-Agent X-Stainless-Lang]",
		"/openai/v1%2Fmodels":             "400 ",
		"/openai/v1/%2e%2e/%2e%2e/secret": "404 ",
		"/v1":                             "404 ",
		"/openai/v2/models":               "404 ",
		"/":                               "404 ",
	} {
		res, body := call(t, "GET", base+path, header, nil)
		if got := fmt.Sprint(res.StatusCode, " ", body); got != want {
			t.Errorf("%s: %s; want %s", path, got, want)
		}
		if res.StatusCode != http.StatusOK {
			continue
		}
		for name := range res.Header {
			if strings.HasPrefix(name, "X-Envoy") || name == "Set-Cookie" {
				t.Errorf("%s: the client gets %s", path, name)
			}
		}
		if res.Header.Get("Server") != "groq" || res.Header.Get("X-Keywheel-Key") != "2" {
			t.Errorf("%s: headers %v", path, res.Header)
		}
	}
}

func TestTriesAreTheFiltersAffair(t *testing.T) {
	resets := 0
	g := newGroq(t, false, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/reset"):
			if resets++; resets == 1 {
				panic(http.ErrAbortHandler)
			}
		case strings.HasSuffix(path, "/rotate"):
			w.Header().Set("X-Keywheel-Rotate", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case strings.HasSuffix(path, "/once"):
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, n)
	})
	c, base := realEnvoy(t, envoy.Settings{Upstream: upstreamOf(t, g.Server)})
	supervise(t, c).serve(t)
	big := strings.Repeat("x", 30<<20)
	for _, v := range []struct {
		path, body string
		status     int
		calls      int64
	}{
		{"/v1/rotate", "{}", 429, 6},
		{"/v1/rotate", big, 429, 6},
		{"/v1/once", "{}", 500, 1}, // no header, no other try
		{"/v1/reset", big, 200, 2},
	} {
		before := g.calls.Load()
		header := http.Header{"X-Envoy-Max-Retries": {"9"}, "X-Envoy-Retry-On": {"5xx"}, "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms": {"1"}}
		res, body := call(t, "POST", base+v.path, header, strings.NewReader(v.body))
		if res.StatusCode != v.status || body != fmt.Sprint(len(v.body)) || g.calls.Load()-before != v.calls {
			t.Errorf("%s with %d bytes: %d %q after %d calls", v.path, len(v.body), res.StatusCode, body, g.calls.Load()-before)
		}
		if res.Header.Get("X-Keywheel-Rotate") != "" {
			t.Errorf("%s: the client sees the rotate header", v.path)
		}
	}
}

func TestNobodyGetsAWebSocketToGroq(t *testing.T) {
	g := newGroq(t, false, func(http.ResponseWriter, *http.Request) {})
	c, base := realEnvoy(t, envoy.Settings{Upstream: upstreamOf(t, g.Server)})
	supervise(t, c).serve(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden || g.calls.Load() != 0 {
		t.Errorf("%s, %d calls", res.Status, g.calls.Load())
	}
}

func TestOnlyTheRightCertificateIsTrusted(t *testing.T) {
	g := newGroq(t, true, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw})
	if err := os.WriteFile(bundle, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		bundle string
		name   string
		want   string
	}{
		"right":        {bundle, "127.0.0.1", "200 HTTP/2.0"},
		"wrong name":   {bundle, "127.0.0.9", "503 SAN_matcher"},
		"unknown CA":   {"", "127.0.0.1", "503 CERTIFICATE_VERIFY_FAILED"},
		"not listened": {bundle, "port 1", "503 Connection_refused"},
	} {
		t.Run(name, func(t *testing.T) {
			before := g.calls.Load()
			c, base := realEnvoy(t, envoy.Settings{Upstream: upstreamOf(t, g.Server), CABundle: v.bundle})
			config := strings.Replace(string(c.Bootstrap), `"exact": "127.0.0.1"`, `"exact": "`+v.name+`"`, 1)
			if v.name == "port 1" {
				config = strings.Replace(config, fmt.Sprintf(`"portValue": %d`, upstreamOf(t, g.Server).Port), `"portValue": 1`, 1)
			}
			c.Bootstrap = []byte(config)
			s := supervise(t, c)
			s.serve(t)
			res, body := call(t, "GET", base+"/v1/models", nil, nil)
			if res.StatusCode == http.StatusOK {
				if got := fmt.Sprint(res.StatusCode, " ", body); got != v.want {
					t.Error(got)
				}
				return
			}
			status, why, _ := strings.Cut(v.want, " ")
			if fmt.Sprint(res.StatusCode) != status || g.calls.Load() != before {
				t.Errorf("%s, %d calls reached the upstream", res.Status, g.calls.Load()-before)
			}
			eventually(t, "the log says why", func() bool {
				said := s.log.String()
				return strings.Contains(said, "level=WARN msg=\"Envoy: groq at 127.0.0.1") && strings.Contains(said, why)
			})
		})
	}
}
