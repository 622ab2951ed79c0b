package plugin

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/host"
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

// header is a header that means something here.
type header struct {
	name  string
	means meaning
	strip strip
}

type meaning uint8

const (
	nothing meaning = iota
	theMethod
	thePath
	theLength
	theType
	anUpgrade
	aHop
	theKeyToUse
	theModel
	theStatus
	theKey
	aRefusal
)

// strip says where a header is taken off.
type strip uint8

const (
	// fromRequest is for what a client must not send on: credentials of its own, what steers Envoy's retries, hedging and
	// time-outs (a client could spend every key at once), what names an account, and what would have the answer compressed,
	// so that it could not be metered.
	fromRequest strip = 1 << iota
	// fromAnswer is for what must not reach the client: cookies of Groq's edge, which would tie clients together, what names
	// the operator's account, the credential, should an upstream echo it, and what was meant for Envoy.
	fromAnswer
)

// headersByLength are all such headers, but for those that are known by how their names begin.
var headersByLength = byLength(
	header{":method", theMethod, 0},
	header{":path", thePath, 0},
	header{"content-length", theLength, 0},
	header{"content-type", theType, 0},
	header{"upgrade", anUpgrade, 0},
	header{hopHeader, aHop, fromRequest},
	header{useKeyHeader, theKeyToUse, fromRequest},
	header{modelHeader, theModel, fromRequest},
	header{":status", theStatus, 0},
	header{keyHeader, theKey, fromRequest},
	header{refusedHeader, aRefusal, fromRequest | fromAnswer},
	header{rotateHeader, nothing, fromRequest | fromAnswer},
	header{"accept-encoding", nothing, fromRequest},
	header{"x-api-key", nothing, fromRequest},
	header{"api-key", nothing, fromRequest},
	header{"cookie", nothing, fromRequest},
	header{"set-cookie", nothing, fromAnswer},
	header{"authorization", nothing, fromRequest | fromAnswer},
	header{"openai-organization", nothing, fromRequest | fromAnswer},
	header{"openai-project", nothing, fromRequest | fromAnswer},
	header{"groq-organization", nothing, fromRequest | fromAnswer},
	header{"groq-project", nothing, fromRequest | fromAnswer},
	header{"x-groq-organization", nothing, fromRequest | fromAnswer},
	header{"x-groq-project", nothing, fromRequest | fromAnswer},
)

func byLength(headers ...header) [20][]header {
	var out [20][]header
	for _, h := range headers {
		out[len(h.name)] = append(out[len(h.name)], h)
	}
	return out
}

// headerOf says what a header means.
func headerOf(name string) (means meaning, where strip) {
	if len(name) < len(headersByLength) {
		for i := range headersByLength[len(name)] {
			if h := &headersByLength[len(name)][i]; h.name == name {
				return h.means, h.strip
			}
		}
	}
	if strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, ownPrefix) {
		return nothing, fromRequest
	}
	return nothing, 0
}

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
}

// read reads a request's headers and takes off what must not go on. callerHeader is the one that names a caller; empty:
// none does. What it says is the operator's own business, and does not go on to Groq.
func (r *request) read(headers host.Headers, callerHeader string) {
	r.length = -1
	for {
		name, value, ok := headers.Next()
		if !ok {
			break
		}
		means, where := headerOf(name)
		switch means {
		case theMethod:
			r.method = value
		case thePath:
			r.path = value
		case theLength:
			r.length = lengthOf(value)
		case theType:
			r.json = isJSON(value)
		case anUpgrade:
			r.upgrade = true
		case aHop:
			r.hop = true
		case theKeyToUse:
			r.useKey = joined(r.useKey, value)
		case theModel:
			r.model = joined(r.model, value)
		}
		if name == callerHeader {
			r.caller = joined(r.caller, value)
			where = fromRequest
		}
		if where&fromRequest != 0 {
			_ = proxywasm.RemoveHttpRequestHeader(name)
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

// statusOf is an answer's status; 0: it has none.
func statusOf(headers host.Headers) int {
	for {
		name, value, ok := headers.Next()
		if !ok {
			return 0
		}
		if name == ":status" {
			return int(max(0, lengthOf(value)))
		}
	}
}

// answerHeaders reads what classifies an answer. It keeps nothing of headers.
func answerHeaders(headers host.Headers) groq.ResponseHeaders {
	var h groq.ResponseHeaders
	for {
		name, value, ok := headers.Next()
		if !ok {
			return h
		}
		switch name {
		case "content-type":
			h.ContentType = strings.Clone(value)
		case "retry-after":
			h.RetryAfter = strings.Clone(value)
		case "x-should-retry":
			h.ShouldRetry = strings.Clone(value)
		case "date":
			h.Date = strings.Clone(value)
		}
	}
}
