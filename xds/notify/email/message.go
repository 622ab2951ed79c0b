package email

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wneessen/go-mail"

	"keywheel/xds/notify"
)

// letter is a message as it goes to the server.
type letter struct {
	from    string   // in angle brackets, as the envelope has it
	to      []string // likewise
	content []byte   // headers and body, with CRLF at the end of each line
}

// write makes an e-mail of a message. Both parts are in base64: lines may be of any length and begin with a dot, and the
// text is decoded to the bytes of m.Text, its line feeds among them, with nothing before or behind it.
func (n *Notifier) write(m notify.Message) (letter, error) {
	msg := mail.NewMsg(mail.WithEncoding(mail.EncodingB64), mail.WithNoDefaultUserAgent())
	if err := msg.From(n.from); err != nil {
		return letter{}, err
	}
	if err := msg.To(n.to...); err != nil {
		return letter{}, err
	}
	id := headerID(m.ID)
	msg.SetDateWithValue(n.now())
	msg.SetMessageIDWithValue(id + "@" + n.fromHost)
	msg.SetGenHeader("X-Keywheel-Notification-Id", id)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office notes, please
	msg.SetGenHeaderPreformatted(mail.HeaderSubject, subject(m.Subject))
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(mail.TypeTextHTML, page(m.Text))
	var content bytes.Buffer
	if _, err := msg.WriteTo(&content); err != nil {
		return letter{}, err
	}
	from, err := msg.GetSender(false)
	if err != nil {
		return letter{}, err
	}
	to, err := msg.GetRecipients()
	return letter{from: from, to: to, content: content.Bytes()}, err
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// headerID is a message's ID, or a hash of one that cannot stand in a header.
func headerID(id string) string {
	if plainID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

const (
	plainSubject = 60 // the most characters of a subject that is written as it is: its line is not folded
	wordBytes    = 39 // of text in an encoded word: its line keeps to the 76 characters of RFC 2047, 2, with "Subject: " too
)

// subject writes a subject for its header. Line breaks and other control characters become blanks, so that none begins
// a header of its own. Whatever readers could take for something else is encoded: RFC 2047.
func subject(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n"))
	if len(s) <= plainSubject && isASCII(s) && !strings.Contains(s, "=?") && s == strings.TrimSpace(s) {
		return s
	}
	var words []string
	for s != "" {
		end := min(wordBytes, len(s))
		for end < len(s) && !utf8.RuneStart(s[end]) {
			end--
		}
		words = append(words, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:end]))+"?=")
		s = s[end:]
	}
	return strings.Join(words, "\r\n ")
}

// page is the text as HTML: its lines and paragraphs, and nothing that is fetched from anywhere.
func page(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, "\uFFFD"))
	var b strings.Builder
	b.WriteString(`<!DOCTYPE html><html><head><meta charset="utf-8"></head><body style="font-family: sans-serif">`)
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		b.WriteString("\n" + `<p dir="auto" style="white-space: pre-wrap">`)
		b.WriteString(strings.ReplaceAll(html.EscapeString(paragraph), "\n", "<br>"))
		b.WriteString("</p>")
	}
	b.WriteString("\n</body></html>\n")
	return b.String()
}
