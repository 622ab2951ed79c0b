// Package email tells people by e-mail, through a mail server that speaks SMTP.
//
// The rules are:
//   - The text arrives as it was written, byte for byte.
//   - A password to another machine is only ever sent under TLS with a trusted certificate. Where TLS is required and
//     cannot be had, nothing is sent.
//   - What the server refuses for good (5xx) is permanent. All else is tried again: 4xx, a server that cannot be
//     reached or says nothing, and TLS that is not to be had, as whoever takes it off on the way may go away.
//   - Once the server has taken the message for one receiver it is delivered: those it refused hear nothing, which is
//     logged.
package email

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"keywheel/xds/notify"
)

// defaultTimeout is for one message, all of the session. Senders are advised to give a server minutes (RFC 5321, 4.5.3.2);
// the next try does.
const defaultTimeout = 30 * time.Second

// Config says who writes to whom and by which server.
type Config struct {
	Server  Server
	From    string           // one address, with or without a name
	To      []string         // at least one address, each with or without a name
	HELO    string           // the name that we give ourselves; empty: the domain of From, or "localhost" if that is no DNS name
	Timeout time.Duration    // for one message; 0: 30 seconds
	RootCAs *x509.CertPool   // who signs the server's certificate; nil: whom this machine trusts
	Now     func() time.Time // for the Date of messages
	Log     *slog.Logger     // told of receivers whom the server refuses; nil: slog.Default()
}

// Notifier sends one e-mail to all its receivers.
type Notifier struct {
	server   Server
	from     string
	to       []string
	fromHost string // what message IDs end with
	helo     string
	timeout  time.Duration
	roots    *x509.CertPool
	now      func() time.Time
	log      *slog.Logger
	ascii    bool // all addresses are
}

var _ notify.Notifier = (*Notifier)(nil)

// New returns a notifier. Nothing is connected to.
func New(c Config) (*Notifier, error) {
	if err := c.Server.check(); err != nil {
		return nil, err
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, errors.New("the address that e-mails come from is not one: write an address such as keywheel@example.org")
	}
	if len(c.To) == 0 {
		return nil, errors.New("e-mails need at least one address that they go to")
	}
	if c.Now == nil {
		return nil, errors.New("e-mails need a clock")
	}
	n := &Notifier{
		server: c.Server, from: from.String(), fromHost: "keywheel.invalid", helo: c.HELO, timeout: c.Timeout,
		roots: c.RootCAs, now: c.Now, log: c.Log, ascii: isASCII(from.Address),
	}
	for _, text := range c.To {
		to, err := mail.ParseAddress(text)
		if err != nil { // its text repeats the address
			return nil, errors.New("an address that e-mails go to is not one: write an address such as you@example.org")
		}
		n.to = append(n.to, to.String())
		n.ascii = n.ascii && isASCII(to.Address)
	}
	if domain := from.Address[strings.LastIndexByte(from.Address, '@')+1:]; validHost(domain) {
		n.fromHost = domain
	}
	if n.helo == "" {
		n.helo = "localhost"
		if strings.Contains(n.fromHost, ".") && n.fromHost != "keywheel.invalid" {
			n.helo = n.fromHost
		}
	}
	if !heloName.MatchString(n.helo) {
		return nil, errors.New("the name for the mail server's greeting is not one: write a DNS name, or an address as [192.0.2.1]")
	}
	if n.timeout <= 0 {
		n.timeout = defaultTimeout
	}
	if n.log == nil {
		n.log = slog.Default()
	}
	return n, nil
}

// heloName is what may stand behind EHLO: a domain or an address literal (RFC 5321, 4.1.1.1).
var heloName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$|^\[[A-Za-z0-9.:-]{1,60}\]$`)

// Send hands the message to the mail server, which is not the same as that somebody reads it. It returns by the
// notifier's time-out.
func (n *Notifier) Send(ctx context.Context, m notify.Message) error {
	l, err := n.write(m)
	if err != nil {
		return notify.Permanent(fmt.Errorf("e-mail: the message cannot be written: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	s := session{Notifier: n}
	if err := s.deliver(ctx, l); err != nil {
		return n.failure(ctx, s.stage, err)
	}
	return nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}
