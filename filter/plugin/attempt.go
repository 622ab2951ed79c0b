package plugin

import (
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/host"
	"keywheel/filter/picker"
	"keywheel/filter/trail"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
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

	vm *vm
	id uint32

	gate   *gate // of the call; nil: it is in another VM
	a      *assigned
	key    *protocol.Key // picked; nil: none
	status int
	header groq.ResponseHeaders // of a held answer
	heldMS int64                // host's time since which the answer is held; 0: it is not
}

// OnHttpRequestHeaders implements types.HttpContext.
func (t *attempt) OnHttpRequestHeaders(int, bool) types.Action {
	defer guard("attempt")
	tr, ok := t.trail()
	if !ok {
		gateMissing().send()
		return types.ActionPause
	}
	if t.a = t.vm.attempt; t.a == nil {
		return t.refuse(noAssignment())
	}
	at := t.vm.instant()
	t.giveUp(&tr)
	r := t.request(&tr)
	r.InUse = t.vm.inUse
	c := t.a.picker.Pick(t.vm.book, t.vm.id, r, at)
	t.vm.seen(t.a, r, c)
	if c.Key == nil {
		return t.refuse(refusedBy(c.Refusal, at))
	}
	t.key = c.Key
	tr.Tries = append(tr.Tries, trail.Try{Credential: c.Key.Credential, VM: t.vm.id, Reserved: c.Reserve})
	if !t.dress(&tr) {
		t.vm.settle(at, tr.Last(), account.Settlement{Class: groq.ClassConnect})
		internalError().send()
		return types.ActionPause
	}
	if t.gate = t.vm.calls[tr.Call]; t.gate != nil {
		t.gate.trail = tr
	}
	t.vm.stats.pick(c.Key.Credential)
	if tr.Only == "" && t.a.picker.Takes(c) && t.vm.book.Use(at.Window, at.NowMS, c.Key.Credential, c.Leave) {
		t.vm.stats.rotation()
	}
	return types.ActionContinue
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

func (t *attempt) trail() (trail.Trail, bool) {
	tr, ok := readTrail()
	return tr, ok && tr.Incarnation == t.vm.process()
}

func (t *attempt) request(tr *trail.Trail) picker.Request {
	r := picker.Request{Model: tr.Model, Need: tr.Need, Only: tr.Only, Fixed: t.a.Policy.RequiredTokens > 0 && tr.Need == t.a.Policy.RequiredTokens}
	for _, y := range tr.Tries {
		r.Tried = append(r.Tried, picker.Tried{Credential: y.Credential, Final: y.State == trail.Failed})
	}
	return r
}

// dress puts the key on the request. The header map is shared by all attempts of a call: every one replaces it.
func (t *attempt) dress(tr *trail.Trail) bool {
	bearer := t.a.bearers[t.key.Credential]
	if bearer == "" {
		proxywasm.LogErrorf("keywheel: the assignment names credential %s without its secret", t.key.Credential)
		return false
	}
	if proxywasm.ReplaceHttpRequestHeader("authorization", bearer) != nil {
		return false
	}
	if t.a.Policy.LoopGuard {
		_ = proxywasm.ReplaceHttpRequestHeader(hopHeader, "1")
	}
	return t.vm.leave(tr)
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

// OnHttpResponseHeaders implements types.HttpContext. A successful answer is never held and costs two calls.
func (t *attempt) OnHttpResponseHeaders(_ int, end bool) types.Action {
	defer guard("attempt's answer")
	if t.key == nil {
		return types.ActionContinue
	}
	set(keyHeader, t.key.ID)
	status, ok := host.ResponseHeader(":status")
	if !ok {
		return types.ActionContinue
	}
	if len(status) == 3 && status[0] == '2' {
		if t.gate != nil {
			t.gate.served = true
		}
		return types.ActionContinue
	}
	headers, err := proxywasm.GetHttpResponseHeaders()
	if err != nil {
		return types.ActionContinue
	}
	t.status, t.header = answerHeaders(status, headers)
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
	defer guard("attempt's answer body")
	if t.heldMS == 0 {
		return types.ActionContinue
	}
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
	defer guard("attempt's answer trailers")
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
	last := tr.Last()
	if !ok || last == nil || last.State != trail.Pending {
		return
	}
	v := groq.Classify(t.status, t.header, body)
	at := t.vm.instant()
	t.vm.settle(at, last, account.Settlement{Class: v.Class})
	t.learn(v, tr.Model, at)
	last.State = trail.Passed
	if keyCannotHelp(v.Class) {
		last.State = trail.Failed
	}
	t.vm.leave(&tr)
	if !v.RetryElsewhere {
		return
	}
	c := t.a.picker.Peek(t.vm.book, t.request(&tr), at)
	if c.Key != nil && !c.Again {
		set(rotateHeader, "1")
	}
	if v.Class == groq.ClassLimited {
		wait := int64(1)
		if c.Refusal != nil {
			wait = c.Refusal.RetryAfter(at.NowMS)
		}
		for _, h := range retryHeaders(wait) {
			set(h[0], h[1])
		}
	}
}

// keyCannotHelp says which classes are the key's own: trying it again for the same call is useless.
func keyCannotHelp(c groq.Class) bool {
	switch c {
	case groq.ClassLimited, groq.ClassInvalid, groq.ClassRestricted, groq.ClassPermission:
		return true
	}
	return false
}

// learnedMS is how long a refusal of the key itself is believed without being told again. The control plane asks Groq
// in the meantime and clears the key; without it a call tries again, and is rescued.
const learnedMS = int64(time.Hour / time.Millisecond)

// edgeEveryMS is how often a worker notes that the edge refused us: a caller can be the cause.
const edgeEveryMS = 60_000

// learn remembers what an answer says about the key, so that the next choice avoids it.
func (t *attempt) learn(v groq.Verdict, model string, at picker.Instant) {
	f := account.Finding{Credential: t.key.Credential, Org: t.key.Org, Model: model, Code: v.Code, AtMS: at.NowMS, UntilMS: at.NowMS + learnedMS}
	switch v.Class {
	case groq.ClassLimited:
		f.Kind = protocol.Cooling
		f.UntilMS = at.NowMS + v.Wait.Milliseconds()
	case groq.ClassInvalid:
		f.Kind, f.Model = protocol.Invalid, ""
	case groq.ClassRestricted:
		f.Kind, f.Model = protocol.Restricted, ""
	case groq.ClassPermission:
		f.Kind = protocol.Blocked
	case groq.ClassEdge:
		now := hostMS()
		if now >= t.vm.edgeMS && now-t.vm.edgeMS < edgeEveryMS {
			return
		}
		t.vm.edgeMS = now
		t.vm.book.Note(account.Note{Kind: protocol.NoteEdge, Window: at.Window, AtMS: at.NowMS, To: t.key.Credential})
		return
	default:
		return
	}
	t.vm.book.Learn(at.NowMS, f)
	t.vm.sure = sure{}
	t.vm.earlyMS = hostMS() // other Envoys want to know
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
		t.conclude(nil)
		if err := proxywasm.ResumeHttpResponse(); err != nil {
			proxywasm.LogDebugf("keywheel: held answer is gone: %v", err)
		}
	}
	_ = proxywasm.SetEffectiveContext(root)
}
