package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/probe"
)

const planted = "gsk_PlantedSecretThatMustNotShow"

// upstreamOf is a test server's address as a setting.
func upstreamOf(t *testing.T, srv *httptest.Server) config.Upstream {
	t.Helper()
	addr, err := netip.ParseAddrPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return config.Upstream{Host: addr.Addr().String(), Port: int(addr.Port()), TLS: srv.TLS != nil}
}

func TestTry(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"accepted":             {200, `{"object":"list","data":[]}`, "ok"},
		"unknown key":          {401, `{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}`, "refused (401 invalid_api_key)"},
		"restricted":           {400, `{"error":{"message":"…","type":"invalid_request_error","code":"organization_restricted"}}`, "refused (400 organization_restricted)"},
		"no code":              {403, `{"error":{"message":"…","type":"permissions_error"}}`, "refused (403 permissions_error)"},
		"HTML":                 {403, `<html>`, "refused (403)"},
		"redirect":             {301, ``, "refused (301)"},
		"code is no code":      {401, `{"error":{"code":"say \u001b[31m"}}`, "refused (401)"},
		"code is the secret":   {401, `{"error":{"code":"` + planted + `"}}`, "refused (401)"},
		"limit reached counts": {429, `{"error":{"code":"rate_limit_exceeded"}}`, "refused (429 rate_limit_exceeded)"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/openai/v1/models" || r.Header.Get("Authorization") != "Bearer "+planted {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}))
			defer srv.Close()
			r := probe.NewClient(upstreamOf(t, srv), nil).Try(t.Context(), "1", secret.New(planted))
			if r.String() != tc.want || r.KeyID != "1" || r.Status != tc.status {
				t.Errorf("got %v, %+v; want %s", r, r, tc.want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	upstream := upstreamOf(t, closed)
	closed.Close()
	r := probe.NewClient(upstream, nil).Try(t.Context(), "1", secret.New(planted))
	if r.Verdict != probe.Unreachable || !strings.Contains(r.String(), "refused") || r.Status != 0 {
		t.Errorf("nobody listens: %v", r)
	}
}

func TestUnknownCertificateGetsNoKey(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	r := probe.NewClient(upstreamOf(t, srv), nil).Try(t.Context(), "1", secret.New(planted))
	if r.Verdict != probe.Unreachable || !strings.Contains(r.Reason, "certificate") || asked.Load() > 0 {
		t.Errorf("%v after %d requests", r, asked.Load())
	}
	r = probe.NewClient(upstreamOf(t, srv), srv.Client().Transport).Try(t.Context(), "1", secret.New(planted))
	if r.Verdict != probe.Works || asked.Load() != 1 {
		t.Errorf("with its authority known: %v", r)
	}
}

// An answer that is not HTTP is quoted in the error; it may hold what was sent.
func TestEchoedSecretIsNotShown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		fmt.Fprintf(conn, "Bearer %s\r\n\r\n", planted)
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	r := probe.NewClient(config.Upstream{Host: "127.0.0.1", Port: port}, nil).Try(t.Context(), "1", secret.New(planted))
	if r.Verdict != probe.Unreachable || strings.Contains(fmt.Sprintf("%+v", r), planted) {
		t.Errorf("%+v", r)
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAllKeepsTheOrder(t *testing.T) {
	var keys []config.Key
	for n := range 9 {
		keys = append(keys, config.Key{ID: fmt.Sprint(n + 1), Secret: secret.New(fmt.Sprint(n + 1))})
	}
	client := probe.NewClient(config.Upstream{Host: "x.example", Port: 443, TLS: true}, roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, errors.New("no way for key " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + "!")
	}))
	for i, r := range client.All(context.Background(), keys) {
		if r.KeyID != keys[i].ID || r.Verdict != probe.Unreachable || r.Reason != "no way for key [redacted]!" {
			t.Errorf("result %d: %+v", i, r)
		}
	}
}
