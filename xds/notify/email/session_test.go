package email_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wneessen/go-mail/smtp"
	"go.uber.org/goleak"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
	"keywheel/xds/notify/email"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fails sends the message, which must not work, and returns whether that is permanent and what the error says.
func fails(t *testing.T, ctx context.Context, c email.Config) (permanent bool, says string) { //nolint:revive // t is first in tests
	t.Helper()
	err := newNotifier(t, c).Send(ctx, critical)
	var f *notify.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no failure", err)
	}
	hides(t, "the error", []byte(err.Error()))
	return f.Permanent, err.Error()
}

func TestTLSFromTheStart(t *testing.T) {
	cert, roots := certificate(t)
	s := newSink(t, sinkConfig{tls: &tls.Config{Certificates: []tls.Certificate{cert}}, implicit: true, mechs: []string{"PLAIN"}})
	c := signedIn(s.addr, roots)
	c.Server.ImplicitTLS = true
	if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
		t.Fatal(err)
	}
	if got := s.one(t); got.user != user {
		t.Errorf("%q signed in", got.user)
	}
	check(t, s.one(t), critical)
}

func TestSignIn(t *testing.T) {
	cert, roots := certificate(t)
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, test := range []struct {
		offered []string
		tls     *tls.Config
		mode    string
		want    string
	}{
		{[]string{"PLAIN"}, secure, email.TLSRequired, "PLAIN"},
		{[]string{"LOGIN"}, secure, email.TLSRequired, "LOGIN"},
		{[]string{"LOGIN", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "NTLM"}, secure, email.TLSRequired, "SCRAM-SHA-256"},
		{[]string{"PLAIN", "CRAM-MD5"}, secure, email.TLSOpportunistic, "CRAM-MD5"},
		{[]string{"PLAIN"}, nil, email.TLSNone, "PLAIN"}, // this machine
		{[]string{"LOGIN"}, nil, email.TLSOpportunistic, "LOGIN"},
	} {
		s := newSink(t, sinkConfig{tls: test.tls, mechs: test.offered})
		c := signedIn(s.addr, roots)
		c.Server.TLS = test.mode
		if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
			t.Errorf("%v with TLS %s: %v", test.offered, test.mode, err)
		} else if got := s.one(t); got.mech != test.want || got.user != user {
			t.Errorf("%v: %s signed in by %s, want %s", test.offered, got.user, got.mech, test.want)
		}
		c.Server.Password = secret.New("wrong CANARY")
		if permanent, says := fails(t, t.Context(), c); !permanent || !strings.Contains(says, "signing in: code 535, ") {
			t.Errorf("%v with a wrong password: permanent %v: %s", test.offered, permanent, says)
		}
	}
	s := newSink(t, sinkConfig{tls: secure, mechs: []string{"NTLM", "XOAUTH2"}})
	if permanent, says := fails(t, t.Context(), signedIn(s.addr, roots)); !permanent || !strings.Contains(says, "no way to sign in") {
		t.Errorf("nothing that we know: permanent %v: %s", permanent, says)
	}
}

