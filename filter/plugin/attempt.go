package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/host"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
)

const (
	// maxHeld is how much of an error answer is read to learn what it means; beyond the host's buffer limit a held
	// answer would become a 500.
	maxHeld = 64 << 10
	// maxHeldMS is how long an error answer's body is awaited.
	maxHeldMS = 500
)

// attempt is one try of a call, upstream. Its end is not told by the host: a try that gets no answer is settled by the
// gate.
type attempt struct {
	types.DefaultHttpContext

	try
	gate   *gate  // of the call; nil: it is in another VM
	call   uint64 // the gate's number
	id     uint32
	heldMS int64 // host's time since which the answer is held; 0: it is not
}

// OnHttpRequestHeaders implements types.HttpContext.
func (t *attempt) OnHttpRequestHeaders(int, bool) (action types.Action) {
	defer t.guardRequest(&action)
	fault(atAttempt)
	tr, ok := t.trail()
	if !ok {
		gateMissing().send()
		return types.ActionPause
	}
	if t.a = t.vm.attempt; t.a == nil {
		return t.refuse(noAssignment())
	}
	if !t.fromTab(tr) {
		return t.search(tr)
	}
	fault(atReserved)
	return t.goes(t.dress() && t.leave(tr), tr)
}

// search picks the key that is best now.
func (t *attempt) search(tr *trail.Trail) types.Action {
	at := t.vm.instant()
	t.giveUp(tr)
	c := t.pick(tr, at)
	if c.Key == nil {
		return t.refuse(refusedBy(c.Refusal, at))
	}
	fault(atReserved)
	ok := t.dress() && t.leave(tr)
	if ok {
		t.use(c, tr, at)
	}
	return t.goes(ok, tr)
}

// goes lets the request go on if it has its key.
func (t *attempt) goes(ok bool, tr *trail.Trail) types.Action {
	if ok {
		return types.ActionContinue
	}
	t.drop(tr, t.vm.instant())
	internalError().send()
	return types.ActionPause
}

// trail is the call's: the gate's own where that is in this VM, else what stands on the stream.
func (t *attempt) trail() (*trail.Trail, bool) {
	raw, ok := host.Property(trail.Property)
	if !ok {
		return nil, false
	}
	if call, ok := trail.CallOf(raw, t.vm.process()); ok {
		if g := t.vm.calls.find(call); g != nil {
			if t.gate == nil {
				t.gate, t.call = g, call
				g.attempts = append(g.attempts, t)
			}
			g.served = false
			g.merge(raw)
			return &g.trail, true
		}
	}
	tr, ok := trail.Parse(raw)
	return &tr, ok && tr.Incarnation == t.vm.process()
}

// leave has the gate know of the try.
func (t *attempt) leave(tr *trail.Trail) bool { return t.gate != nil || t.vm.leave(tr) > 0 }

// gateHere returns the call's gate, while it lives, if it is in this VM.
func (t *attempt) gateHere() *gate {
	if t.gate == nil || t.gate.call != t.call { // it has ended
		return nil
	}
	return t.gate
}

// giveUp gives back what tries before this one hold that got no answer: there is one try at a time.
func (t *attempt) giveUp(tr *trail.Trail) {
	for i := range tr.Tries {
		y := &tr.Tries[i]
		if y.State != trail.Pending {
			continue
		}
		y.State = trail.Lost
		t.vm.book.Update(y.Credential, func(e *account.Entry) bool {
			e.Release(y.VM, y.Reserved)
			return true
		})
	}
}

// What refusedHeader says.
const (
	refusedBusy   = "busy"
	refusedOut    = "out"    // no key can serve for longer than a moment
	refusedCaller = "caller" // the caller asked for what it cannot have
)

// refuse answers here; Envoy does not try again after that.
func (t *attempt) refuse(r reply) types.Action {
	why := refusedBusy
	switch {
	case r.outcome == account.CallerFault:
		why = refusedCaller
	case r.out:
		why = refusedOut
	}
	r.headers = append(r.headers, [2]string{refusedHeader, why})
	r.send()
	return types.ActionPause
}

// OnHttpResponseHeaders implements types.HttpContext. A successful answer is never held.
func (t *attempt) OnHttpResponseHeaders(_ int, end bool) types.Action {
	defer t.guardAnswer(atAnswer)
	fault(atAnswer)
	if t.key == nil {
		return types.ActionContinue
	}
	set(keyHeader, t.key.ID)
	headers, ok := host.ResponseHeaders()
	if !ok {
		return types.ActionContinue
	}
	status := statusOf(headers)
	if status/100 == 2 {
		if g := t.gateHere(); g != nil {
			g.keyed, g.keyID = true, t.key.ID
			g.begin(status, headers, end, t.bearer[len(bearer):])
			g.served = true
		}
		return types.ActionContinue
	}
	return t.failed(status, headers, end)
}

// failed takes the headers of an answer that is not a success.
func (t *attempt) failed(status int, headers host.Headers, end bool) types.Action {
	t.status, t.header = status, answerHeaders(headers)
	if !end && groq.NeedsBody(t.status, t.header) {
		t.heldMS = hostMS()
		t.vm.held[t.id] = t
		return types.ActionPause
	}
	t.conclude(nil)
	return types.ActionContinue
}

// OnHttpResponseBody implements types.HttpContext. While the answer is held, size is all that is buffered so far.
func (t *attempt) OnHttpResponseBody(size int, end bool) types.Action {
	if t.heldMS == 0 { // as of every success
		return types.ActionContinue
	}
	defer t.guardAnswer(atAnswerBody)
	fault(atAnswerBody)
	if !end && size < maxHeld {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpResponseBody(0, min(size, maxHeld))
	if err != nil {
		body = nil
	}
	t.conclude(body)
	return types.ActionContinue
}

// OnHttpResponseTrailers implements types.HttpContext.
func (t *attempt) OnHttpResponseTrailers(int) types.Action {
	defer t.guardAnswer(atAnswerTrailers)
	fault(atAnswerTrailers)
	if t.heldMS != 0 {
		body, err := proxywasm.GetHttpResponseBody(0, maxHeld)
		if err != nil {
			body = nil
		}
		t.conclude(body)
	}
	return types.ActionContinue
}

// conclude learns from an answer that is not 2xx, settles the try, and asks Envoy for another if that can help.
func (t *attempt) conclude(body []byte) {
	t.heldMS = 0
	delete(t.vm.held, t.id)
	tr, ok := t.trail()
	if !ok {
		return
	}
	if last := tr.Last(); last == nil || last.State != trail.Pending {
		return
	}
	at := t.vm.instant()
	v := t.learned(tr, body, at)
	t.leave(tr)
	if t.elsewhere(v, tr, at) {
		set(rotateHeader, "1")
	}
}

// releaseHeld lets answers go whose body did not come in time. Their status decides.
func (v *vm) releaseHeld(root uint32) {
	if len(v.held) == 0 {
		return
	}
	now := hostMS()
	for id, t := range v.held {
		if waited := now - t.heldMS; waited >= 0 && waited < maxHeldMS {
			continue
		}
		if proxywasm.SetEffectiveContext(id) != nil { // the stream is gone
			delete(v.held, id)
			continue
		}
		t.concludeHeld()
		if err := proxywasm.ResumeHttpResponse(); err != nil {
			proxywasm.LogDebugf("keywheel: held answer is gone: %v", err)
		}
	}
	_ = proxywasm.SetEffectiveContext(root)
}

func (t *attempt) concludeHeld() {
	defer t.guardAnswer(atHeld)
	fault(atHeld)
	t.conclude(nil)
}
