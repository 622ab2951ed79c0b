package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"keywheel/e2e/testca"
	"keywheel/shared/protocol"
	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/mtls"
	"keywheel/xds/server"
)

const serverName = "keywheel.example"

func newCA(t *testing.T, name string) *testca.CA {
	t.Helper()
	ca, err := testca.NewCA(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// identity is one of a certificate for these hosts, and of the authority that clients' are from.
func identity(t *testing.T, ca *testca.CA, clients []byte, hosts ...string) *mtls.Identity {
	t.Helper()
	pair, err := ca.Issue(testca.Leaf{Hosts: hosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	id, flaws := mtls.Load(pair.Certificate, pair.Key, clients)
	if flaws != nil {
		t.Fatal(flaws)
	}
	return id
}

// clientOf is how a client of that authority connects: with a certificate for this use, and what the server's is checked by.
func clientOf(t *testing.T, ca *testca.CA, trusted []byte, usage x509.ExtKeyUsage) *tls.Config {
	t.Helper()
	pair, err := ca.Issue(testca.Leaf{Usages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	return &tls.Config{
		RootCAs: pool, ServerName: serverName, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }, // whoever is asked for
	}
}

// secured is a server that speaks TLS.
type secured struct {
	*running
	keeper *mtls.Keeper
	log    *loggingtest.Buffer
}

func serveTLS(t *testing.T, id *mtls.Identity) *secured {
	t.Helper()
	s := &secured{keeper: mtls.NewKeeper(id), log: &loggingtest.Buffer{}}
	s.running = serve(t, "127.0.0.1:0", func(c *server.Config) {
		c.TLS = s.keeper.Server()
		c.Now = func() time.Time { return time.Unix(1_800_000_000, 0) }
		c.Logger = slog.New(slog.NewTextHandler(s.log, nil))
		c.Reports = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, ok := server.ConnFrom(r.Context())
			_, _ = fmt.Fprint(w, r.Proto, " ", ok && conn.ID > 0 && conn.Local)
		})
	})
	return s
}

// shake connects, and returns what a handshake ends with. In TLS 1.3 a server's refusal comes after the client is done.
func (s *secured) shake(t *testing.T, config *tls.Config) error {
	t.Helper()
	c, err := tls.Dial("tcp", s.addr, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1)) // the server's settings
	return err
}

// says waits until the log has a line so often.
func (s *secured) says(t *testing.T, text string, times int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; {
		n := strings.Count(s.log.String(), text)
		if n == times {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%q is there %d times, want %d:\n%s", text, n, times, s.log.String())
		}
	}
}

func TestOnlyWhoShowsACertificateOfTheAuthorityGetsIn(t *testing.T) {
	ca, other := newCA(t, "ours"), newCA(t, "another")
	s := serveTLS(t, identity(t, ca, ca.PEM, serverName))
	good := clientOf(t, ca, ca.PEM, x509.ExtKeyUsageClientAuth)
	transport := &http.Transport{TLSClientConfig: good, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Post("https://"+s.addr+protocol.ReportPath, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(body) != "HTTP/2.0 true" {
		t.Errorf("a report is answered %q, %v", body, err)
	}
	e := s.connectWith(t, credentials.NewTLS(good), node("n", 1, 40), protocol.AttemptResource)
	e.next(t)
	s.hears(t, "seen n 1.40.3 1")

	change := func(f func(*tls.Config)) *tls.Config { c := good.Clone(); f(c); return c }
	for name, v := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"no certificate":     {change(func(c *tls.Config) { c.GetClientCertificate = nil }), "shows no certificate"},
		"no certificate 1.2": {change(func(c *tls.Config) { c.GetClientCertificate, c.MaxVersion = nil, tls.VersionTLS12 }), ""},
		"another's":          {clientOf(t, other, ca.PEM, x509.ExtKeyUsageClientAuth), "certificate is not good"},
		"for servers":        {clientOf(t, ca, ca.PEM, x509.ExtKeyUsageServerAuth), ""},
		"another name":       {change(func(c *tls.Config) { c.ServerName = "b.example" }), "does not take KEYWHEEL_TLS_CERT"},
		"trusts others":      {clientOf(t, ca, other.PEM, x509.ExtKeyUsageClientAuth), ""},
		"old TLS":            {change(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), "no TLS could be agreed on"},
		"HTTP/1.1":           {change(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }), ""},
	} {
		if err := s.shake(t, v.config); err == nil {
			t.Errorf("%s: let in", name)
		}
		if v.want != "" {
			s.says(t, v.want, 1)
		}
	}
	s.says(t, "level=WARN", 4) // a line for each reason, whoever it is
	s.plaintext(t)
	if err := s.shake(t, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if text := s.log.String(); strings.Contains(text, "CANARY") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
}

// plaintext tries to talk without TLS.
func (s *secured) plaintext(t *testing.T) {
	t.Helper()
	for _, hello := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, hello); err != nil {
			t.Fatal(err)
		}
		answer, err := bufio.NewReader(io.LimitReader(c, 1<<16)).ReadString(0)
		if strings.Contains(answer, "HTTP/1") || strings.Contains(answer, "CANARY") || err == nil {
			t.Errorf("without TLS the answer is %q, %v", answer, err)
		}
		c.Close()
	}
	s.says(t, "does not speak TLS", 1)
}

func TestARenewedCertificateIsForNewConnections(t *testing.T) {
	ca, next := newCA(t, "ours"), newCA(t, "the next")
	s := serveTLS(t, identity(t, ca, ca.PEM, serverName))
	before := clientOf(t, ca, ca.PEM, x509.ExtKeyUsageClientAuth)
	e := s.connectWith(t, credentials.NewTLS(before), node("n", 1, 40), protocol.AttemptResource)
	e.next(t)
	e.accept(t)
	s.keeper.Set(identity(t, next, next.PEM, serverName))
	after := clientOf(t, next, next.PEM, x509.ExtKeyUsageClientAuth)
	if err := s.shake(t, after); err != nil {
		t.Errorf("by the new authority: %v", err)
	}
	if err := s.shake(t, before); err == nil {
		t.Error("by the old authority: let in")
	}
	s.change(2)
	s.refresh(t)
	e.next(t) // the connection that stands goes on
}

// TestASlowHandshakeKeepsNobodyWaiting has peers that connect and say nothing, and a server that stops.
func TestASlowHandshakeKeepsNobodyWaiting(t *testing.T) {
	ca := newCA(t, "ours")
	s := serveTLS(t, identity(t, ca, ca.PEM, serverName))
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	if err := s.shake(t, clientOf(t, ca, ca.PEM, x509.ExtKeyUsageClientAuth)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for _, c := range silent {
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("after the end a connection stands: %v", err)
		}
	}
}
