package outgoing_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"keywheel/xds/notify/outgoing"
)

// net/http reads the environment's proxy once in a process.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "asked for ", r.URL) }))
	defer proxy.Close()
	for name, value := range map[string]string{"HTTP_PROXY": proxy.URL, "NO_PROXY": "", "no_proxy": ""} {
		_ = os.Setenv(name, value) // else TestProxy fails
	}
	m.Run()
}

// ask posts by a transport and returns the answer's protocol and body.
func ask(t *testing.T, transport http.RoundTripper, address string) (proto, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return resp.Proto, string(content), err
}

func TestProxy(t *testing.T) {
	const address = "http://receiver.test/path"
	if _, body, err := ask(t, outgoing.Transport(), address); err != nil || body != "asked for "+address {
		t.Errorf("%q, %v", body, err)
	}
}

func TestTLS(t *testing.T) {
	for name, tc := range map[string]struct {
		most    uint16 // the server's version of TLS
		trusted bool
		proto   string // empty: it is left
	}{
		"HTTP/2":                    {tls.VersionTLS13, true, "HTTP/2.0"},
		"TLS 1.2":                   {tls.VersionTLS12, true, "HTTP/2.0"},
		"TLS 1.1":                   {tls.VersionTLS11, true, ""},
		"certificate of a stranger": {tls.VersionTLS13, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.NotFoundHandler())
			srv.EnableHTTP2 = tc.most > tls.VersionTLS11 // HTTP/2 would refuse it by itself
			srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tc.most}
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.StartTLS()
			defer srv.Close()
			transport := outgoing.Transport()
			if tc.trusted {
				transport.TLSClientConfig.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
			if proto, _, err := ask(t, transport, srv.URL); proto != tc.proto || (err == nil) != (proto != "") {
				t.Errorf("%q, %v", proto, err)
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	for size, taken := range map[int]bool{60 << 10: true, 70 << 10: false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", size)) }))
		if _, _, err := ask(t, outgoing.Transport(), srv.URL); (err == nil) != taken {
			t.Errorf("%d bytes: %v", size, err)
		}
		srv.Close()
	}
}

func TestReason(t *testing.T) {
	const address = "https://receiver.test/CANARY"
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"certificate":   {&tls.CertificateVerificationError{Err: errors.New(address)}, "this machine does not trust its certificate"},
		"system's":      {&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route")}, "dial tcp: no route"},
		"took too long": {context.DeadlineExceeded, "it took too long"},
		"ended":         {io.EOF, "the connection was closed too early"},
		"ended midway":  {io.ErrUnexpectedEOF, "the connection was closed too early"},
		"anything":      {errors.New(address), "what came is not an answer in HTTP; see that the address and the proxy are right"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{tc.err, &url.Error{Op: "Post", URL: address, Err: tc.err}, fmt.Errorf("%s: %w", address, tc.err)} {
				if got := outgoing.Reason(err); got != tc.want {
					t.Errorf("%v: %q", err, got)
				}
			}
		})
	}
}