// The name of a server on this machine may lead elsewhere: the password is not said there without TLS.
func TestPasswordInTheClear(t *testing.T) {
	f := newFake(t, nil, nil)
	conn, err := net.Dial("tcp", f.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{email.TLSNone, email.TLSOpportunistic, email.TLSRequired} {
		c := signedIn(f.addr, nil)
		c.Server.TLS = mode
		n := newNotifier(t, c)
		for offered, want := range map[string][2]bool{"PLAIN": {true, false}, "LOGIN": {true, false}, "CRAM-MD5": {true, true}, "SCRAM-SHA-1": {true, true}, "NTLM": {}} {
			if here, there := email.SignsIn(n, client, true, offered), email.SignsIn(n, client, false, offered); here != want[0] || there != want[1] {
				t.Errorf("%s, TLS %s: %v here, %v elsewhere", offered, mode, here, there)
			}
		}
	}
}

// Whoever sits between takes the offer of TLS off: he learns nothing, and the message waits.
func TestTLSTakenOff(t *testing.T) {
	for name, answers := range map[string]map[string][]string{
		"not offered":        {"EHLO": {"250-fake\r\n250 AUTH PLAIN LOGIN CRAM-MD5"}},
		"no EHLO":            {"EHLO": {"502 what?"}},
		"refused":            {"EHLO": {"250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"}, "STARTTLS": {"454 not now"}},
		"refused for good":   {"EHLO": {"250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"}, "STARTTLS": {"502 never"}},
		"promised, not held": {"EHLO": {"250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"}, "STARTTLS": {"220 go on\r\n250-fake\r\n250 AUTH PLAIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, answers, nil)
			permanent, says := fails(t, t.Context(), signedIn(f.addr, nil))
			if permanent || !strings.Contains(says, "STARTTLS") {
				t.Errorf("permanent %v: %s", permanent, says)
			}
			if (name == "not offered" || name == "promised, not held") && !strings.Contains(says, "nothing was sent") {
				t.Errorf("it says %s", says)
			}
			said := f.said()
			hides(t, "the connection", said)
			for _, word := range []string{"AUTH", "MAIL", "RCPT", "DATA", "Groq"} {
				if bytes.Contains(said, []byte(word)) {
					t.Errorf("%s was sent in the clear: %q", word, said)
				}
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	cert, _ := certificate(t)
	_, strangers := certificate(t)
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	offer := map[string][]string{"EHLO": {"250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"}}
	f := newFake(t, offer, secure)
	permanent, says := fails(t, t.Context(), signedIn(f.addr, strangers))
	if permanent || !strings.Contains(says, "certificate is not trusted, and nothing was sent: x509: ") {
		t.Errorf("permanent %v: %s", permanent, says)
	}
	hides(t, "the connection", f.said())
	if f.taken() != 0 {
		t.Error("a server that is not trusted has the message")
	}
	implicit := newSink(t, sinkConfig{tls: secure, implicit: true})
	c := signedIn(implicit.addr, strangers)
	c.Server.ImplicitTLS = true
	if permanent, says := fails(t, t.Context(), c); permanent || !strings.Contains(says, "certificate is not trusted") {
		t.Errorf("TLS from the start: permanent %v: %s", permanent, says)
	}
	c.Server.Port = f.addr.Port
	if permanent, says := fails(t, t.Context(), c); permanent || !strings.Contains(says, "write smtp://") {
		t.Errorf("no TLS at the port: permanent %v: %s", permanent, says)
	}
	// Opportunistic TLS takes any certificate: the clear is what it would be otherwise.
	c = config(f.addr)
	c.Server.TLS = email.TLSOpportunistic
	if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
		t.Error(err)
	}
	if bytes.Contains(f.said(), []byte("MAIL FROM")) {
		t.Error("TLS was offered, and the message went in the clear")
	}
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		stage, answer string
		permanent     bool
		says          string
	}{
		{"greeting", "421 too busy", false, "at its greeting: code 421, too busy"},
		{"greeting", "554 go away", true, "at its greeting: code 554, go away"},
		{"greeting", "250 what?", false, "code 250, what?"},
		{"greeting", "HTTP/1.1 400 Bad Request", false, "its answer was not understood"},
		{"EHLO", "421 not now", false, "at EHLO: code 421, not now"},
		{"EHLO", "550 no", true, "at EHLO: code 550, no"}, // and HELO too
		{"MAIL", "451 4.7.1 greylisted", false, "at MAIL FROM: code 451, 4.7.1 greylisted"},
		{"MAIL", "530 5.7.0 sign in first", true, "at MAIL FROM: code 530, "},
		{"RCPT", "450 mailbox busy", false, "at RCPT TO: code 450, mailbox busy"},
		{"RCPT", "421 closing", false, "at RCPT TO: code 421, closing"},
		{"RCPT", "550-5.1.1 no such\r\n550 5.1.1 mailbox", true, "at RCPT TO: code 550, 5.1.1 no such 5.1.1 mailbox"},
		{"DATA", "452 no space", false, "at DATA: code 452, no space"},
		{"DATA", "554 no", true, "at DATA: code 554, no"},
		{"end", "451 try again", false, "at the end of the message: code 451, try again"},
		{"end", "552 too big", true, "at the end of the message: code 552, too big"},
		{"end", "550 ", true, "at the end of the message: code 550"},
		{"end", drop, false, "at the end of the message: it closed the connection"},
		{"DATA", drop, false, "at DATA: it closed the connection"},
		{"greeting", drop, false, "at its greeting: it closed the connection"},
		{"greeting", flood, false, "at its greeting: it talks without end"},
		{"EHLO", flood, false, "at EHLO: it talks without end"},
	} {
		f := newFake(t, map[string][]string{test.stage: {test.answer}, "HELO": {test.answer}}, nil)
		permanent, says := fails(t, t.Context(), config(f.addr))
		if permanent != test.permanent || !strings.Contains(says, test.says) || !strings.HasPrefix(says, "e-mail by 127.0.0.1:") {
			t.Errorf("%s at %s: permanent %v: %s", test.answer, test.stage, permanent, says)
		}
	}
}

// A greylisting server takes what comes again, under the same ID.
func TestGreylisted(t *testing.T) {
	f := newFake(t, map[string][]string{"RCPT": {"451 4.7.1 come back later", "250 ok"}}, nil)
	n := newNotifier(t, config(f.addr))
	var failure *notify.Failure
	if err := n.Send(t.Context(), critical); !errors.As(err, &failure) || failure.Permanent {
		t.Errorf("the first time: %v", err)
	}
	if err := n.Send(t.Context(), critical); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if f.taken() != 1 {
		t.Errorf("%d messages arrived", f.taken())
	}
}

// Whatever a server says, and it may say back what it was told, the password is not repeated.
func TestServersWords(t *testing.T) {
	cert, roots := certificate(t)
	for name, answer := range map[string]string{
		"password":   "535 wrong: " + password,
		"as it went": "535 wrong: " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)),
		"alone":      "454 wrong: " + base64.StdEncoding.EncodeToString([]byte(password)),
		"far off":    "535 " + strings.Repeat("ü", 1000) + password,
		"long":       "535 " + strings.Repeat("ü", 1000),
		"controls":   "535 a\x1b[31m\x00\tb\u202e\u2028c\xff",
	} {
		f := newFake(t, map[string][]string{"EHLO": {"250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"}, "AUTH": {answer}}, &tls.Config{Certificates: []tls.Certificate{cert}})
		permanent, says := fails(t, t.Context(), signedIn(f.addr, roots))
		if permanent != strings.HasPrefix(answer, "5") || !strings.Contains(says, "signing in: code "+answer[:3]) {
			t.Errorf("%s: permanent %v: %s", name, permanent, says)
		}
		if utf8.RuneCountInString(says) > 300 || strings.ContainsFunc(says, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: it says %q", name, says)
		}
		if name == "controls" && !strings.HasSuffix(says, "code 535, a [31m b c") {
			t.Errorf("it says %q", says)
		}
		hides(t, "the connection without TLS", f.said())
	}
}

func TestReceivers(t *testing.T) {
	both := []string{"gone@example.org", "you@example.org"}
	var log bytes.Buffer
	s := newSink(t, sinkConfig{refuse: both[0]})
	c := config(s.addr)
	c.To, c.Log = both, slog.New(slog.NewTextHandler(&log, nil))
	if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
		t.Fatalf("one receiver is taken: %v", err)
	}
	if got := s.one(t); !slices.Equal(got.to, both[1:]) {
		t.Errorf("it arrives at %v", got.to)
	}
	if !strings.Contains(log.String(), both[0]) || !strings.Contains(log.String(), "no such mailbox") {
		t.Errorf("the log says %s", log.String())
	}
	for _, test := range []struct {
		answers   []string
		permanent bool
		says      string
	}{
		{[]string{"550 first", "551 second"}, true, "code 550, first"},
		{[]string{"550 first", "450 second"}, false, "code 450, second"},
		{[]string{"450 first", "550 second"}, false, "code 450, first"},
		{[]string{"250 ok", "421 closing"}, false, "code 421, closing"},
		{[]string{"250 ok", drop}, false, "it closed the connection"},
	} {
		f := newFake(t, map[string][]string{"RCPT": test.answers}, nil)
		c := config(f.addr)
		c.To = both
		if permanent, says := fails(t, t.Context(), c); permanent != test.permanent || !strings.Contains(says, test.says) {
			t.Errorf("%v: permanent %v: %s", test.answers, permanent, says)
		}
		if f.taken() != 0 {
			t.Errorf("%v: a message arrived", test.answers)
		}
	}
}

