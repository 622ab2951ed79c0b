package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/shared/protocol"
)

// Envoy keeps the timer of a plugin context that it has deleted, and lets it go off for ever. So a context stops its own
// when it is done, and the attempt's contexts, which every push replaces, have one only where no gate ticks in their VM.

// startTicking has the context tick, if that is its affair.
func (r *root) startTicking() {
	v := r.vm
	if r.role == protocol.AttemptResource {
		v.tries = r
		if v.gates > 0 {
			return
		}
	} else {
		v.gates++
	}
	r.ticks = true
	r.tick(tickMS)
}

// stopTicking ends the context's timer. Where it was the last gate's, the attempts tick from here on.
func (r *root) stopTicking() {
	v := r.vm
	if r.ticks {
		r.ticks = false
		r.tick(0)
	}
	if r.role == protocol.AttemptResource {
		if v.tries == r {
			v.tries = nil
		}
		return
	}
	v.gates--
	if heir := v.tries; v.gates == 0 && heir != nil && !heir.ticks && proxywasm.SetEffectiveContext(heir.id) == nil {
		heir.ticks = true
		heir.tick(tickMS)
		_ = proxywasm.SetEffectiveContext(r.id)
	}
}
