package plugin

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/host"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

const (
	// maxPeek is how much of a request body is read for the model before it is let go without.
	maxPeek = 512 << 10
	// piece is how much of a body is copied into the VM's memory at a time.
	piece = 64 << 10
)

// gate is one client call, downstream.
type gate struct {
	types.DefaultHttpContext

	vm   *vm
	root *root
	sole *sole // of a gate alone: the call's one try; nil: attempts make the tries

	mine      bool  // the call is to be served here; false: it is not for Groq, or a filter before this one answered it
	startMS   int64 // host's time of the request's headers
	endpoint  endpoint
	length    int64 // of the request body, as its header says or as far as it was seen
	uncounted bool  // the header does not say it
	peek      *groq.RequestPeek
	peeked    int // bytes of the buffered body that peek has seen
	waiting   bool
	admitted  bool
	refused   account.Outcome // where answered is true
	answered  bool            // by the gate itself, or by an attempt in its stead
	out       bool            // because no key can serve for longer than a moment
	useKey    string          // the ID of the one key that the caller wants; empty: any

	attempts []*attempt   // in this VM
	call     uint64       // its number in the VM; 0: it was not admitted
	trail    trail.Trail  // with the tries of attempts in this VM
	first    [1]trail.Try // where they stand, as most calls need one
	left     int          // length of the trail on the stream, as the gate wrote it: attempts in other VMs add to that one
	foreign  int          // tries of theirs that the trail here has as well
	served   bool         // by the newest attempt, which is in this VM and saw to the answer's headers

	caller string               // what its use is counted for; empty: callers are not counted
	took   protocol.CallerUsage // by all tries

	unread bool   // a bug kept the answer from being read
	status int    // of the answer; 0: none yet
	keyed  bool   // the answer is an attempt's
	keyID  string // of the key that it came by
	meter  *groq.Meter
	ended  bool // the answer's last byte has passed
}

// OnHttpRequestHeaders implements types.HttpContext.
func (g *gate) OnHttpRequestHeaders(_ int, end bool) (action types.Action) {
	defer g.guardRequest(atRequestHeaders, &action)
	fault(atRequestHeaders)
	if g.sole != nil && !g.root.remote.serves() {
		return types.ActionContinue
	}
	g.mine, g.startMS = true, hostMS()
	headers, ok := host.RequestHeaders()
	if !ok {
		return g.deny(internalError)
	}
	a := g.root.assigned()
	policy := &noPolicy
	if a != nil {
		policy = &a.Policy
	}
	var h request
	h.read(headers, policy.CallerHeader)
	if policy.CallerHeader != "" || policy.UseKey || g.sole != nil {
		g.named(&h, policy)
	}
	g.endpoint, ok = findEndpoint(h.method, h.path)
	g.length, g.uncounted = max(0, h.length), h.length < 0
	switch {
	case h.hop:
		return g.deny(loopDetected)
	case !ok:
		return g.deny(func() reply { return endpointNotAllowed(h.method, h.path) })
	case a == nil:
		return g.deny(noAssignment)
	}
	if end || !h.json || h.upgrade || g.endpoint.tokens == noTokens || !g.root.remote.holds() {
		return g.admit(a)
	}
	g.peek = g.vm.peeks.take()
	g.peek.Reset(g.vm.model)
	g.waiting = true
	return types.ActionPause
}

// named keeps what the caller names.
func (g *gate) named(h *request, policy *protocol.Policy) {
	if policy.CallerHeader != "" {
		g.caller = strings.Clone(callerName(h.caller))
	}
	if policy.UseKey {
		g.useKey = strings.Clone(h.useKey)
	}
	if g.sole != nil {
		g.sole.named = strings.Clone(modelName(h.model))
	}
}

// noPolicy is what holds before the first assignment.
var noPolicy protocol.Policy

