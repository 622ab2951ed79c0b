package groq

import (
	"strings"
	"time"
)

// Class names what an attempt came to, by whose fault it was. Classes are the keys under which attempts are reported.
type Class string

// The classes.
const (
	// ClassOK is an answer below 300.
	ClassOK Class = "ok"
	// ClassLimited is a 429: a rate limit of the organization and model is reached, until the time that Groq names.
	ClassLimited Class = "limited"
	// ClassTooLarge is a request that alone exceeds a limit (413, or "Request too large" with 429 or 400). No wait
	// and no key of the same plan helps, so it costs the key nothing.
	ClassTooLarge Class = "too_large"
	// ClassInvalid is a 401: Groq does not know the secret.
	ClassInvalid Class = "invalid"
	// ClassRestricted is an organization that Groq serves nothing: restricted, or its spend limit is reached.
	ClassRestricted Class = "restricted"
	// ClassPermission is an organization that may not use the model, or has not accepted its terms.
	ClassPermission Class = "permission"
	// ClassEdge is the network or Groq's edge that refused us before any key was looked at: a 403 without a reason
	// of Groq's, a page in HTML, a redirect.
	ClassEdge Class = "edge"
	// ClassCaller is any other 4xx: what the caller sent cannot be served.
	ClassCaller Class = "caller"
	// ClassCapacity is a 498: the flex tier has no room now, which is nobody's fault.
	ClassCapacity Class = "capacity"
	// ClassTransient is a 5xx: Groq failed, and may not fail again.
	ClassTransient Class = "transient"
	// ClassReset is a connection that ended before an answer: Groq may have worked, and may charge.
	ClassReset Class = "reset"
	// ClassConnect is a connection that was never made: nothing reached Groq.
	ClassConnect Class = "connect"
)

// Classes lists all classes, for whoever checks or shows reports.
func Classes() []Class {
	return []Class{ClassOK, ClassLimited, ClassTooLarge, ClassInvalid, ClassRestricted, ClassPermission, ClassEdge,
		ClassCaller, ClassCapacity, ClassTransient, ClassReset, ClassConnect}
}

// OwnFailure says that the class lowers the key's health: with another key the attempt might have gone well.
func (c Class) OwnFailure() bool {
	switch c {
	case ClassLimited, ClassInvalid, ClassRestricted, ClassPermission, ClassTransient, ClassReset:
		return true
	}
	return false
}

// retryElsewhere says that another try, with another key, can help.
func (c Class) retryElsewhere() bool {
	return c.OwnFailure() || c == ClassCapacity || c == ClassConnect
}

// ResponseHeaders are the headers of an answer that help to classify it; each is "" where it is missing.
type ResponseHeaders struct {
	ContentType string // content-type
	RetryAfter  string // retry-after
	ShouldRetry string // x-should-retry
	Date        string // date, only needed where retry-after is a date
}

// Verdict is what an attempt's answer taught.
type Verdict struct {
	Class          Class
	Code           string        // Groq's error code: "" or at most 64 bytes of letters, digits, '_', '-' and '.'
	Wait           time.Duration // ClassLimited only: MinWait to MaxWait until the limit may allow the request
	HasWait        bool          // Groq named Wait; false: it is DefaultWait
	Limit          string        // which limit: "TPM", "TPD", "RPM", "RPD", "ASPH", "ASPD", "OTPM", or "" where not said
	RetryElsewhere bool          // another key can help
}

// NeedsBody says that the headers do not decide and Classify should be given the body: for 400 and 403, and for a 429
// that does not say how long to wait. A page in HTML is not Groq's and says nothing more.
func NeedsBody(status int, h ResponseHeaders) bool {
	switch status {
	case 400, 403:
		return !isHTML(h, nil)
	case 429:
		wait, ok := ParseRetryAfter(h.RetryAfter, h.Date)
		return !isHTML(h, nil) && (!ok || wait == 0)
	}
	return false
}

