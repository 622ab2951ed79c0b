package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/testca"
)

// Groq is reached as api.groq.com, by SNI and Host, over HTTP/2 where it is offered and over HTTP/1.1 where it is not.
func TestTLSUpstreamIsReachedByItsName(t *testing.T) {
	t.Parallel()
	for proto, tls := range map[string]*fakegroq.TLS{"HTTP/2.0": {}, "HTTP/1.1": {NoHTTP2: true}} {
		t.Run(proto, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TLS: tls, TokensFor: fakegroq.UniqueTokens(1000)}})
			for name, c := range s.Clients() {
				for _, stream := range []bool{false, true} {
					a := c.Do(t, harness.Call{Stream: stream, Path: "/v1/chat/completions"})
					if a.Status != 200 || a.Key != "1" {
						t.Fatalf("%s: %s", name, a)
					}
					got := s.Attempts(t, a.Tag)[0]
					if got.SNI != fakegroq.GroqHost || got.Host != fakegroq.GroqHost || got.Proto != proto || got.Path != harness.ChatPath {
						t.Errorf("%s: Groq saw SNI %q, Host %q, %s %s", name, got.SNI, got.Host, got.Proto, got.Path)
					}
				}
			}
			s.AssertOracle(t)
		})
	}
}

// With a certificate for another name, or from an authority that is not trusted, not one request leaves: the client gets
// 503, the log says why, and nothing is charged.
func TestBadCertificate(t *testing.T) {
	t.Parallel()
	ca, err := testca.NewCA("a test's own")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]harness.Options{
		"wrong name": {Groq: fakegroq.Options{TLS: &fakegroq.TLS{Names: []string{"groq.example.com"}}}},
		"unknown CA": {Groq: fakegroq.Options{TLS: &fakegroq.TLS{}}, Trust: ca},
	}
	for name, opts := range cases {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, opts)
			for version, c := range s.Clients() {
				for _, stream := range []bool{false, true} {
					if a := c.Do(t, harness.Call{Stream: stream}); a.Status != 503 {
						t.Errorf("%s: want 503, got %s", version, a)
					}
				}
			}
			truth := s.Groq.Truth()
			if truth.Received != 0 {
				t.Errorf("%d requests reached the wrong server", truth.Received)
			}
			if truth.Connections == 0 {
				t.Error("nobody even tried to connect: the test proves nothing")
			}
			s.Envoy.WaitLog(t, "CERTIFICATE_VERIFY_FAILED")
			s.Keywheel.WaitLedger(t, map[string]int64{"1": 0, "2": 0, "3": 0})
		})
	}
}

// `keywheel run` by itself reaches an upstream over TLS: the authorities come from SSL_CERT_FILE, the name from the URL.
func TestRunReachesATLSUpstream(t *testing.T) {
	t.Parallel()
	ca, err := testca.NewCA("a test's own")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := harness.Keys(2, 0)
	groq := harness.StartGroq(t, fakegroq.Options{
		TLS: &fakegroq.TLS{CA: ca, Names: []string{"localhost"}}, Hosts: []string{"localhost"},
	}, keys)
	s := harness.Start(t, harness.Options{
		Run: true, Keys: keys, Upstream: strings.Replace(groq.URL(), "127.0.0.1", "localhost", 1),
		Settings: map[string]string{"SSL_CERT_FILE": file},
	})
	a := s.H2.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1"}})
	if a.Status != 200 || a.Key != "2" {
		t.Errorf("%s", a)
	}
	if got := groq.Truth().Tagged(a.Tag); harness.KeysOf(got) != "1 2" || got[0].SNI != "localhost" {
		t.Errorf("Groq saw %+v", got)
	}
}

// A model that thinks for longer than Envoy's usual 15 seconds is not cut.
func TestSilenceIsNotCut(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TLS: &fakegroq.TLS{}, TokensFor: fakegroq.UniqueTokens(1000)}})
	silent := fakegroq.Rule{Silence: fakegroq.Duration(20 * time.Second)}
	var wg sync.WaitGroup
	for name, c := range s.Clients() {
		for _, stream := range []bool{false, true} {
			wg.Go(func() {
				a, err := c.Try(harness.Context(t), harness.Call{Stream: stream, Script: silent})
				if err != nil || a.Status != 200 || a.Err != nil || stream && !strings.HasSuffix(string(a.Body), "data: [DONE]\n\n") {
					t.Errorf("%s: %v, %s", name, err, a)
				}
			})
		}
	}
	wg.Wait()
	s.AssertOracle(t)
}
