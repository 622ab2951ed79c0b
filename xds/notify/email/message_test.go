package email_test

import (
	"encoding/base64"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"keywheel/xds/notify"
	"keywheel/xds/notify/email"
)

var anyAddr = net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25}

// critical is the message of 90 %.
var critical = notify.Message{
	ID: "0199-42", Subject: "🚨 CRITICAL: Groq Key 1 at 90%",
	Text: "CRITICAL: API Key Quota Nearly Exhausted\n\nProvider: Groq\nKey ID: 1\n\n⚡ Immediate Action Required:\n- Add backup keys for groq",
}

// parts are an e-mail's text and page, decoded.
func parts(t rapid.TB, raw []byte) (text, page string) {
	t.Helper()
	m := parsed(t, raw)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("it is %s %v", kind, err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct {
		kind string
		to   *string
	}{{"text/plain", &text}, {"text/html", &page}} {
		part, err := r.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || kind != want.kind || !strings.EqualFold(params["charset"], "utf-8") || part.Header.Get("Content-Transfer-Encoding") != "base64" {
			t.Fatalf("a part is %v %v", part.Header, err)
		}
		decoded, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		if err != nil {
			t.Fatal(err)
		}
		*want.to = string(decoded)
	}
	if _, err := r.NextRawPart(); err != io.EOF {
		t.Fatalf("a third part: %v", err)
	}
	return text, page
}

// hostile are texts that could be taken for something else on their way.
var hostile = map[string]string{
	"nothing":            "",
	"markup":             `<script src="https://evil.example/x.js"></script><img src=x> & "quotes" 'too' &amp; </p></body>`,
	"header":             "Key\r\nBcc: victim@example.org\r\n\r\nbody",
	"bare returns":       "a\rBcc: victim@example.org\rb",
	"bare feeds":         "a\nBcc: victim@example.org\nb",
	"dots":               ".\n..\n.\r\n.\r\nQUIT\r\n...leading",
	"long line":          strings.Repeat("0123456789", 500),
	"long words":         strings.Repeat("🔑", 1300),
	"many lines":         strings.Repeat("line\n", 1000),
	"right to left":      "\u202Eמפתח 1\u202C \u200Fالعربية\u2066x\u2069",
	"emoji":              "⚠️ 👩‍🚒 🇺🇦 ⚡",
	"encoded word":       "=?UTF-8?B?QmNjOiB2aWN0aW0=?= =?utf-8?q?x?=",
	"quoted printable":   "=0D=0A=20 trailing = \n=",
	"boundary":           "--\n--x\n--x--\n",
	"blanks":             "  two  blanks \t tab  \n \n  ",
	"line separators":    "a\u2028b\u2029c\u0085d",
	"control characters": "a\x00b\x07c\x1b[31md\x7f",
	"broken UTF-8":       "a\xff\xc3(b",
}

func TestTextArrivesByteForByte(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, sinkConfig{})
			m := notify.Message{ID: "1", Subject: text, Text: text}
			if err := newNotifier(t, config(s.addr)).Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			check(t, s.one(t), m)
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOf(rapid.OneOf(
			rapid.String(), rapid.SampledFrom([]string{"\r\n", "\n.", "\r", "=?", "Bcc: a@b", "<b>", "😀", strings.Repeat("x", 1000)}),
		))
		m := notify.Message{ID: rapid.String().Draw(rt, "ID"), Subject: strings.Join(pieces.Draw(rt, "subject"), ""), Text: strings.Join(pieces.Draw(rt, "text"), "")}
		raw, err := email.Content(newNotifier(t, config(&anyAddr)), m)
		if err != nil {
			rt.Fatal(err)
		}
		check(rt, received{from: "keywheel@example.org", to: []string{"you@example.org"}, raw: raw}, m)
	})
}

// check compares an e-mail with its message.
func check(t rapid.TB, got received, m notify.Message) {
	t.Helper()
	text, page := parts(t, got.raw)
	if text != m.Text {
		t.Errorf("text %q arrives as %q", m.Text, text)
	}
	checkPage(t, page, m.Text)
	h := parsed(t, got.raw).Header
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if want := oneLine(m.Subject); err != nil || subject != want {
		t.Errorf("subject %q arrives as %q, want %q (%v)", m.Subject, subject, want, err)
	}
	for word := range strings.FieldsSeq(h.Get("Subject")) {
		if part, err := new(mime.WordDecoder).Decode(word); err == nil && !utf8.ValidString(part) {
			t.Errorf("the subject has a part of a character: %s", word)
		}
	}
	for name, values := range h {
		switch name {
		case "From", "To", "Subject", "Date", "Message-Id", "Mime-Version", "Content-Type", "Auto-Submitted", "X-Keywheel-Notification-Id":
			if len(values) != 1 {
				t.Errorf("%d headers %s", len(values), name)
			}
		default:
			t.Errorf("header %s: %q", name, values)
		}
	}
	if got.from != "keywheel@example.org" || len(got.to) != 1 || got.to[0] != "you@example.org" {
		t.Errorf("the envelope is %s to %s", got.from, got.to)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(got.raw), "\r\n"), "\r\n") {
		if len(line) > 78 || len(line) > 76 && strings.Contains(line, "=?") || strings.ContainsAny(line, "\r\n") || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' }) {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
}

