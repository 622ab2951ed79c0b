package fakegroq

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Fault names a way to fail.
type Fault string

// Faults that are answers, named after their status.
const (
	RateTPM        Fault = "429-tpm"        // tokens per minute, with retry-after
	RateTPD        Fault = "429-tpd"        // tokens per day, with retry-after
	RateRPM        Fault = "429-rpm"        // requests per minute, with retry-after
	RateRPD        Fault = "429-rpd"        // requests per day, with retry-after
	RateBare       Fault = "429-bare"       // as RateTPM without retry-after: only the body names the wait
	RateVague      Fault = "429-vague"      // neither a retry-after nor a wait in the body
	OTPM           Fault = "429-otpm"       // the request alone is too large: not the key's fault
	InvalidKey     Fault = "401"            // invalid_api_key
	OrgRestricted  Fault = "400-restricted" // organization_restricted
	SpendLimit     Fault = "400-spend"      // spend_limit_reached
	TermsRequired  Fault = "400-terms"      // model_terms_required
	BadRequest     Fault = "400"            // the caller's fault, without a code
	ToolUseFailed  Fault = "400-tool"       // the caller's fault; its failed_generation quotes other error codes
	Permission     Fault = "403-permission" // permissions_error of the organization
	Network        Fault = "403-network"    // JSON without a code: the network, not the key
	Edge           Fault = "403-html"       // the edge's block page
	ModelNotFound  Fault = "404"            // model_not_found
	TooLarge       Fault = "413"            // the request alone exceeds tokens per minute
	EntityTooLarge Fault = "413-entity"     // request_too_large: bytes
	Unprocessable  Fault = "422"
	Capacity       Fault = "498" // capacity_exceeded, flex tier
	Internal       Fault = "500"
	BadGateway     Fault = "502" // the edge's HTML
	OverCapacity   Fault = "503"
	GatewayTimeout Fault = "504"
	Redirect       Fault = "307" // to another path of the same host
	NoContent      Fault = "204"
	Empty          Fault = "200" // without a byte of body
)

// Faults that are none.
const (
	ResetBeforeBody Fault = "reset-before-body" // the connection is reset before the request's body is read
	ResetAfterBody  Fault = "reset-after-body"  // the connection is reset after the request was read
	ResetMid        Fault = "reset-mid"         // the connection is reset in the answer
	CloseMid        Fault = "close-mid"         // HTTP/1.1: the connection is closed in the answer, in order; HTTP/2: as ResetMid
	BadFraming      Fault = "bad-framing"       // HTTP/1.1: the answer goes on with a chunk that is none; HTTP/2: as ResetMid
	Hang            Fault = "hang"              // no answer until the client goes
	StreamError     Fault = "stream-error"      // event: error inside a stream's 200; not streamed: as Internal
)

// organization is what error messages name. It is nobody's.
const organization = "org_01fake0000000000000000000"

// fault is how one of the faults that are answers looks.
type fault struct {
	status  int
	kind    string // error.type; empty: none
	code    string // error.code; empty: none
	message func(x faultInput) string
	limits  bool // carries the x-ratelimit headers
	html    bool
}

// faultInput is what a message may name.
type faultInput struct {
	model  string
	tokens int64         // that the request asked for
	wait   time.Duration // 0: the fault's own
}

func text(s string) func(faultInput) string { return func(faultInput) string { return s } }

