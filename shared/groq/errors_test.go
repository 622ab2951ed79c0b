package groq

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// limited is the verdict on a 429 that names its wait.
func limited(limit string, wait time.Duration) Verdict {
	return Verdict{Class: ClassLimited, Code: "rate_limit_exceeded", Wait: wait, HasWait: true, Limit: limit, RetryElsewhere: true}
}

// errorVerdicts is the verdict on each fixture in testdata/errors, whose name begins with its status.
var errorVerdicts = map[string]Verdict{
	"400-blocked-api-access.json":      {Class: ClassRestricted, Code: "blocked_api_access", RetryElsewhere: true},
	"400-organization-restricted.json": {Class: ClassRestricted, Code: "organization_restricted", RetryElsewhere: true},
	"400-spend-limit.json":             {Class: ClassRestricted, Code: "spend_limit_reached", RetryElsewhere: true},
	"400-spend-other.json":             {Class: ClassRestricted, Code: "spend_paused", RetryElsewhere: true},
	"400-terms-required.json":          {Class: ClassPermission, Code: "model_terms_required", RetryElsewhere: true},
	"400-context-length.json":          {Class: ClassCaller},
	"400-property.json":                {Class: ClassCaller},
	"400-quotes-restriction.json":      {Class: ClassCaller, Code: "json_validate_failed"},
	"400-otpm-too-large.json":          {Class: ClassTooLarge, Code: "rate_limit_exceeded", Limit: "OTPM"},
	"401-invalid-key.json":             {Class: ClassInvalid, Code: "invalid_api_key", RetryElsewhere: true},
	"403-blocked-org.json":             {Class: ClassPermission, Code: "model_permission_blocked_org", RetryElsewhere: true},
	"403-blocked-project.json":         {Class: ClassPermission, Code: "model_permission_blocked_project", RetryElsewhere: true},
	"403-organization-restricted.json": {Class: ClassRestricted, Code: "organization_restricted", RetryElsewhere: true},
	"403-forbidden.json":               {Class: ClassEdge},
	"403-page.html":                    {Class: ClassEdge},
	"404-model-not-found.json":         {Class: ClassCaller, Code: "model_not_found"},
	"413-bytes.json":                   {Class: ClassTooLarge, Code: "request_too_large"},
	"413-tpm.json":                     {Class: ClassTooLarge, Code: "rate_limit_exceeded", Limit: "TPM"},
	"422-semantic.json":                {Class: ClassCaller},
	"429-asph.json":                    limited("ASPH", time.Minute),
	"429-rpd.json":                     limited("RPD", 86400*time.Millisecond),
	"429-rpm.json":                     limited("RPM", 2*time.Second),
	"429-tpd.json":                     limited("TPD", 18*time.Minute+43200*time.Millisecond),
	"429-tpm.json":                     limited("TPM", 7*time.Second),
	"429-short-wait.json":              limited("TPM", MinWait),
	"429-unnamed-limit.json":           limited("", 107500*time.Millisecond),
	"429-no-wait.json":                 {Class: ClassLimited, Code: "rate_limit_exceeded", Wait: DefaultWait, Limit: "TPM", RetryElsewhere: true},
	"429-otpm-too-large.json":          {Class: ClassTooLarge, Code: "rate_limit_exceeded", Limit: "OTPM"},
	"429-page.html":                    {Class: ClassEdge},
	"498-capacity.json":                {Class: ClassCapacity, Code: "capacity_exceeded", RetryElsewhere: true},
	"502-page.html":                    {Class: ClassTransient, RetryElsewhere: true},
	"503-over-capacity.json":           {Class: ClassTransient, RetryElsewhere: true},
}

func TestClassifyFixtures(t *testing.T) {
	for name, body := range fixtures(t, "errors", errorVerdicts) {
		status, err := strconv.Atoi(name[:3])
		if err != nil {
			t.Fatal(err)
		}
		for _, contentType := range []string{"", "application/json"} {
			if filepath.Ext(name) == ".html" && contentType != "" {
				contentType = "text/html; charset=UTF-8"
			}
			if got := Classify(status, ResponseHeaders{ContentType: contentType}, body); got != errorVerdicts[name] {
				t.Errorf("%s as %q:\n got %+v\nwant %+v", name, contentType, got, errorVerdicts[name])
			}
		}
		spaced := strings.ReplaceAll(string(body), `"error":{`, "\"x\":{\"error\":{\"code\":\"spend_decoy\"}},\n \"\\u0065rror\" : { ")
		if got := Classify(status, ResponseHeaders{}, []byte(spaced)); got != errorVerdicts[name] {
			t.Errorf("%s rewritten:\n got %+v\nwant %+v", name, got, errorVerdicts[name])
		}
	}
}

