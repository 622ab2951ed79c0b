package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// oddCall is a call that HTTP allows and that clients or Groq rarely make.
type oddCall struct {
	call   harness.Call
	body   *string // sent as it is, its length not stated; nil: the call's own
	status int
	bare   bool // its answer is a success without a body: it may be charged its prompt, as an estimate
	refuse bool // by Keywheel
}

func oddCalls() map[string]oddCall {
	trailer, expect := http.Header{"X-Client-Trailer": {"sent"}}, http.Header{"Expect": {"100-continue"}}
	plain, none := http.Header{"Content-Type": {"text/plain"}}, ""
	return map[string]oddCall{
		"trailers of a request":            {call: harness.Call{Trailer: trailer}, status: 200},
		"trailers of a large request":      {call: harness.Call{Trailer: trailer, Pad: 1 << 20}, status: 200},
		"trailers of a request for events": {call: harness.Call{Trailer: trailer, Stream: true}, status: 200},
		"trailers of what is no JSON":      {call: harness.Call{Trailer: trailer, Header: plain}, status: 200},
		"100-continue":                     {call: harness.Call{Header: expect}, status: 200},
		"100-continue, large":              {call: harness.Call{Header: expect, Pad: 1 << 20}, status: 200},
		"a request that is called text":    {call: harness.Call{Header: plain}, status: 200},
		"an empty request":                 {call: harness.Call{Body: http.NoBody}, status: 400},
		"an empty request without length":  {body: &none, status: 400},
		"HEAD of what is posted":           {call: harness.Call{Method: http.MethodHead}, status: 403, refuse: true},
		"HEAD of what is got":              {call: harness.Call{Method: http.MethodHead, Path: "/v1/models"}, status: 403, refuse: true},
		"OPTIONS":                          {call: harness.Call{Method: http.MethodOptions}, status: 403, refuse: true},

		"trailers of JSON":             {call: script(fakegroq.Rule{Trailer: "of JSON"}), status: 200},
		"trailers of events":           {call: script(fakegroq.Rule{Trailer: "of events"}, streamed), status: 200},
		"trailers of an error":         {call: script(fakegroq.Rule{Trailer: "of a 400", Fault: fakegroq.BadRequest}), status: 400},
		"103 before JSON":              {call: script(fakegroq.Rule{Hints: true}), status: 200},
		"103 before events":            {call: script(fakegroq.Rule{Hints: true}, streamed), status: 200},
		"103 before an error":          {call: script(fakegroq.Rule{Hints: true, Fault: fakegroq.BadRequest}), status: 400},
		"204":                          {call: script(fakegroq.Rule{Fault: fakegroq.NoContent}), status: 204, bare: true},
		"103 before 204":               {call: script(fakegroq.Rule{Fault: fakegroq.NoContent, Hints: true}), status: 204, bare: true},
		"204 to a request for events":  {call: script(fakegroq.Rule{Fault: fakegroq.NoContent}, streamed), status: 204, bare: true},
		"200 without a body":           {call: script(fakegroq.Rule{Fault: fakegroq.Empty}), status: 200, bare: true},
		"JSON that is called events":   {call: script(fakegroq.Rule{ContentType: "text/event-stream"}), status: 200},
		"JSON that is called a page":   {call: script(fakegroq.Rule{ContentType: "text/html; charset=utf-8"}), status: 200},
		"JSON of no type":              {call: script(fakegroq.Rule{ContentType: "none"}), status: 200},
		"JSON of a type that is none":  {call: script(fakegroq.Rule{ContentType: ";;/,"}), status: 200},
		"events that are called JSON":  {call: script(fakegroq.Rule{ContentType: "application/json"}, streamed), status: 200},
		"events of no type":            {call: script(fakegroq.Rule{ContentType: "none"}, streamed), status: 200},
		"events of responses, as JSON": {call: script(fakegroq.Rule{ContentType: "application/json"}, streamed, ofResponses), status: 200},
	}
}

func script(rule fakegroq.Rule, also ...func(*harness.Call)) harness.Call {
	call := harness.Call{Script: rule}
	for _, change := range also {
		change(&call)
	}
	return call
}

