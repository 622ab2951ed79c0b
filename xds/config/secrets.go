package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// collectSecrets remembers every secret's value, so that no message repeats one that stands in the wrong place too. A
// URL is secret for what it holds: that is remembered as well.
func (l *loader) collectSecrets() {
	for _, level := range l.levels() {
		for name, e := range level {
			value := e.value
			if base, ok := strings.CutSuffix(name, fileSuffix); ok && isSecret(base) && value != "" {
				content, _ := l.read(l.absolute(strings.TrimSpace(value))) // read again, and judged, by lookupSecret
				value = string(content)
			} else if !isSecret(name) {
				continue
			}
			if value = strings.TrimSpace(value); value == "" {
				continue
			}
			l.secrets = append(l.secrets, value)
			for part := range strings.SplitSeq(value, ",") { // master keys
				if part = strings.TrimSpace(part); len(part) >= minPart {
					l.secrets = append(l.secrets, part)
				}
			}
			for _, u := range splitURLs(value) {
				l.secrets = append(l.secrets, secretParts(u)...)
			}
		}
	}
}

// A part of a URL is held for a secret by its length in bytes: shorter ones are words that stand anywhere.
const (
	minPassword = 6
	minPart     = 16 // of a path or query: tokens of services
)

// secretParts returns what can be secret by itself in a URL or token, which need not be a good one: the password, or the
// user if there is no password, and everything as long as a token; both as written and as meant.
func secretParts(s string) []string {
	rest := s
	if _, after, isURL := strings.Cut(s, "://"); isURL {
		rest = after
	}
	var parts []string
	add := func(part string, least int) {
		if len(part) >= least {
			parts = append(parts, part)
		}
		if plain, err := url.PathUnescape(part); err == nil && plain != part && len(plain) >= least {
			parts = append(parts, plain)
		}
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	for _, text := range []string{authority, rest} { // rest: the password has such a sign in it, though it must not
		if at := strings.LastIndex(text, "@"); at >= 0 {
			user, password, both := strings.Cut(text[:at], ":")
			if !both {
				password = user
			}
			add(password, minPassword)
		}
	}
	for _, part := range strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("/@:?&=#,;.", r) }) {
		add(part, minPart)
	}
	return parts
}

// show is a value as a message may repeat it: quoted, or not at all if it is long or may be a secret.
func (l *loader) show(value string) string {
	if l.unshowable(value) {
		return "what is written there"
	}
	return fmt.Sprintf("%q", value)
}

func (l *loader) unshowable(value string) bool {
	const longest = 24 // no good value of a setting whose value is shown is longer
	if len(value) > longest {
		return true
	}
	value = strings.ToLower(value) // a secret is one in letters of any case
	return strings.Contains(value, "gsk_") || slices.ContainsFunc(l.secrets, func(s string) bool {
		s = strings.ToLower(s)
		return strings.Contains(value, s) || strings.Contains(s, value) && len(value) >= 8
	})
}

// holdsSecret says whether a text that everybody sees has a secret in it.
func (l *loader) holdsSecret(text string) bool {
	return strings.Contains(strings.ToLower(text), "gsk_") ||
		slices.ContainsFunc(l.secrets, func(s string) bool { return strings.Contains(text, s) })
}
