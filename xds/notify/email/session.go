package email

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	mostAnswer = 1 << 20         // bytes that a server may say in a session
	quitWait   = 2 * time.Second // for the answer to QUIT, which changes nothing any more
)

var (
	errTalks    = errors.New("it talks without end")
	errNoTLS    = errors.New("it offers no TLS, which is required, and nothing was sent: somebody on the way may have taken the offer off")
	errNoSignIn = errors.New("it offers no way to sign in that is safe here")
)

// What a session is at, for errors.
const (
	atConnect  = "connecting"
	atSecuring = "beginning with TLS"
	atGreeting = "at its greeting"
	atHello    = "at EHLO"
	atTLS      = "at STARTTLS"
	atSignIn   = "signing in"
	atSender   = "at MAIL FROM"
	atReceiver = "at RCPT TO"
	atData     = "at DATA"
	atEnd      = "at the end of the message"
)

// session is one conversation with the server.
type session struct {
	*Notifier
	stage  string // what it is at
	client *smtp.Client
	local  bool // the other end of the connection is on this machine
}

// deliver hands a letter over. All of it ends with ctx.
//
// The conversation is our own, by go-mail's SMTP client: go-mail's mail client gives the message up if one receiver is
// refused, leaves connections open that failed, and starts its time-out anew on the way.
func (s *session) deliver(ctx context.Context, l letter) error {
	s.stage = atConnect
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.server.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	s.local = err == nil && peer.Addr().Unmap().IsLoopback()

	heard := &bounded{Conn: conn, left: mostAnswer}
	for _, step := range []func() error{
		func() error { return s.greet(ctx, heard) },
		s.secure, s.signIn,
		func() error { return s.envelope(l) },
		func() error { return s.content(l.content) },
	} {
		if err := step(); err != nil {
			if heard.left <= 0 {
				return errTalks // the error is about the answer's beginning
			}
			return err
		}
	}
	if err := s.client.UpdateDeadline(quitWait); err == nil {
		_ = s.client.Quit() // it has the message
	}
	return nil
}

// greet hears the server's greeting and gives ours.
func (s *session) greet(ctx context.Context, conn net.Conn) error {
	if s.server.ImplicitTLS {
		s.stage = atSecuring
		secured := tls.Client(conn, s.tlsConfig())
		if err := secured.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secured
	}
	s.stage = atGreeting
	client, err := smtp.NewClient(conn, s.server.Host)
	if err != nil {
		return err
	}
	s.client = client
	s.stage = atHello
	return client.Hello(s.helo)
}

// secure turns TLS on, if it is to be.
func (s *session) secure() error {
	if s.server.ImplicitTLS || s.server.TLS == TLSNone {
		return nil
	}
	s.stage = atTLS
	if offered, _ := s.client.Extension("STARTTLS"); !offered {
		if s.server.TLS == TLSRequired {
			return errNoTLS
		}
		return nil
	}
	return s.client.StartTLS(s.tlsConfig())
}

func (s *session) tlsConfig() *tls.Config {
	return &tls.Config{
		ServerName:         s.server.Host,
		RootCAs:            s.roots,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: s.server.TLS == TLSOpportunistic, //nolint:gosec // G402: else the same would go in the clear
	}
}

// signIn proves who we are, if there is a password.
func (s *session) signIn() error {
	if s.server.User == "" {
		return nil
	}
	s.stage = atSignIn
	_, offered := s.client.Extension("AUTH")
	auth := s.mechanism(strings.Fields(strings.ToUpper(offered)))
	if auth == nil {
		return errNoSignIn
	}
	return s.client.Auth(auth)
}

// mechanism is the best way to sign in of those that are offered, in go-mail's order; nil: there is none. PLAIN and
// LOGIN say the password itself: only under TLS, or to this machine. NTLM is left out: it is broken.
func (s *session) mechanism(offered []string) smtp.Auth {
	user, password, host := s.server.User, s.server.Password.Reveal(), s.server.Host
	state, err := s.client.GetTLSConnectionState()
	secured := err == nil && s.server.TLS == TLSRequired
	for _, m := range []struct {
		name   string
		usable bool
		auth   func() smtp.Auth
	}{
		{"SCRAM-SHA-256-PLUS", secured, func() smtp.Auth { return smtp.ScramSHA256PlusAuth(user, password, state) }},
		{"SCRAM-SHA-256", true, func() smtp.Auth { return smtp.ScramSHA256Auth(user, password) }},
		{"SCRAM-SHA-1-PLUS", secured, func() smtp.Auth { return smtp.ScramSHA1PlusAuth(user, password, state) }},
		{"SCRAM-SHA-1", true, func() smtp.Auth { return smtp.ScramSHA1Auth(user, password) }},
		{"CRAM-MD5", true, func() smtp.Auth { return smtp.CRAMMD5Auth(user, password) }},
		{"PLAIN", secured || s.local, func() smtp.Auth { return smtp.PlainAuth("", user, password, host, true) }},
		{"LOGIN", secured || s.local, func() smtp.Auth { return smtp.LoginAuth(user, password, host, true) }},
	} {
		if m.usable && slices.Contains(offered, m.name) {
			return m.auth()
		}
	}
	return nil
}

// envelope names sender and receivers. It fails if the server takes the message for none of them.
func (s *session) envelope(l letter) error {
	s.stage = atSender
	s.client.SkipSMTPUTF8(s.ascii) // a relay that does not know it must refuse what asks for it, needed or not
	if err := s.client.Mail(l.from); err != nil {
		return err
	}
	s.stage = atReceiver
	var (
		refused = make(map[string]*textproto.Error)
		taken   int
		worst   error
	)
	for _, to := range l.to {
		err := s.client.Rcpt(to)
		var reply *textproto.Error
		switch {
		case err == nil:
			taken++
			continue
		case !errors.As(err, &reply) || reply.Code == 421: // it hangs up: RFC 5321, 3.8
			return err
		}
		refused[to] = reply
		if worst == nil || !permanent(reply) {
			worst = err
		}
	}
	if taken == 0 {
		return worst
	}
	for to, reply := range refused {
		s.log.Warn("The mail server takes no e-mail for one of its receivers: the others get it", "receiver", to, "answer", s.words(reply))
	}
	return nil
}

// content sends the message itself, and hears whether the server takes it.
func (s *session) content(content []byte) error {
	s.stage = atData
	w, err := s.client.Data()
	if err != nil {
		return err
	}
	s.stage = atEnd
	if _, err := w.Write(content); err != nil {
		return err // and the connection is closed before the dot that would end the message
	}
	return w.Close()
}

// bounded is a connection that gives up a server which talks without end: the SMTP client keeps whole lines.
type bounded struct {
	net.Conn
	left int // bytes that may still be read
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTalks
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
