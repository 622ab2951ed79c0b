package plugin

import (
	"strings"

	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

// Headers of Keywheel's own. Clients cannot send them: the gate takes off what begins with x-keywheel-.
const (
	ownPrefix     = "x-keywheel-"
	keyHeader     = "x-keywheel-key"     // on answers: the ID of the key that served, never a secret
	rotateHeader  = "x-keywheel-rotate"  // from the attempt to Envoy's retry policy, which takes it off
	refusedHeader = "x-keywheel-refused" // from the attempt to the gate, which takes it off
	hopHeader     = "x-keywheel-hop"     // on requests, where the upstream could be another Keywheel
	useKeyHeader  = "x-keywheel-use-key" // on requests, where the operator lets clients choose: the ID of the one key to use
	modelHeader   = "x-keywheel-model"   // on requests, where nobody looks into bodies: the model that they name
	demoHeader    = "x-keywheel-demo"
)

// request is what the gate needs to know of a request's headers.
type request struct {
	method, path string
	length       int64 // -1: not said
	json         bool
	upgrade      bool
	hop          bool
	caller       string // as it calls itself; empty: it does not
	useKey       string // the ID of the one key that is wanted; empty: any
	model        string // as the caller names it in a header; empty: it does not
	strip        []string
}

// read reads a request's headers. callerHeader is the one that names a caller; empty: none does. What it says is the
// operator's own business, and does not go on to Groq.
func (r *request) read(headers [][2]string, callerHeader string) {
	*r = request{length: -1, strip: r.strip[:0]}
	for _, h := range headers {
		if h[0] == callerHeader {
			r.caller = joined(r.caller, h[1])
			r.strip = append(r.strip, h[0])
			continue
		}
		switch name, value := h[0], h[1]; name {
		case ":method":
			r.method = value
		case ":path":
			r.path = value
		case "content-length":
			r.length = lengthOf(value)
		case "content-type":
			r.json = isJSON(value)
		case "upgrade":
			r.upgrade = true
		case hopHeader:
			r.hop = true
			r.strip = append(r.strip, name)
		case useKeyHeader:
			r.useKey = joined(r.useKey, value)
			r.strip = append(r.strip, name)
		case modelHeader:
			r.model = joined(r.model, value)
			r.strip = append(r.strip, name)
		default:
			if stripsFromRequest(name) {
				r.strip = append(r.strip, name)
			}
		}
	}
	if r.method == "CONNECT" {
		r.upgrade = true
	}
}

// joined is one value of a header that stands there several times.
func joined(before, value string) string {
	value = strings.TrimSpace(value)
	if before == "" || value == "" {
		return before + value
	}
	return before + ", " + value
}

// callerName is how a caller is counted that calls itself so.
func callerName(s string) string {
	if s == "" {
		return protocol.NoCaller
	}
	if len(s) > protocol.MaxCallerName {
		return protocol.OtherCaller
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return protocol.OtherCaller
		}
	}
	return s
}

// lengthOf reads a content-length; -1 where it is none.
func lengthOf(s string) int64 {
	if len(s) == 0 || len(s) > 18 {
		return -1
	}
	n := int64(0)
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return -1
		}
		n = n*10 + int64(c)
	}
	return n
}

func isJSON(contentType string) bool {
	if contentType == "application/json" { // most are
		return true
	}
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

// stripsFromRequest says what a client must not send on: credentials of its own, what steers Envoy's retries, hedging
// and time-outs (a client could spend every key at once), what names an account, and what would have the answer
// compressed, so that it could not be metered.
func stripsFromRequest(name string) bool {
	switch name {
	case "accept-encoding", "authorization", "x-api-key", "api-key", "cookie":
		return true
	}
	return strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, ownPrefix) || namesAccount(name)
}

// stripsFromAnswer says what must not reach the client: cookies of Groq's edge, which would tie clients together, what
// names the operator's account, the credential, should an upstream echo it, and what was meant for Envoy.
func stripsFromAnswer(name string) bool {
	return name == "set-cookie" || name == "authorization" || name == rotateHeader || namesAccount(name)
}

func namesAccount(name string) bool {
	switch name {
	case "openai-organization", "openai-project", "groq-organization", "groq-project", "x-groq-organization", "x-groq-project":
		return true
	}
	return false
}

// statusOf is an answer's status; 0: it has none.
func statusOf(headers [][2]string) int {
	for _, h := range headers {
		if h[0] == ":status" {
			return int(max(0, lengthOf(h[1])))
		}
	}
	return 0
}

// answerHeaders reads what classifies an answer. It keeps nothing of headers.
func answerHeaders(headers [][2]string) groq.ResponseHeaders {
	var h groq.ResponseHeaders
	for _, x := range headers {
		switch x[0] {
		case "content-type":
			h.ContentType = strings.Clone(x[1])
		case "retry-after":
			h.RetryAfter = strings.Clone(x[1])
		case "x-should-retry":
			h.ShouldRetry = strings.Clone(x[1])
		case "date":
			h.Date = strings.Clone(x[1])
		}
	}
	return h
}