// oneLine is what a subject becomes.
func oneLine(s string) string {
	s = strings.NewReplacer("\r\n", " ", "\u2028", " ", "\u2029", " ").Replace(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

var (
	tags   = regexp.MustCompile(`<[^>]*>`)
	inside = regexp.MustCompile(`[^>]\n|\n[^<]`)
)

// checkPage sees that a page has the text's lines and no mark-up of its own making.
func checkPage(t rapid.TB, page, text string) {
	t.Helper()
	for _, tag := range tags.FindAllString(page, -1) {
		switch tag {
		case "<!DOCTYPE html>", "<html>", "<head>", `<meta charset="utf-8">`, "</head>", `<body style="font-family: sans-serif">`, "</body>", "</html>",
			`<p dir="auto" style="white-space: pre-wrap">`, "</p>", "<br>":
		default:
			t.Errorf("the page has %s", tag)
		}
	}
	if inside.MatchString(page) {
		t.Errorf("the page has line breaks that are not seen: %q", page)
	}
	page = strings.NewReplacer("<br>", "\n", "</p>\n<p dir=\"auto\" style=\"white-space: pre-wrap\">", "\n\n").Replace(page)
	_, page, _ = strings.Cut(page, `pre-wrap">`)
	page, _, _ = strings.Cut(page, "</p>")
	want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(text, "\uFFFD"))
	if got := html.UnescapeString(page); got != want {
		t.Errorf("the page says %q, want %q", got, want)
	}
}

func TestHeaders(t *testing.T) {
	s := newSink(t, sinkConfig{})
	if err := newNotifier(t, config(s.addr)).Send(t.Context(), critical); err != nil {
		t.Fatal(err)
	}
	h := parsed(t, s.one(t).raw).Header
	date, err := h.Date()
	if err != nil || !date.Equal(noon) {
		t.Errorf("Date is %v %v", date, err)
	}
	for name, want := range map[string]string{
		"From": `"Keywheel" <keywheel@example.org>`, "To": "<you@example.org>", "Message-Id": "<0199-42@example.org>", "Mime-Version": "1.0",
		"X-Keywheel-Notification-Id": "0199-42", "Auto-Submitted": "auto-generated",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A subject of plain letters is readable in the raw message too.
func TestPlainSubject(t *testing.T) {
	for subject, want := range map[string]string{
		"Groq Key 1 at 75% quota": "Subject: Groq Key 1 at 75% quota\r\n",
		"":                        "Subject: \r\n",
		" blank":                  "Subject: =?UTF-8?B?IGJsYW5r?=\r\n",
		"⚡":                       "Subject: =?UTF-8?B?4pqh?=\r\n",
	} {
		raw, err := email.Content(newNotifier(t, config(&anyAddr)), notify.Message{ID: "1", Subject: subject})
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%q: %v\n%s", subject, err, raw)
		}
	}
}

func TestMessageID(t *testing.T) {
	ids := make(map[string]string)
	for _, id := range []string{"a-1", "a-2", "", "a b", "a\r\nBcc: x@y", "a>", strings.Repeat("a", 200), strings.Repeat("a", 201), "ü"} {
		var both [2]string
		for i := range both {
			raw, err := email.Content(newNotifier(t, config(&anyAddr)), notify.Message{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			both[i] = parsed(t, raw).Header.Get("Message-Id")
		}
		if both[0] != both[1] {
			t.Errorf("%q sent again has %s and %s", id, both[0], both[1])
		}
		if !regexp.MustCompile(`^<[A-Za-z0-9._-]+@example\.org>$`).MatchString(both[0]) {
			t.Errorf("%q has %s", id, both[0])
		}
		if other, taken := ids[both[0]]; taken {
			t.Errorf("%q and %q have the same ID", id, other)
		}
		ids[both[0]] = id
	}
	c := config(&anyAddr)
	c.From = "keywheel@[192.0.2.1]"
	raw, err := email.Content(newNotifier(t, c), critical)
	if got := parsed(t, raw).Header.Get("Message-Id"); err != nil || got != "<0199-42@keywheel.invalid>" {
		t.Errorf("from an address without a name: %s %v", got, err)
	}
}
