package cli

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestPrintable(t *testing.T) {
	for _, tc := range []struct{ text, one, line, lines string }{
		{"", "", "", ""},
		{"⚠️ Key 1 → Key 2, 東京 e\u0301", "⚠️ Key 1 → Key 2, 東京 e\u0301", "⚠️ Key 1 → Key 2, 東京 e\u0301", "⚠️ Key 1 → Key 2, 東京 e\u0301"},
		{"red \x1b[31m, \u202eback\u202c, bell\a", "red [31m, back, bell", "red [31m, back, bell", "red [31m, back, bell"},
		{"550\r\n  no such\tuser\n", "550  no suchuser", "550 no such user", "550\n  no suchuser\n"},
	} {
		if got := printable(tc.text); got != tc.one {
			t.Errorf("printable(%q): %q", tc.text, got)
		}
		if got := printableLine(tc.text); got != tc.line {
			t.Errorf("printableLine(%q): %q", tc.text, got)
		}
		if got := printableLines(tc.text); got != tc.lines {
			t.Errorf("printableLines(%q): %q", tc.text, got)
		}
	}
}

// Whatever a text is, nothing of it moves the cursor, and it takes as many lines as it had, or the one that it is to take.
func TestPrintableOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a\n\r\t\x1b\x{202e}\x{2028}]*`)).Draw(t, "text")
		lines := strings.Split(printableLines(text), "\n")
		if want := strings.Count(text, "\n") + 1; len(lines) != want {
			t.Fatalf("%d lines, want %d", len(lines), want)
		}
		for _, line := range append(lines, printable(text), printableLine(text)) {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q", line)
			}
		}
	})
}
