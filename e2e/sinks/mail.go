package sinks

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// Mail is a mail server that keeps what it gets.
type Mail struct {
	Addr string // host:port

	mu     sync.Mutex
	refuse error
	got    []Letter
	bad    []error
}

// Letter is a message as it was received.
type Letter struct {
	ID       string // the Message-ID without its brackets
	From     string // of the envelope
	To       []string
	Subject  string
	Text     string // of the plain part
	HTML     string
	Raw      []byte
	Envelope mail.Header
}

// StartMail runs a mail server until the test ends. With a configuration it offers STARTTLS.
func StartMail(t testing.TB, starttls *tls.Config) *Mail {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m, server := NewMail(l.Addr().String(), starttls)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Errorf("the mail server ended: %v", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, err := range m.bad {
			t.Errorf("a letter cannot be read: %v", err)
		}
	})
	return m
}

// NewMail is a mailbox, and the server that fills it, for who runs one without a test. With a configuration it offers STARTTLS.
func NewMail(addr string, starttls *tls.Config) (*Mail, *smtp.Server) {
	m := &Mail{Addr: addr}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{mail: m}, nil }))
	server.Addr, server.Domain, server.TLSConfig, server.ErrorLog = addr, "mail.test", starttls, log.New(io.Discard, "", 0)
	return m, server
}

// Refuse has every further letter refused; nil: taken again. See Code.
func (m *Mail) Refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// Code is a refusal in SMTP's words: Code(451, "greylisted").
func Code(code int, text string) error { return &smtp.SMTPError{Code: code, Message: text} }

// Got is every letter that was taken.
func (m *Mail) Got() []Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Letter(nil), m.got...)
}

// session is one connection.
type session struct {
	mail *Mail
	from string
	to   []string
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if s.mail.refuse != nil {
		return s.mail.refuse
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	letter, err := readLetter(raw)
	s.mail.mu.Lock()
	defer s.mail.mu.Unlock()
	if err != nil {
		s.mail.bad = append(s.mail.bad, err)
		return nil
	}
	letter.From, letter.To = s.from, append([]string(nil), s.to...)
	s.mail.got = append(s.mail.got, letter)
	return nil
}

// readLetter takes a message apart as a mail program does.
func readLetter(raw []byte) (Letter, error) {
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Letter{}, err
	}
	l := Letter{Raw: raw, Envelope: message.Header, ID: strings.Trim(message.Header.Get("Message-Id"), "<>")}
	if l.Subject, err = new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject")); err != nil {
		return l, err
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		return l, fmt.Errorf("it is %q: %w", kind, errors.Join(err))
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
		var body io.Reader = part
		switch strings.ToLower(part.Header.Get("Content-Transfer-Encoding")) {
		case "quoted-printable":
			body = quotedprintable.NewReader(part)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, part)
		}
		content, err := io.ReadAll(body)
		if err != nil {
			return l, err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/plain") {
			l.Text = string(content)
		} else {
			l.HTML = string(content)
		}
	}
}
