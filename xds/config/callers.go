package config

import (
	"slices"
	"strings"
)

// maxHeader is the longest name of a caller's header, in bytes.
const maxHeader = 64

// Headers that name no caller: credentials, whose values would be shown, what HTTP and Groq need themselves (a caller's header
// does not go on to Groq), and what differs with each request. Those that end with - are beginnings.
var noCallers = []string{
	"authorization", "proxy-", "cookie", "set-cookie", "x-api-key", "api-key",
	"host", "connection", "keep-alive", "content-", "accept", "accept-", "transfer-encoding", "te", "trailer", "upgrade", "expect", "range", "date",
	"user-agent", "via", "forwarded", "x-forwarded-", "x-request-id", "traceparent", "tracestate", "x-keywheel-", "x-envoy-",
}

// loadCallers reads how clients are told apart, and what they may ask for.
func (l *loader) loadCallers(c *Config) {
	c.CallerHeader = l.header("KEYWHEEL_CALLER_HEADER")
	c.UseKeyHeader = l.boolean("KEYWHEEL_USE_KEY_HEADER")
}

// header reads the name of a header of the user's own, in small letters.
func (l *loader) header(name string) string {
	e, set := l.lookup(name)
	if !set {
		return ""
	}
	header := strings.ToLower(e.value)
	const fix = "write a header of your own, such as x-team"
	switch {
	case !headerName(header):
		l.problem(name, e, l.show(e.value)+" is no header's name, which is of letters, digits and - between them", fix)
	case slices.ContainsFunc(noCallers, func(no string) bool {
		return header == no || strings.HasSuffix(no, "-") && strings.HasPrefix(header, no)
	}):
		l.problem(name, e, "the header "+header+" has a meaning of its own", fix)
	default:
		return header
	}
	return ""
}

// headerName says whether a text in small letters can be a header's name. Signs beyond - and _ are possible, but no more
// than asked for trouble.
func headerName(s string) bool {
	const signs = "-_"
	return s != "" && len(s) <= maxHeader && strings.Trim(s, signs) == s &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789"+signs) == ""
}