// Only addresses that need SMTPUTF8 ask for it: the next server on the way may not know it.
func TestSMTPUTF8(t *testing.T) {
	for to, want := range map[string]bool{"you@example.org": false, "jürgen@example.org": true} {
		s := newSink(t, sinkConfig{utf8: true})
		c := config(s.addr)
		c.To = []string{to}
		if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
			t.Fatal(err)
		}
		if got := s.one(t); got.utf8 != want || !slices.Equal(got.to, c.To) {
			t.Errorf("%s: SMTPUTF8 %v, to %v", to, got.utf8, got.to)
		}
	}
}

func TestGreeting(t *testing.T) {
	for from, want := range map[string]string{"a@example.org": "example.org", "a@localhost": "localhost", "a@[192.0.2.1]": "localhost", "": "kw.example.net"} {
		f := newFake(t, nil, nil)
		c := config(f.addr)
		if c.From = from; from == "" {
			c.From, c.HELO = "a@example.org", want
		}
		if err := newNotifier(t, c).Send(t.Context(), critical); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(f.said(), []byte("EHLO "+want+"\r\n")) {
			t.Errorf("from %s: %q", from, f.said())
		}
	}
}

// A server that keeps us waiting is left when the time is up, or when whoever sends is asked to stop. One that hangs at
// the greeting may do so before we know that we are connected.
func TestWaiting(t *testing.T) {
	cert, roots := certificate(t)
	offer := "250-fake\r\n250-AUTH PLAIN\r\n250 STARTTLS"
	for stage, says := range map[string]string{
		"greeting": "", "EHLO": "at EHLO", "STARTTLS": "at STARTTLS", "AUTH": "signing in", "MAIL": "at MAIL FROM", "RCPT": "at RCPT TO",
		"DATA": "at DATA", "end": "at the end of the message",
	} {
		for _, how := range []string{hang, drip} {
			answers := map[string][]string{"EHLO": {offer}}
			answers[stage] = []string{how}
			f := newFake(t, answers, &tls.Config{Certificates: []tls.Certificate{cert}})
			c := signedIn(f.addr, roots)
			c.Timeout = 100 * time.Millisecond
			if permanent, got := fails(t, t.Context(), c); permanent || !strings.HasSuffix(got, ": no answer in time") {
				t.Errorf("%s at %s: permanent %v: %s", how, stage, permanent, got)
			}
			for len(f.reached) > 0 {
				<-f.reached
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-f.reached; cancel() }()
			c.Timeout = time.Hour
			if permanent, got := fails(t, ctx, c); permanent || !strings.HasSuffix(got, says+": it was broken off") {
				t.Errorf("%s at %s, broken off: permanent %v: %s", how, stage, permanent, got)
			}
		}
	}
}

// What the server has taken is delivered, whatever happens at the goodbye.
func TestGoodbye(t *testing.T) {
	for _, how := range []string{hang, drop, "500 no"} {
		f := newFake(t, map[string][]string{"QUIT": {how}}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		if how == hang {
			go func() { <-f.reached; cancel() }()
		}
		if err := newNotifier(t, config(f.addr)).Send(ctx, critical); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		cancel()
		if f.taken() != 1 {
			t.Errorf("%s: %d messages arrived", how, f.taken())
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	_ = listener.Close()
	if permanent, says := fails(t, t.Context(), config(addr)); permanent || !strings.HasSuffix(says, "connecting: connection refused") {
		t.Errorf("permanent %v: %s", permanent, says)
	}
	c := config(addr)
	c.Server.Host = "mail.invalid"
	if permanent, says := fails(t, t.Context(), c); permanent || !strings.Contains(says, "e-mail by mail.invalid:") || !strings.Contains(says, "connecting: ") {
		t.Errorf("permanent %v: %s", permanent, says)
	}
}