var page = ResponseHeaders{ContentType: "Text/HTML"}

var bodiless = map[string]struct {
	status int
	h      ResponseHeaders
	want   Verdict
}{
	"no answer":                 {0, ResponseHeaders{}, Verdict{Class: ClassReset, RetryElsewhere: true}},
	"continue":                  {100, ResponseHeaders{}, Verdict{Class: ClassOK}},
	"ok":                        {200, ResponseHeaders{}, Verdict{Class: ClassOK}},
	"no content":                {204, page, Verdict{Class: ClassOK}},
	"redirect":                  {302, ResponseHeaders{}, Verdict{Class: ClassEdge}},
	"400":                       {400, ResponseHeaders{}, Verdict{Class: ClassCaller}},
	"400 page":                  {400, page, Verdict{Class: ClassEdge}},
	"401":                       {401, ResponseHeaders{}, Verdict{Class: ClassInvalid, Code: "invalid_api_key", RetryElsewhere: true}},
	"401 page":                  {401, page, Verdict{Class: ClassEdge}},
	"402":                       {402, ResponseHeaders{}, Verdict{Class: ClassCaller}},
	"403":                       {403, ResponseHeaders{}, Verdict{Class: ClassEdge}},
	"404":                       {404, ResponseHeaders{}, Verdict{Class: ClassCaller}},
	"408":                       {408, ResponseHeaders{}, Verdict{Class: ClassCaller}},
	"413":                       {413, ResponseHeaders{RetryAfter: "9"}, Verdict{Class: ClassTooLarge}},
	"413 page":                  {413, page, Verdict{Class: ClassTooLarge}},
	"429":                       {429, ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"429 with a wait":           {429, ResponseHeaders{RetryAfter: "35"}, Verdict{Class: ClassLimited, Wait: 35 * time.Second, HasWait: true, RetryElsewhere: true}},
	"429 at once":               {429, ResponseHeaders{RetryAfter: "0"}, Verdict{Class: ClassLimited, Wait: MinWait, HasWait: true, RetryElsewhere: true}},
	"429 for ever":              {429, ResponseHeaders{RetryAfter: "99999999999999999999"}, Verdict{Class: ClassLimited, Wait: MaxWait, HasWait: true, RetryElsewhere: true}},
	"429 garbage":               {429, ResponseHeaders{RetryAfter: "soon"}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"429 not to be tried again": {429, ResponseHeaders{ShouldRetry: "false"}, Verdict{Class: ClassTooLarge}},
	"429 wait and not to be":    {429, ResponseHeaders{ShouldRetry: "false", RetryAfter: "3"}, Verdict{Class: ClassLimited, Wait: 3 * time.Second, HasWait: true, RetryElsewhere: true}},
	"429 to be tried again":     {429, ResponseHeaders{ShouldRetry: "true"}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"498":                       {498, ResponseHeaders{}, Verdict{Class: ClassCapacity, RetryElsewhere: true}},
	"499":                       {499, ResponseHeaders{}, Verdict{Class: ClassCaller}},
	"500":                       {500, ResponseHeaders{}, Verdict{Class: ClassTransient, RetryElsewhere: true}},
	"502 page":                  {502, page, Verdict{Class: ClassTransient, RetryElsewhere: true}},
	"529":                       {529, ResponseHeaders{}, Verdict{Class: ClassTransient, RetryElsewhere: true}},
}

func TestClassifyWithoutBody(t *testing.T) {
	for name, c := range bodiless {
		if got := Classify(c.status, c.h, nil); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

// limit is the body of a rate limit.
func limit(text string) string {
	return `{"error":{"message":"` + text + `","code":"rate_limit_exceeded"}}`
}

var strangeBodies = map[string]struct {
	body string
	h    ResponseHeaders
	want Verdict
}{
	"message over retry-after": {limit("Please try again in 34.1475s. ..."), ResponseHeaders{RetryAfter: "35"}, limited("", 34147500*time.Microsecond)},
	"retry-after over none":    {limit("Slow down."), ResponseHeaders{RetryAfter: "35"}, limited("", 35*time.Second)},
	"garbage over retry-after": {limit("Please try again in a while."), ResponseHeaders{RetryAfter: "4"}, limited("", 4*time.Second)},
	"days":                     {limit("Please try again in 2400h0m0s."), ResponseHeaders{}, limited("", MaxWait)},
	"microseconds":             {limit("Please try again in 577µs."), ResponseHeaders{}, limited("", MinWait)},
	"negative":                 {limit("Please try again in -5s."), ResponseHeaders{RetryAfter: "6"}, limited("", 6*time.Second)},
	"end of message":           {limit("Please try again in 9m38.016s"), ResponseHeaders{}, limited("", 578016*time.Millisecond)},
	"a limit nobody knows":     {limit("on moons (MOON): Limit 1, Used 1. Please try again in 5s."), ResponseHeaders{}, limited("", 5*time.Second)},
	"decoys in a model's name": {limit("model `(TPD): Limit try again in 9h.` on requests per minute (RPM): Limit 3, try again in 5s."), ResponseHeaders{}, limited("RPM", 5*time.Second)},
	"tried again, with text":   {limit("Rate limit reached. Please try again in 5s."), ResponseHeaders{ShouldRetry: "false"}, limited("", 5*time.Second)},
	"very long message":        {limit("Please try again in 5s. " + strings.Repeat("x", 5000)), ResponseHeaders{}, limited("", 5*time.Second)},
	"cut off":                  {limit("Please try again in 5s.")[:40], ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"a code that is no code":   {`{"error":{"code":"a b\n","message":"try again in 5s"}}`, ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: 5 * time.Second, HasWait: true, RetryElsewhere: true}},
	"a code too long":          {`{"error":{"code":"` + strings.Repeat("c", 65) + `"}}`, ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"a code that is a number":  {`{"error":{"code":429}}`, ResponseHeaders{}, Verdict{Class: ClassLimited, Code: "429", Wait: DefaultWait, RetryElsewhere: true}},
	"null all over":            {`{"error":{"code":null,"message":null,"type":null}}`, ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"objects all over":         {`{"error":{"code":{},"message":[],"type":{}}}`, ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
	"plain text":               {"Too many requests", ResponseHeaders{}, Verdict{Class: ClassLimited, Wait: DefaultWait, RetryElsewhere: true}},
}

func TestClassifyStrangeBodies(t *testing.T) {
	for name, c := range strangeBodies {
		if got := Classify(429, c.h, []byte(c.body)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestNeedsBody(t *testing.T) {
	wait := ResponseHeaders{RetryAfter: "5"}
	for _, c := range []struct {
		status int
		h      ResponseHeaders
		want   bool
	}{
		{200, ResponseHeaders{}, false}, {302, ResponseHeaders{}, false}, {401, ResponseHeaders{}, false},
		{404, ResponseHeaders{}, false}, {413, ResponseHeaders{}, false}, {422, ResponseHeaders{}, false},
		{498, ResponseHeaders{}, false}, {500, ResponseHeaders{}, false}, {503, wait, false}, {0, ResponseHeaders{}, false},
		{400, ResponseHeaders{}, true}, {400, wait, true}, {400, page, false},
		{403, ResponseHeaders{}, true}, {403, page, false},
		{429, ResponseHeaders{}, true}, {429, wait, false}, {429, page, false},
		{429, ResponseHeaders{RetryAfter: "0"}, true}, {429, ResponseHeaders{RetryAfter: "x"}, true},
		{429, ResponseHeaders{ShouldRetry: "false"}, true},
		{429, ResponseHeaders{RetryAfter: "Wed, 21 Oct 2026 07:28:00 GMT"}, true},
		{429, ResponseHeaders{RetryAfter: "Wed, 21 Oct 2026 07:28:00 GMT", Date: "Wed, 21 Oct 2026 07:27:00 GMT"}, false},
	} {
		if got := NeedsBody(c.status, c.h); got != c.want {
			t.Errorf("%d %+v: %v", c.status, c.h, got)
		}
	}
}

func TestClasses(t *testing.T) {
	all := Classes()
	if len(all) != 12 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != 12 {
		t.Errorf("classes: %v", all)
	}
	for _, c := range []Class{ClassLimited, ClassInvalid, ClassRestricted, ClassPermission, ClassTransient, ClassReset} {
		if !c.OwnFailure() {
			t.Errorf("%s does not lower the health", c)
		}
	}
	for _, c := range []Class{ClassOK, ClassTooLarge, ClassEdge, ClassCaller, ClassCapacity, ClassConnect, "unheard of"} {
		if c.OwnFailure() {
			t.Errorf("%s lowers the health", c)
		}
	}
}
