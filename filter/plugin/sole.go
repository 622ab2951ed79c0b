package plugin

import (
	"slices"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/account"
	"keywheel/filter/host"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
)

// sole is what a gate alone keeps of a call: its one try. A route's own retries go with the same key and are not seen; the
// last one's answer is. Answers are never held: what only a body says is learned as it passes.
type sole struct {
	try
	call   trail.Trail
	picked bool       // the key was looked for
	named  string     // the model, as the caller names it in a header; empty: it does not
	class  groq.Class // of an answer that is not 2xx; empty: none, or not yet known

	reading bool   // the answer's body says what it means
	body    []byte // of it, at most maxHeld
}

// believe takes the caller's word for the model of a body that nobody looks into.
func (s *sole) believe(t *trail.Trail) {
	s.blind = true
	if s.named != "" {
		t.Model = s.named
	}
}

// modelName is a model's name as a header gives it; empty: it is none. Bodies' names have the same bounds.
func modelName(s string) string {
	const longest = 128
	if len(s) > longest {
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}

// take picks the call's key and holds what the call may need.
func (s *sole) take(v *vm, a *assigned, t *trail.Trail, at picker.Instant) picker.Choice {
	s.vm, s.a, s.call = v, a, *t
	if s.fromTab(&s.call) {
		return picker.Choice{Key: s.key, InUse: s.key.Credential}
	}
	c := s.pick(&s.call, at)
	s.picked = true
	return c
}

// pass puts the key on the request.
func (s *sole) pass(c picker.Choice, at picker.Instant) bool {
	if !s.dress() {
		s.drop(&s.call, at)
		return false
	}
	if s.picked {
		s.use(c, &s.call, at)
	}
	return true
}

// answered takes an answer's headers and says whether it is one to the key. Answers that Envoy makes, and other filters,
// pass here too.
func (s *sole) answered(status int, headers host.Headers, end bool) bool {
	if s.key == nil || property("response", "code_details") != "via_upstream" {
		return false
	}
	set(keyHeader, s.key.ID)
	if status/100 == 2 {
		return true
	}
	s.status, s.header = status, answerHeaders(headers)
	at := s.vm.instant()
	if !end && groq.NeedsBody(s.status, s.header) {
		s.reading = true
		s.foretell(at)
		return true
	}
	v := s.learned(&s.call, nil, at)
	s.class = v.Class
	s.advise(v, &s.call, at)
	return true
}

// foretell advises the client by what the headers say alone: they leave before the body, which may say otherwise, is here.
func (s *sole) foretell(at picker.Instant) {
	v := groq.Classify(s.status, s.header, nil)
	probable := s.call
	probable.Tries = slices.Clone(s.call.Tries)
	if keyCannotHelp(v.Class) {
		probable.Last().State = trail.Failed
	}
	s.advise(v, &probable, at)
}

// advise has the official clients try again where another key can serve: nobody else will.
func (s *sole) advise(v groq.Verdict, t *trail.Trail, at picker.Instant) {
	if s.elsewhere(v, t, at) {
		set("x-should-retry", "true")
	}
}

// read takes a piece of an error answer's body.
func (s *sole) read(size int, end bool) {
	if !s.reading {
		return
	}
	for off, room := 0, min(size, maxHeld-len(s.body)); off < room; {
		b, err := proxywasm.GetHttpResponseBody(off, min(piece, room-off))
		if err != nil || len(b) == 0 {
			break
		}
		s.body = append(s.body, b...)
		off += len(b)
	}
	if end || len(s.body) >= maxHeld {
		s.conclude()
	}
}

// conclude learns from an error answer whose body was awaited, as far as it is here.
func (s *sole) conclude() {
	if !s.reading {
		return
	}
	s.reading = false
	s.class = s.learned(&s.call, s.body, s.vm.instant()).Class
	s.body = nil
}

// end is the end of the stream. What was never sent upstream, because another filter answered, costs nothing.
func (s *sole) end(keyed bool) {
	s.conclude()
	last := s.call.Last()
	if keyed || last.State != trail.Pending || routed() {
		return
	}
	last.State = trail.Passed
	s.vm.book.Update(last.Credential, func(e *account.Entry) bool {
		e.Release(last.VM, last.Reserved)
		return true
	})
}

// routed says whether the router made at least one attempt.
func routed() bool {
	count, err := proxywasm.GetProperty([]string{"upstream", "request_attempt_count"})
	return err == nil && slices.ContainsFunc(count, func(b byte) bool { return b != 0 })
}
