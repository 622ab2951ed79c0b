package fakegroq

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/testca"
)

// A plain total ends a day, a bucket refills, and keys of one organization share it.
func TestLimits(t *testing.T) {
	now := time.Date(2025, 11, 18, 23, 0, 0, 0, time.UTC)
	s := start(t, Options{
		Now:       func() time.Time { return now },
		TokensFor: FixedTokens(60, 40),
		Keys: []Key{
			{Secret: one, Name: "1", Org: "a", TokenLimit: 150}, {Secret: two, Name: "2", Org: "a", TokenLimit: 150},
			{Secret: "gsk_bucket", Name: "3", TokenLimit: 6000, Refill: time.Minute},
		},
	})
	c := client(t, false, nil)
	ask := func(secret string) reply {
		t.Helper()
		r, err := post(t, c, s, secret, chat, hello(false), "")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for i, want := range []int{200, 200, 429} {
		if r := ask([]string{one, two}[i%2]); r.StatusCode != want {
			t.Errorf("call %d: %d, want %d", i, r.StatusCode, want)
		} else if want == 429 && !strings.Contains(string(r.body), "(TPD)") || want == 429 && r.Header.Get("retry-after") != "3600" {
			t.Errorf("call %d: %s, %s", i, r.Header.Get("retry-after"), r.body)
		}
	}
	now = now.Add(time.Hour)
	if r := ask(one); r.StatusCode != 200 {
		t.Errorf("after midnight: %d", r.StatusCode)
	}
	for range 60 {
		if r := ask("gsk_bucket"); r.StatusCode != 200 {
			t.Fatalf("bucket: %d", r.StatusCode)
		}
	}
	if r := ask("gsk_bucket"); r.StatusCode != 429 || !strings.Contains(string(r.body), "Please try again in 1s.") {
		t.Errorf("full bucket: %d %s", r.StatusCode, r.body)
	}
	now = now.Add(time.Second)
	if r := ask("gsk_bucket"); r.StatusCode != 200 {
		t.Errorf("refilled bucket: %d", r.StatusCode)
	}
}

// TLS is shown as api.groq.com from the test CA; any other SNI or Host gets the edge's HTML.
func TestTLS(t *testing.T) {
	s := start(t, Options{TLS: &TLS{}})
	for _, h2 := range []bool{false, true} {
		config := &tls.Config{RootCAs: s.CA().Pool(), ServerName: GroqHost}
		c := client(t, h2, config)
		tr := c.Transport.(*http.Transport)
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Addr())
		}
		for host, want := range map[string]int{GroqHost: 200, "example.com": 403, s.Addr(): 403} {
			req, err := http.NewRequestWithContext(deadline(t), http.MethodGet, "https://"+GroqHost+"/openai/v1/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Authorization", "Bearer "+one)
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			html := strings.HasPrefix(res.Header.Get("content-type"), "text/html")
			if res.StatusCode != want || html != (want == 403) || res.ProtoMajor == 2 != h2 {
				t.Errorf("%s over %s: %d, html %v", host, res.Proto, res.StatusCode, html)
			}
		}
	}
	if other := s.Truth().Requests[0].SNI; other != GroqHost {
		t.Errorf("SNI %q", other)
	}
	// A certificate that is not trusted, or for another name: no request arrives.
	stranger, err := testca.NewCA("Simulated Groq test CA")
	if err != nil {
		t.Fatal(err)
	}
	wrongName := start(t, Options{TLS: &TLS{CA: s.CA(), Names: []string{"wrong.example"}}})
	for server, pool := range map[*Server]*testca.CA{s: stranger, wrongName: s.CA()} {
		before := server.Truth().Received
		_, err := post(t, client(t, true, &tls.Config{RootCAs: pool.Pool(), ServerName: GroqHost}), server, one, chat, hello(false), "")
		if bad := new(tls.CertificateVerificationError); !errors.As(err, &bad) {
			t.Errorf("error %v", err)
		}
		if got := server.Truth().Received; got != before {
			t.Errorf("%d requests arrived", got-before)
		}
	}
}

// The list of requests is bounded, the accounts are not; without a list nothing is hashed.
func TestRememberIsBounded(t *testing.T) {
	for remember, want := range map[int]int{3: 3, -1: 0} {
		s := start(t, Options{Remember: remember, TokensFor: UniqueTokens(100)})
		c := client(t, false, nil)
		for range 5 {
			if _, err := post(t, c, s, one, chat, hello(false), ""); err != nil {
				t.Fatal(err)
			}
		}
		truth := s.Truth()
		if len(truth.Requests) != want || truth.Received != 5 || truth.Told() != 100+101+102+103+104 {
			t.Errorf("%d requests listed, %d received, %d told", len(truth.Requests), truth.Received, truth.Told())
		}
		if want > 0 && (truth.Requests[0].Seq != 3 || truth.Requests[2].Seq != 5) {
			t.Errorf("listed from %d to %d", truth.Requests[0].Seq, truth.Requests[2].Seq)
		}
	}
}

// RemoveKey makes a secret unknown, AddKey known again; the account goes on.
func TestKeysComeAndGo(t *testing.T) {
	s := start(t, Options{})
	c := client(t, false, nil)
	for i, want := range []int{200, 401, 200} {
		switch i {
		case 1:
			s.RemoveKey(one)
		case 2:
			s.AddKey(Key{Secret: one, Name: "1"})
		}
		if r, err := post(t, c, s, one, chat, hello(false), ""); err != nil || r.StatusCode != want {
			t.Errorf("step %d: %v %v", i, r.Response, err)
		}
	}
	if a := s.Ledger()[one]; a.Requests != 3 || a.Statuses[401] != 1 || a.Answers != 2 {
		t.Errorf("account %+v", a)
	}
}

// ParseRule reads what String writes.
func TestRuleRoundTrip(t *testing.T) {
	r := Rule{Fault: RateTPD, Wait: Duration(90 * time.Second), Only: "1", Count: 2, Hold: BeforeUsage, Early: true, Prompt: 7}
	got, err := ParseRule(r.String())
	if err != nil || got != r {
		t.Errorf("%+v, %v from %s", got, err, r)
	}
	for _, bad := range []string{"fault=no", "hold=nowhere", "usage=some", "colour=red", "count=x", "{", "wait=soon", "word"} {
		if _, err := ParseRule(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
