package plugin_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/shared/protocol"
)

// What a filter before the gate answers, such as authentication, is no call of ours: it is not counted, and its answer
// keeps its headers, cookies too.
func TestWhatAnotherFilterAnswersIsNotOurs(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := start(t, vm, bundle(t, assignment()))
		answer := [][2]string{{":status", "401"}, {"set-cookie", "login=1"}, {"content-type", "application/json"}}
		e.gate = e.host.InitializeHttpContext()
		e.host.CallOnResponseHeaders(e.gate, answer, false)
		if diff := cmp.Diff(answer, e.host.GetCurrentResponseHeaders(e.gate)); diff != "" {
			t.Errorf("the answer's headers (-before +after)\n%s", diff)
		}
		e.host.CallOnResponseBody(e.gate, []byte("{}"), true)
		e.end()
		e.call(chat(), question)
		e.answer(e.try(), ok, reply)
		e.finish(okServed, reply)
		want := protocol.GateUsage{Requests: 1, Succeeded: 1}
		if got := gateUsage(e.report()); got.Requests != want.Requests || got.Succeeded != want.Succeeded {
			t.Errorf("counted %+v, want one call", got)
		}
	})
}