var faults = map[Fault]fault{
	RateTPM:  {status: 429, kind: "tokens", code: "rate_limit_exceeded", message: limited(tpm, true), limits: true},
	RateTPD:  {status: 429, kind: "tokens", code: "rate_limit_exceeded", message: limited(tpd, true), limits: true},
	RateRPM:  {status: 429, kind: "requests", code: "rate_limit_exceeded", message: limited(rpm, true), limits: true},
	RateRPD:  {status: 429, kind: "requests", code: "rate_limit_exceeded", message: limited(rpd, true), limits: true},
	RateBare: {status: 429, kind: "tokens", code: "rate_limit_exceeded", message: limited(tpm, true), limits: true},
	RateVague: {status: 429, kind: "tokens", code: "rate_limit_exceeded", message: limited(tpm, false),
		limits: true},
	OTPM: {status: 429, kind: "tokens", code: "rate_limit_exceeded", limits: true, message: func(x faultInput) string {
		return fmt.Sprintf("Request too large for model `%s` in organization `%s` service tier `on_demand` on output "+
			"tokens per minute (OTPM): Limit 1000, Requested %d. The request's expected output tokens exceed the enforced "+
			"limit; reduce max_tokens and try again.", x.model, organization, x.tokens+1000)
	}},
	InvalidKey: {status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: text("Invalid API Key")},
	OrgRestricted: {status: 400, kind: "invalid_request_error", code: "organization_restricted",
		message: text("Organization has been restricted. Please reach out to support if you believe this was in error.")},
	SpendLimit: {status: 400, kind: "invalid_request_error", code: "spend_limit_reached",
		message: text("Organization has blocked API access because a spend alert threshold was met.")},
	TermsRequired: {status: 400, kind: "invalid_request_error", code: "model_terms_required",
		message: modelled("The model `%s` requires terms acceptance. Please have the org admin accept the terms.")},
	BadRequest: {status: 400, kind: "invalid_request_error",
		message: text("property 'colour' is unsupported, did you mean 'tool_choice'?")},
	ToolUseFailed: {status: 400, kind: "invalid_request_error", code: "tool_use_failed", limits: true,
		message: text("Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.")},
	Permission: {status: 403, kind: "permissions_error", code: "model_permission_blocked_org",
		message: modelled("The model `%s` is blocked at the organization level. Please have the org admin enable it.")},
	Network: {status: 403, message: text("Forbidden")},
	Edge:    {status: 403, html: true, message: text("Attention Required!")},
	ModelNotFound: {status: 404, kind: "invalid_request_error", code: "model_not_found",
		message: modelled("The model `%s` does not exist or you do not have access to it.")},
	TooLarge: {status: 413, kind: "tokens", code: "rate_limit_exceeded", message: func(x faultInput) string {
		return fmt.Sprintf("Request too large for model `%s` in organization `%s` service tier `on_demand` on tokens per "+
			"minute (TPM): Limit 6000, Requested %d, please reduce your message size and try again.",
			x.model, organization, x.tokens+6000)
	}},
	EntityTooLarge: {status: 413, kind: "invalid_request_error", code: "request_too_large",
		message: text("Request Entity Too Large")},
	Unprocessable: {status: 422, kind: "invalid_request_error", message: text("The request could not be processed.")},
	Capacity: {status: 498, kind: "invalid_request_error", code: "capacity_exceeded",
		message: text("Flex tier capacity exceeded. Please try again later.")},
	Internal:   {status: 500, kind: "internal_server_error", message: text("Internal Server Error")},
	BadGateway: {status: 502, html: true, message: text("502: Bad gateway")},
	OverCapacity: {status: 503, kind: "internal_server_error",
		message: modelled("%s is currently over capacity. Please try again and back off exponentially.")},
	GatewayTimeout: {status: 504, html: true, message: text("504: Gateway time-out")},
	Redirect:       {status: 307, html: true, message: text("Temporary Redirect")},
	NoContent:      {status: 204, limits: true},
	Empty:          {status: 200, limits: true},
}

func (f Fault) known() bool {
	switch f {
	case ResetBeforeBody, ResetAfterBody, Hang, StreamError:
		return true
	}
	_, known := faults[f]
	return known || f.breaksOff()
}

// breaksOff says whether an answer that has begun is broken off.
func (f Fault) breaksOff() bool { return f == ResetMid || f == CloseMid || f == BadFraming }

func modelled(format string) func(faultInput) string {
	return func(x faultInput) string { return fmt.Sprintf(format, x.model) }
}

// limitKind is one of Groq's limits with the figures of a small plan.
type limitKind struct {
	name   string
	limit  int64
	window time.Duration
	wait   time.Duration // when the rule names none
}

var (
	tpm = limitKind{"tokens per minute (TPM)", 6000, time.Minute, 7660 * time.Millisecond}
	tpd = limitKind{"tokens per day (TPD)", 100_000, 24 * time.Hour, 9*time.Minute + 38016*time.Millisecond}
	rpm = limitKind{"requests per minute (RPM)", 30, time.Minute, 2 * time.Second}
	rpd = limitKind{"requests per day (RPD)", 1000, 24 * time.Hour, time.Minute + 26400*time.Millisecond}
)

