package services

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// joiner is U+2060 WORD JOINER: it is not seen, and what it stands in is no command to a chat service any more.
const joiner = "\u2060"

// In chats, @everyone and <!channel> call people, <https://…|text> and [text](https://…) are links that do not show where
// they lead, and ![](https://…) fetches a picture. Slack has signs of its own for < and &.
var (
	disarm      = strings.NewReplacer("<", "<"+joiner, "@", "@"+joiner, "](", "]"+joiner+"(")
	disarmSlack = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@"+joiner, "](", "]"+joiner+"(")
)

// harmless makes text that people wrote, such as a key's label, safe in a chat: it looks the same, calls nobody and
// hides no link.
func harmless(name, text string) string {
	if name == "slack" {
		return disarmSlack.Replace(text)
	}
	return disarm.Replace(text)
}

// oneLine is a subject without control characters: some services send it as a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cut shortens s to at most so many bytes, between characters, with an ellipsis; longest 0 leaves it as it is.
func cut(s string, longest int) string {
	const ellipsis = "…"
	if longest == 0 || len(s) <= longest {
		return s
	}
	end := longest - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