// OnHttpRequestBody implements types.HttpContext. While the body is held, size is all that is buffered so far.
func (g *gate) OnHttpRequestBody(size int, end bool) (action types.Action) {
	defer g.guardRequest(atRequestBody, &action)
	fault(atRequestBody)
	if !g.waiting {
		if g.uncounted {
			g.length += int64(size)
		}
		return types.ActionContinue
	}
	for g.peeked < min(size, maxPeek) {
		b := host.RequestBody(g.peeked, min(piece, size-g.peeked))
		if len(b) == 0 {
			break
		}
		g.peek.Feed(b)
		g.peeked += len(b)
	}
	if !end && size < maxPeek && !g.peek.Done() {
		return types.ActionPause
	}
	return g.letGo(int64(size))
}

// OnHttpRequestTrailers implements types.HttpContext.
func (g *gate) OnHttpRequestTrailers(int) (action types.Action) {
	defer g.guardRequest(atRequestTrailers, &action)
	fault(atRequestTrailers)
	if !g.waiting {
		return types.ActionContinue
	}
	return g.letGo(int64(g.peeked))
}

func (g *gate) letGo(size int64) types.Action {
	g.waiting = false
	if g.length < size {
		g.length = size
	}
	a := g.root.assigned()
	if a == nil {
		return g.deny(noAssignment)
	}
	return g.admit(a)
}

// deny is refuse, where it is called often and happens seldom: a reply is large.
func (g *gate) deny(why func() reply) types.Action { return g.refuse(why()) }

// refuse answers the call here. Nothing of it reaches Groq.
func (g *gate) refuse(r reply) types.Action {
	g.answered, g.refused, g.out = true, r.outcome, r.out
	r.send()
	return types.ActionPause
}

// OnHttpResponseHeaders implements types.HttpContext. Where the attempt has seen to a success, nothing is left to do.
func (g *gate) OnHttpResponseHeaders(_ int, end bool) types.Action {
	defer g.guardAnswer(atHeaders)
	fault(atHeaders)
	if !g.mine {
		return types.ActionContinue
	}
	if a := g.root.assigned(); a != nil && a.Policy.Demo {
		set(demoHeader, "true")
	}
	g.ended = end
	if g.served {
		return types.ActionContinue
	}
	if headers, ok := host.ResponseHeaders(); ok {
		g.begin(statusOf(headers), headers, end, "")
	}
	return types.ActionContinue
}

// begin reads the headers of the answer, and takes off what must not reach the client. secret is that of
// the attempt that serves the call, to which they have just come; empty: they have come to the gate.
func (g *gate) begin(status int, headers host.Headers, end bool, secret string) {
	here := secret == ""
	g.status = status
	contentType, all := "", headers
	for {
		name, value, ok := headers.Next()
		if !ok {
			break
		}
		means, where := headerOf(name)
		switch {
		case means == theType:
			contentType = value
		case means == theKey && here:
			g.keyed, g.keyID = true, strings.Clone(value)
		case means == aRefusal && here:
			g.byAttempt(value)
		}
		if where&fromAnswer != 0 {
			_ = proxywasm.RemoveHttpResponseHeader(name)
		}
	}
	if g.sole != nil {
		if g.keyed = g.sole.answered(g.status, all, end); g.keyed {
			g.keyID = g.sole.key.ID
		}
	}
	if here {
		secret = g.vm.secretOf(g.keyID)
	}
	for _, name := range g.vm.withheld(g.keyID, secret, all) {
		_ = proxywasm.RemoveHttpResponseHeader(name)
	}
	if g.keyed && g.status/100 == 2 && !end && g.endpoint.tokens >= promptTokens {
		if g.meter == nil {
			g.meter = g.vm.meters.take()
		}
		g.meter.Reset(contentType)
		g.meter.Expect = g.trail.Model
		return
	}
	g.vm.meters.give(g.meter) // of an answer that is not the last one
	g.meter = nil
}