// Classify judges an answer by its status, headers and body. The body may be nil, cut off or anything: then the
// status and headers decide. A status below 100 stands for a connection that was reset.
//
// Only the error's code, type and the beginning of its message are read, never the body as a whole: the field
// failed_generation repeats what a model or a user wrote.
func Classify(status int, h ResponseHeaders, body []byte) Verdict {
	if status < 400 {
		return verdict(plainClass(status))
	}
	e := readError(body)
	v := verdict(errorClass(status, h, body, &e))
	v.Code = e.code.String()
	switch v.Class {
	case ClassLimited:
		v.Limit = limitName(e.message)
		v.Wait, v.HasWait = limitedWait(h, e.message)
	case ClassTooLarge:
		v.Limit = limitName(e.message)
	case ClassInvalid:
		if v.Code == "" {
			v.Code = codeInvalidKey
		}
	}
	return v
}

func verdict(c Class) Verdict { return Verdict{Class: c, RetryElsewhere: c.retryElsewhere()} }

// plainClass classifies what is no error status.
func plainClass(status int) Class {
	switch {
	case status < 100:
		return ClassReset
	case status < 300:
		return ClassOK
	}
	return ClassEdge // Groq sends no redirects
}

// Codes that decide, and the text that does where the code is the same for two reasons.
const (
	codeInvalidKey      = "invalid_api_key"
	codeOrgRestricted   = "organization_restricted"
	codeBlocked         = "blocked_api_access"
	codeSpendPrefix     = "spend_"
	codeTermsRequired   = "model_terms_required"
	codeBlockedPrefix   = "model_permission_"
	typePermissions     = "permissions_error"
	messageTooLarge     = "Request too large"
	headerDoNotRetry    = "false"
	messageTryAgain     = "try again in "
	messageLimitNameEnd = "): Limit "
)

// errorClass classifies an error status.
func errorClass(status int, h ResponseHeaders, body []byte, e *errorBody) Class {
	switch {
	case status == 413:
		return ClassTooLarge
	case status == 498:
		return ClassCapacity
	case status >= 500:
		return ClassTransient
	case isHTML(h, body):
		return ClassEdge
	case status == 401:
		return ClassInvalid
	case e.restricted():
		return ClassRestricted
	case strings.HasPrefix(e.message, messageTooLarge):
		return ClassTooLarge
	case status == 429:
		return limitedClass(h, e)
	case e.blocked():
		return ClassPermission
	case status == 403:
		return ClassEdge
	}
	return ClassCaller
}

// limitedClass classifies a 429. One without a reason and without a wait that asks not to be tried again is the
// request's own size, as far as recorded.
func limitedClass(h ResponseHeaders, e *errorBody) Class {
	if _, ok := ParseRetryAfter(h.RetryAfter, h.Date); !ok && e.message == "" && h.ShouldRetry == headerDoNotRetry {
		return ClassTooLarge
	}
	return ClassLimited
}

// isHTML says that an answer is a page, which comes from an edge or another machine on the way, never from Groq's API.
func isHTML(h ResponseHeaders, body []byte) bool {
	if h.ContentType != "" {
		const page = "text/html"
		return len(h.ContentType) >= len(page) && strings.EqualFold(h.ContentType[:len(page)], page)
	}
	for _, c := range body {
		if !blank(c) {
			return c == '<'
		}
	}
	return false
}

// limitName finds the limit's short name in a message: "… on tokens per minute (TPM): Limit 6000, …". The last place
// counts, as the model's name comes before it.
func limitName(message string) string {
	end := strings.LastIndex(message, messageLimitNameEnd)
	if end < 0 {
		return ""
	}
	name := message[strings.LastIndexByte(message[:end], '(')+1 : end]
	switch name {
	case "TPM", "TPD", "RPM", "RPD", "ASPH", "ASPD", "OTPM":
		return name
	}
	return ""
}