func streamed(c *harness.Call) { c.Stream = true }

func ofResponses(c *harness.Call) { c.Path = "/v1/responses" }

// Calls and answers of unusual form, over HTTP/1.1 and HTTP/2 on both sides: trailers, 1xx, 204, HEAD, no body, a wrong type.
// Client and Groq see of each other what they see without Keywheel, the ledger has what Groq told, and no VM ends.
func TestOddCalls(t *testing.T) {
	t.Parallel()
	for name, groq := range upstreams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Groq: groq, Bootstrap: func(b harness.Bootstrap) { addBareRoute(t, b) }})
			was := s.Keywheel.Proxies(t)
			var prompts int64 // of calls whose answer is a success without a body
			for what, odd := range oddCalls() {
				t.Run(what, func(t *testing.T) {
					for version, c := range s.Clients() {
						c.HTTP().Transport.(*http.Transport).ExpectContinueTimeout = harness.Deadline // else the body would go without a 100
						r, o := asWithoutKeywheel(t, s, c, version, odd)
						if odd.bare {
							prompts += r.BodyBytes / 4
						}
						assertOdd(t, odd.call, o, version == "h2" && name == "tls")
					}
					assertStated(t, s, prompts)
				})
			}
			for version, c := range s.Clients() {
				if a := c.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
					t.Errorf("%s: afterwards: %s", version, a)
				}
			}
			assertStated(t, s, prompts)
			assertUnharmed(t, s, was)
		})
	}
}

// assertStated waits until the ledger has every success of key 1's, and just the tokens that Groq told, but for an estimate.
func assertStated(t *testing.T, s *harness.Stack, mostEstimated int64) {
	t.Helper()
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	truth := s.Groq.Ledger()[s.Keys[0].Secret]
	served := truth.Statuses[http.StatusOK] + truth.Statuses[http.StatusNoContent]
	s.Keywheel.WaitKey(t, "1", "agrees", func(k harness.KeyState) error {
		if k.Requests != served || k.UsedTokens-k.EstimatedTokens != truth.Tokens.Total() || k.EstimatedTokens > mostEstimated {
			return fmt.Errorf("Groq told %d tokens in %d answers; the ledger has %d in %d, %d of them estimated, where %d may be",
				truth.Tokens.Total(), served, k.UsedTokens, k.Requests, k.EstimatedTokens, mostEstimated)
		}
		return nil
	})
}

// seen is what both sides see of each other in a call.
type seen struct {
	Status  int
	Informs []string // 1xx that came before
	Names   []string // of the answer's headers
	Trailer http.Header
	Asked   string      // method and path, as Groq saw them
	Sent    http.Header // trailers that Groq saw
	Body    string      // its hash, as Groq saw it
	Length  string      // of the body, as its header said
}

// asWithoutKeywheel makes a call with and without Keywheel, and compares. It returns the one with it, as Groq saw it.
func asWithoutKeywheel(t *testing.T, s *harness.Stack, c *harness.Client, version string, odd oddCall) (fakegroq.Request, seen) {
	t.Helper()
	a, r, got := observe(t, s, c, odd)
	if a.Status != odd.status || a.Err != nil {
		t.Fatalf("%s: %s", version, a)
	}
	if odd.refuse {
		if a.Key != "" || r.ID != "" || len(a.Body) > 0 && a.ErrorCode() != "endpoint_not_allowed" {
			t.Errorf("%s: %s; Groq saw %+v", version, a, r)
		}
		return r, got
	}
	if a.Key != "1" || a.SHA256 != r.AnswerSHA256 || r.Told != (odd.status == 200 && !odd.bare) {
		t.Errorf("%s: Groq sent %d bytes of %+v, the client got %s", version, r.AnswerBytes, r, a)
	}
	odd.call = bare(s, odd.call)
	_, _, want := observe(t, s, c, odd)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-without Keywheel +with it)\n%s", version, diff)
	}
	return r, got
}

