package plugin

import (
	"math/rand/v2"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/trail"
)

// The guards keep a panic from the host: it is a bug, and costs the call that met it, not the worker's streams. What a
// callback then does depends on what would be wrong most:
//   - A request ends with a 500. Let go, it could have no key, or the client's own.
//   - An answer passes. It is Groq's, and paid for; what it cost is estimated.
//   - What the panic left held is given back: the VM takes another name, and nobody speaks for the old one.

// Places of the guards, for the log.
const (
	atStart           = "start"
	atTick            = "tick"
	atDone            = "done"
	atReport          = "the answer to a report"
	atAssignment      = "assignment"
	atHeld            = "held answer"
	atRequestHeaders  = "request headers"
	atRequestBody     = "request body"
	atRequestTrailers = "request trailers"
	atHeaders         = "response headers"
	atBody            = "response body"
	atTrailers        = "response trailers"
	atMeter           = "meter"
	atStreamDone      = "stream done"
	atAttempt         = "attempt"
	atReserved        = "attempt with its key"
	atAnswer          = "attempt's answer"
	atAnswerBody      = "attempt's answer body"
	atAnswerTrailers  = "attempt's answer trailers"
)

// guard is for callbacks that let nothing through.
func (v *vm) guard(where string) {
	if e := recover(); e != nil {
		v.caught(where, e)
	}
}

// guardRequest ends the call.
func (g *gate) guardRequest(where string, action *types.Action) {
	if e := recover(); e != nil {
		*action = types.ActionPause
		g.vm.caught(where, e)
		g.answered, g.refused = true, account.Failed
		bug().send()
	}
}

// guardAnswer lets the answer pass unread.
func (g *gate) guardAnswer(where string) {
	if e := recover(); e != nil {
		g.unread, g.keyed = true, g.keyed || g.admitted && !g.answered
		g.vm.caught(where, e)
	}
}

// guardRequest ends the call.
func (t *attempt) guardRequest(action *types.Action) {
	if e := recover(); e != nil {
		*action = types.ActionPause
		if g := t.gateHere(); g != nil && t.key != nil { // it was not sent: nothing is charged for it
			if last := g.trail.Last(); last != nil && last.State == trail.Pending {
				last.State = trail.Passed
			}
		}
		t.key = nil
		t.vm.caught(atAttempt, e)
		bug().send()
	}
}

// guardAnswer lets the answer pass, also one that was held. The gate still learns that it is an answer to the key.
func (t *attempt) guardAnswer(where string) {
	if e := recover(); e != nil {
		if where == atAnswer && t.key != nil {
			set(keyHeader, t.key.ID)
		}
		t.heldMS = 0
		delete(t.vm.held, t.id)
		t.vm.caught(where, e)
	}
}

// saidEveryMS is how often a VM speaks of panics: a caller may be able to cause one with each call.
const saidEveryMS = 1000

// caught takes a panic down.
func (v *vm) caught(where string, e any) {
	defer func() { _ = recover() }() // the host itself may be what fails
	v.hurt = true
	v.panics++
	if host := hostMS(); host < v.saidMS || host-v.saidMS >= saidEveryMS {
		v.saidMS = host
		proxywasm.LogCriticalf("keywheel: bug in %s: %v (%d so far in this worker); please report it", where, e, v.panics)
	}
	v.stats.panicked()
	v.book.Panicked()
}

// renew gives a VM in which something panicked another name. What it held under the old one is given back as a dead VM's
// is: nobody knows what of it a panic left behind.
func (v *vm) renew() {
	if !v.hurt {
		return
	}
	v.hurt = false
	v.id = newID()
	v.beatMS = 0
}

func newID() uint32 { return 1 + rand.Uint32N(1<<32-1) } //nolint:gosec // a name, no secret