// limited writes the message of a limit that is reached. Its figures agree as Groq's do:
// wait = (used + requested − limit) × window ÷ limit.
func limited(k limitKind, says bool) func(faultInput) string {
	return func(x faultInput) string {
		wait := k.wait
		if x.wait > 0 {
			wait = x.wait
		}
		requested := int64(1)
		if k.name == tpm.name || k.name == tpd.name {
			requested = max(x.tokens, 1)
		}
		used := k.limit - requested + int64(float64(wait)/float64(k.window)*float64(k.limit))
		message := fmt.Sprintf("Rate limit reached for model `%s` in organization `%s` service tier `on_demand` on %s: "+
			"Limit %d, Used %d, Requested %d.", x.model, organization, k.name, k.limit, used, requested)
		if says {
			message += fmt.Sprintf(" Please try again in %s.", wait)
		}
		return message + " Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
	}
}

// retryAfter is the header's value, whole seconds rounded up; empty: none.
func (f Fault) retryAfter(wait time.Duration) string {
	own := map[Fault]time.Duration{RateTPM: tpm.wait, RateTPD: tpd.wait, RateRPM: rpm.wait, RateRPD: rpd.wait}
	if _, has := own[f]; !has {
		return ""
	}
	if wait == 0 {
		wait = own[f]
	}
	return strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
}

// errorBody is a JSON error as Groq writes it, with its final line feed.
func errorBody(message, kind, code, failedGeneration string) []byte {
	var body struct {
		Error struct {
			Message          string `json:"message"`
			Type             string `json:"type,omitempty"`
			Code             string `json:"code,omitempty"`
			FailedGeneration string `json:"failed_generation,omitempty"`
		} `json:"error"`
	}
	body.Error.Message, body.Error.Type, body.Error.Code = message, kind, code
	body.Error.FailedGeneration = failedGeneration
	out, err := json.Marshal(body)
	if err != nil {
		return []byte("{}\n") // not reached: a struct of texts can be written
	}
	return append(out, '\n')
}

// htmlPage is a page of the edge's.
func htmlPage(title string) []byte {
	return []byte("<!DOCTYPE html>\n<html class=\"no-js\" lang=\"en-US\">\n<head>\n<title>" + title +
		" | api.groq.com</title>\n<meta charset=\"UTF-8\" />\n<meta name=\"robots\" content=\"noindex, nofollow\" />\n" +
		"</head>\n<body>\n<div id=\"cf-wrapper\">\n<h1 data-translate=\"block_headline\">" + title +
		"</h1>\n<p>The simulated edge answered, not the API.</p>\n</div>\n</body>\n</html>\n")
}

// answerFault sends a fault that is an answer.
func (x *exchange) answerFault(name Fault) error {
	f := faults[name]
	input := faultInput{model: x.model(), tokens: max(x.tokens().Total(), 1), wait: time.Duration(x.rule.Wait)}
	var body []byte
	h := x.w.Header()
	switch {
	case f.message == nil:
	case f.html:
		h.Set("content-type", "text/html; charset=UTF-8")
		h.Set("cache-control", "max-age=15")
		body = htmlPage(f.message(input))
	default:
		h.Set("content-type", "application/json")
		failed := ""
		if name == ToolUseFailed {
			failed = `{"name": "invalid_api_key", "arguments": {"code":"organization_restricted","wait":"try again in 1h"}}`
		}
		body = errorBody(f.message(input), f.kind, f.code, failed)
	}
	if f.limits {
		x.limitHeaders()
	}
	switch {
	case x.rule.RetryAfter == "none":
	case x.rule.RetryAfter != "":
		h.Set("retry-after", x.rule.RetryAfter)
	case name.retryAfter(input.wait) != "":
		h.Set("retry-after", name.retryAfter(input.wait))
	}
	if name == OTPM {
		h.Set("x-should-retry", "false")
	}
	if name == Redirect {
		h.Set("location", "/openai/v1/elsewhere")
	}
	return x.whole(f.status, body)
}