// assertOdd says that a call was as odd as it was meant to be. Envoy passes trailers on where all is HTTP/2, and keeps a 103 to
// itself.
func assertOdd(t *testing.T, call harness.Call, o seen, trailers bool) {
	t.Helper()
	var informs []string
	if call.Header.Get("Expect") != "" {
		informs = append(informs, "100")
	}
	if !slices.Equal(o.Informs, informs) {
		t.Errorf("the client was sent %v, want %v", o.Informs, informs)
	}
	if got := o.Trailer.Get(fakegroq.TrailerHeader); trailers && got != call.Script.Trailer {
		t.Errorf("the answer ended with %q, want %q", got, call.Script.Trailer)
	}
	if got := o.Sent.Get("X-Client-Trailer"); trailers && got != call.Trailer.Get("X-Client-Trailer") {
		t.Errorf("the request ended with %q", got)
	}
}

// observe makes a call.
func observe(t *testing.T, s *harness.Stack, c *harness.Client, odd oddCall) (harness.Answer, fakegroq.Request, seen) {
	t.Helper()
	if odd.body != nil {
		odd.call.Body = io.MultiReader(strings.NewReader(*odd.body)) // whose length nobody sees
	}
	var o seen
	ctx := httptrace.WithClientTrace(harness.Context(t), &httptrace.ClientTrace{
		Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
			o.Informs = append(o.Informs, fmt.Sprint(status))
			return nil
		},
	})
	a, err := c.Try(context.WithoutCancel(ctx), odd.call)
	if err != nil {
		t.Fatal(err)
	}
	o.Status, o.Trailer = a.Status, a.Trailer
	o.Names = slices.DeleteFunc(slices.Sorted(maps.Keys(a.Header)), func(name string) bool { return name == "X-Keywheel-Key" })
	var r fakegroq.Request
	if attempts := s.Attempts(t, a.Tag); len(attempts) == 1 {
		r = attempts[0]
	} else if len(attempts) > 1 || !odd.refuse {
		t.Fatalf("%s; Groq saw %+v", a, attempts)
	}
	o.Asked, o.Sent, o.Body, o.Length = r.Method+" "+r.Path, r.Trailer, r.BodySHA256, r.Header.Get("Content-Length")
	return a, r, o
}

// An error that is held back until its body is read may end with trailers: another key rescues the call all the same.
func TestHeldAnswerWithTrailers(t *testing.T) {
	t.Parallel()
	for name, groq := range upstreams {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Groq: groq})
			each(t, s, heldFaults, func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault) {
				defer s.Recover(t)
				call.Script = fakegroq.Rule{Fault: f, Only: "1", Trailer: "of an error"}
				a := c.Do(t, call)
				if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != 200 || a.Err != nil || a.Key != "2" || got != "1 2" || len(a.Trailer) > 0 {
					t.Errorf("tried keys %q: %s", got, a)
				}
			})
			s.AssertOracle(t)
		})
	}
}

// heldFaults are errors of a key's that are known by their body alone.
var heldFaults = []fakegroq.Fault{fakegroq.RateBare, fakegroq.OrgRestricted, fakegroq.Permission}

// Envoy tries nothing again once Groq has sent a 103, though it does not even pass it on. So an error of key 1's that comes after one reaches the client, as
// it is. It is learned from: the next call goes to key 2.
func TestErrorAfterEarlyHintsPasses(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	each(t, s, append(heldFaults, fakegroq.RateTPD, fakegroq.InvalidKey), func(t *testing.T, c *harness.Client, call harness.Call, f fakegroq.Fault) {
		defer s.Recover(t)
		call.Script = fakegroq.Rule{Fault: f, Only: "1", Hints: true}
		a := c.Do(t, call)
		attempts := s.Attempts(t, a.Tag)
		if got := harness.KeysOf(attempts); got != "1" || a.Status != attempts[0].Status || a.Err != nil || a.SHA256 != attempts[0].AnswerSHA256 {
			t.Fatalf("tried keys %q: %s", got, a)
		}
		call.Script = fakegroq.Rule{}
		if a := c.Do(t, call); a.Status != 200 || a.Key != "2" {
			t.Errorf("the next call: %s", a)
		}
	})
	s.AssertOracle(t)
}
