package email_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log"
	"log/slog"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"pgregory.net/rapid"

	"keywheel/e2e/testca"
	"keywheel/shared/secret"
	"keywheel/xds/notify/email"
)

const (
	user     = "alerts@example.org"
	password = "p4ss/w0rd CANARY+="
)

var noon = time.Date(2025, 11, 18, 12, 0, 0, 0, time.UTC)

// certificate makes a server's certificate for 127.0.0.1 and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	ca, err := testca.NewCA("mail")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Serve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return cert, ca.Pool()
}

// received is an e-mail as a sink got it.
type received struct {
	from string
	to   []string
	raw  []byte
	user string // who had signed in
	mech string // and how
	utf8 bool   // SMTPUTF8 was asked for
}

// sink is a real mail server that keeps what it gets.
type sink struct {
	addr  *net.TCPAddr
	mu    sync.Mutex
	mails []received
}

// sinkConfig says what a sink is like.
type sinkConfig struct {
	tls      *tls.Config // nil: no STARTTLS
	implicit bool
	mechs    []string // nil: nobody can sign in
	refuse   string   // the receiver that it does not take
	utf8     bool
}

func newSink(t *testing.T, c sinkConfig) *sink {
	t.Helper()
	s := &sink{}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		session := &sinkSession{sink: s, config: c}
		if c.mechs == nil {
			return struct{ smtp.Session }{session}, nil // without AUTH
		}
		return session, nil
	}))
	server.Domain, server.TLSConfig, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "sink", c.tls, true, c.utf8
	server.ErrorLog = log.New(io.Discard, "", 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().(*net.TCPAddr)
	if c.implicit {
		listener = tls.NewListener(listener, c.tls)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return s
}

// one returns the only e-mail.
func (s *sink) one(t *testing.T) received {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) != 1 {
		t.Fatalf("%d e-mails arrived, want one", len(s.mails))
	}
	return s.mails[0]
}

type sinkSession struct {
	*sink
	config  sinkConfig
	current received
}

func (s *sinkSession) Reset()        { s.current = received{user: s.current.user, mech: s.current.mech} }
func (s *sinkSession) Logout() error { return nil }
func (s *sinkSession) Mail(from string, o *smtp.MailOptions) error {
	if s.config.mechs != nil && s.current.user == "" {
		return smtp.ErrAuthRequired
	}
	s.current.from, s.current.utf8 = from, o.UTF8
	return nil
}

func (s *sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == s.config.refuse {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	s.current.to = append(s.current.to, to)
	return nil
}

func (s *sinkSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	s.current.raw = raw
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, s.current)
	return err
}

func (s *sinkSession) AuthMechanisms() []string { return s.config.mechs }

func (s *sinkSession) Auth(mech string) (sasl.Server, error) {
	in := func() { s.current.user, s.current.mech = user, mech }
	switch mech {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, u, p string) error {
			if u != user || p != password {
				return smtp.ErrAuthFailed
			}
			in()
			return nil
		}), nil
	case "LOGIN":
		return &dialog{steps: []func([]byte) ([]byte, bool){
			func([]byte) ([]byte, bool) { return []byte("Username:"), true },
			func(u []byte) ([]byte, bool) { return []byte("Password:"), string(u) == user },
			func(p []byte) ([]byte, bool) { in(); return nil, string(p) == password },
		}}, nil
	case "CRAM-MD5":
		return &dialog{steps: []func([]byte) ([]byte, bool){
			func([]byte) ([]byte, bool) { return []byte("<1@sink>"), true },
			func(answer []byte) ([]byte, bool) {
				sum := hmac.New(md5.New, []byte(password))
				sum.Write([]byte("<1@sink>"))
				in()
				return nil, string(answer) == user+" "+hex.EncodeToString(sum.Sum(nil))
			},
		}}, nil
	case "SCRAM-SHA-256":
		return scram(in), nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

// dialog is a way to sign in, step by step: each takes an answer, and gives the next challenge and whether it was right.
type dialog struct{ steps []func([]byte) ([]byte, bool) }

func (d *dialog) Next(answer []byte) (challenge []byte, done bool, err error) {
	step := d.steps[0]
	d.steps = d.steps[1:]
	challenge, right := step(answer)
	if !right {
		return nil, true, smtp.ErrAuthFailed
	}
	return challenge, len(d.steps) == 0, nil
}

// scram is the server's side of RFC 5802, with one salt.
func scram(in func()) *dialog {
	const salt, rounds = "c2FsdA==", 4096
	var bare, first string
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	salted := mac([]byte(password), "salt\x00\x00\x00\x01")
	for last, i := salted, 1; i < rounds; i++ {
		last = mac([]byte(password), string(last))
		salted = xor(salted, last)
	}
	return &dialog{steps: []func([]byte) ([]byte, bool){
		func([]byte) ([]byte, bool) { return []byte{}, true },
		func(answer []byte) ([]byte, bool) {
			bare = strings.TrimPrefix(string(answer), "n,,")
			_, nonce, ok := strings.Cut(bare, ",r=")
			first = "r=" + nonce + "sink,s=" + salt + ",i=4096"
			return []byte(first), ok && strings.HasPrefix(bare, "n="+user)
		},
		func(answer []byte) ([]byte, bool) {
			bound, proof, _ := strings.Cut(string(answer), ",p=")
			message := bare + "," + first + "," + bound
			clientKey := mac(salted, "Client Key")
			stored := sha256.Sum256(clientKey)
			want := base64.StdEncoding.EncodeToString(xor(clientKey, mac(stored[:], message)))
			signature := base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), message))
			return []byte("v=" + signature), proof == want
		},
		func([]byte) ([]byte, bool) { in(); return nil, true },
	}}
}

func xor(a, b []byte) []byte {
	c := make([]byte, len(a))
	for i := range a {
		c[i] = a[i] ^ b[i]
	}
	return c
}

// config is a notifier's for a server at addr without TLS.
func config(addr *net.TCPAddr) email.Config {
	return email.Config{
		Server: email.Server{Host: "127.0.0.1", Port: addr.Port, TLS: email.TLSNone},
		From:   "Keywheel <keywheel@example.org>", To: []string{"you@example.org"},
		Now: func() time.Time { return noon }, Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

// signedIn is config with user and password and TLS required.
func signedIn(addr *net.TCPAddr, roots *x509.CertPool) email.Config {
	c := config(addr)
	c.Server.TLS, c.Server.User, c.Server.Password, c.RootCAs = email.TLSRequired, user, secret.New(password), roots
	return c
}

func newNotifier(t *testing.T, c email.Config) *email.Notifier {
	t.Helper()
	n, err := email.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parsed reads an e-mail as a mail program would.
func parsed(t rapid.TB, raw []byte) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, raw)
	}
	return m
}

// hides fails if text holds the password in a form that goes over the wire.
func hides(t *testing.T, what string, text []byte) {
	t.Helper()
	for _, form := range []string{
		password, "CANARY", base64.StdEncoding.EncodeToString([]byte(password)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password)),
	} {
		if bytes.Contains(text, []byte(form)) {
			t.Errorf("%s holds the password: %q", what, text)
		}
	}
}
