package groq

import (
	"strings"
	"unicode/utf8"
)

// errorBody is what decides of an error's body.
type errorBody struct {
	message string // its first captureLimit bytes
	kind    string // its type
	code    codeText
}

// errorBodyFields are the fields of an error's body.
var errorBodyFields = field{fields: []field{
	{name: "error", fields: []field{
		{name: "message", is: errorMessage},
		{name: "type", is: errorType},
		{name: "code", is: errorBodyCode},
	}},
}}

const (
	errorMessage meaning = iota + 1
	errorType
	errorBodyCode
)

// readError reads an error's body; of anything else it reads nothing.
func readError(body []byte) errorBody {
	var e errorBody
	var scan scanner
	scan.feed(body, &errorBodyFields, &e)
	return e
}

func (e *errorBody) opened(meaning) {}
func (e *errorBody) closed(meaning) {}

func (e *errorBody) value(is meaning, v value) {
	if is == errorBodyCode {
		e.code.set(v)
		return
	}
	s := ""
	if v.kind == text {
		s = string(v.text)
	}
	if is == errorMessage {
		e.message = s
	} else {
		e.kind = s
	}
}

// restricted says that the organization is served nothing. Spending has several codes.
func (e *errorBody) restricted() bool {
	c := e.code.String()
	return c == codeOrgRestricted || c == codeBlocked || strings.HasPrefix(c, codeSpendPrefix)
}

// blocked says that the organization may not use the model.
func (e *errorBody) blocked() bool {
	c := e.code.String()
	return e.kind == typePermissions || c == codeTermsRequired || strings.HasPrefix(c, codeBlockedPrefix)
}

// maxCode is the longest error code that is believed, in bytes.
const maxCode = 64

// codeText is an error code without an allocation.
type codeText struct {
	n    int
	text [maxCode]byte
}

// set takes an error code, or forgets it where v is no sane one. Codes go into reports and log lines.
func (t *codeText) set(v value) {
	t.n = 0
	if v.kind == composite || v.cut || len(v.text) > maxCode || v.kind == literal && string(v.text) == "null" {
		return
	}
	for _, c := range v.text {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.') {
			return
		}
	}
	t.n = copy(t.text[:], v.text)
}

func (t *codeText) String() string { return string(t.text[:t.n]) }

// AppendError appends an error body in Groq's shape and escaping, with its closing line break, for an answer of our
// own. An empty code is left out.
func AppendError(dst []byte, message, kind, code string) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = appendString(dst, message)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, kind)
	if code != "" {
		dst = append(dst, `,"code":`...)
		dst = appendString(dst, code)
	}
	return append(dst, "}}\n"...)
}

// appendString appends s as a JSON string as encoding/json writes it: what could end a script or a line is escaped,
// and bytes that are no UTF-8 are replaced.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, hex[r&0xF])
			default:
				dst = append(dst, s[i:i+n]...)
			}
			i += n
			continue
		}
		i++
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c < ' ' || c == '<' || c == '>' || c == '&':
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&0xF])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