// byAttempt takes down that an attempt refused the call in the gate's stead.
func (g *gate) byAttempt(why string) {
	if g.sole != nil { // nobody but the upstream says so
		return
	}
	g.answered, g.refused, g.out = true, account.Refused, why == refusedOut
	if why == refusedCaller {
		g.refused = account.CallerFault
	}
}

// OnHttpResponseBody implements types.HttpContext. It reads every byte, in pieces, and changes none.
func (g *gate) OnHttpResponseBody(size int, end bool) types.Action {
	defer g.guardAnswer(atBody)
	g.ended = g.ended || end
	if g.sole != nil {
		g.sole.read(size, end)
	}
	if g.meter == nil || g.unread {
		return types.ActionContinue
	}
	fault(atBody)
	for off := 0; off < size; {
		b := host.ResponseBody(off, min(piece, size-off))
		if len(b) == 0 {
			break
		}
		g.meter.Feed(b)
		off += len(b)
	}
	return types.ActionContinue
}

// OnHttpResponseTrailers implements types.HttpContext.
func (g *gate) OnHttpResponseTrailers(int) types.Action {
	defer g.guardAnswer(atTrailers)
	fault(atTrailers)
	g.ended = true
	if trailers, ok := host.ResponseTrailers(); ok {
		for _, name := range g.vm.withheld(g.keyID, g.vm.secretOf(g.keyID), trailers) {
			_ = proxywasm.RemoveHttpResponseTrailer(name)
		}
	}
	if g.sole != nil {
		g.sole.conclude()
	}
	return types.ActionContinue
}

// OnHttpStreamDone implements types.HttpContext: every call ends here, aborted ones too. One that a filter before this one
// answered, as authentication does, was none of ours.
func (g *gate) OnHttpStreamDone() {
	defer g.vm.guard(atStreamDone)
	if !g.mine {
		return
	}
	g.vm.calls.drop(g)
	g.mine = false
	g.done()
	g.recycle()
}

// recycle gives back what calls use again, the gate itself and its attempts too: the host has nothing more to tell them.
func (g *gate) recycle() {
	v := g.vm
	v.peeks.give(g.peek)
	v.meters.give(g.meter)
	for _, t := range g.attempts {
		delete(v.held, t.id)
		v.attempts.give(t)
	}
	v.gatesDone.give(g)
}

func (g *gate) done() {
	g.endMeter()
	fault(atStreamDone)
	g.vm.settledMS = hostMS()
	at := g.vm.instantAt(g.vm.settledMS)
	details := ""
	if !g.ended || !g.keyed {
		details = property("response", "code_details")
	}
	c := account.Call{Out: g.out, Limited: g.status == 429, TimeMS: max(0, g.vm.settledMS-g.startMS)}
	if g.admitted {
		if g.sole != nil {
			g.sole.end(g.keyed)
		}
		g.settle(&c, at, details)
	}
	c.Outcome = g.outcome(details)
	if g.caller != "" { // before the call counts as ended: a report that tells of the call has its caller too
		g.took.Caller, g.took.Requests = g.caller, 1
		g.vm.book.Charge(at.Window, g.took)
	}
	g.vm.end(at, &c)
	if c.Outcome == account.Refused {
		g.vm.stats.refusal()
	}
	if c.Rescued && c.Outcome == account.Succeeded {
		g.vm.stats.rescue()
	}
}

// outcome says how the call ended for the client.
func (g *gate) outcome(details string) account.Outcome {
	switch {
	case g.answered:
		return g.refused
	case clientLeft(details):
		return account.CallerFault
	case g.status == 0 || !g.ended:
		return account.Cut
	case g.status == 429 || g.status >= 500 || g.sole != nil && g.sole.class.OwnFailure():
		return account.Failed
	case g.status >= 400:
		return account.CallerFault
	}
	if g.meter != nil {
		if status, _, failed := g.meter.StreamError(); failed {
			if status >= 400 && status < 500 && status != 429 {
				return account.CallerFault
			}
			return account.Failed
		}
	}
	return account.Succeeded
}
