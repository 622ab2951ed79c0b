package email

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"syscall"
	"unicode"

	"keywheel/xds/notify"
)

// mostWords is the most that is repeated of what a server says, in characters.
const mostWords = 200

// failure says what went wrong at a stage, in our own words and those of the server's that are safe to repeat.
func (n *Notifier) failure(ctx context.Context, stage string, err error) *notify.Failure {
	reason, lasting := n.reason(ctx, stage, err)
	return &notify.Failure{Err: fmt.Errorf("e-mail by %s, %s: %s", n.server.addr(), stage, reason), Permanent: lasting}
}

// reason returns what went wrong and whether it stays so.
func (n *Notifier) reason(ctx context.Context, stage string, err error) (reason string, lasting bool) {
	var (
		reply     *textproto.Error
		untrusted *tls.CertificateVerificationError
		noTLS     tls.RecordHeaderError
		unknown   *net.DNSError
		network   net.Error
	)
	switch {
	case errors.As(err, &reply):
		return n.words(reply), permanent(reply) && stage != atTLS // as for errNoTLS
	case errors.Is(err, errNoSignIn):
		return err.Error(), n.server.TLS == TLSRequired // else somebody on the way may have taken the offer off
	case errors.Is(err, errNoTLS), errors.Is(err, errTalks):
		return err.Error(), false
	case errors.Is(ctx.Err(), context.Canceled):
		return "it was broken off", false
	case errors.As(err, &untrusted):
		return "its certificate is not trusted, and nothing was sent: " + clean(untrusted.Err.Error()), false
	case errors.As(err, &noTLS) && stage == atTLS:
		return "what follows is not TLS, and nothing was sent", false
	case errors.As(err, &noTLS):
		return "it does not speak TLS at this port: write smtp:// for STARTTLS", false
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "no answer in time", false
	case errors.As(err, &unknown):
		return "the name of the host cannot be looked up", false
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it closed the connection", false
	case stage == atConnect:
		return "it cannot be reached", false
	}
	return "its answer was not understood", false // the error may quote it
}

// permanent says whether the server refuses for good: RFC 5321, 4.2.1.
func permanent(reply *textproto.Error) bool { return reply.Code/100 == 5 }

// words are the server's code and what it says of it, without what would give the password away.
func (n *Notifier) words(reply *textproto.Error) string {
	code := fmt.Sprintf("code %d", reply.Code)
	text := clean(reply.Msg)
	if password := n.server.Password.Reveal(); password != "" {
		for _, form := range []string{
			password,
			base64.StdEncoding.EncodeToString([]byte(password)),
			base64.StdEncoding.EncodeToString([]byte("\x00" + n.server.User + "\x00" + password)),
		} {
			if strings.Contains(reply.Msg, form) {
				return code
			}
		}
	}
	if text == "" {
		return code
	}
	return code + ", " + text
}

// clean makes text from outside fit for a log line: no control characters, runs of blanks as one, not too long.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, " "), func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > mostWords {
		s = string(runes[:mostWords-1]) + "…"
	}
	return s
}
