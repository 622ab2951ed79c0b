package plugin_test

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/shared/protocol"
)

// Each role ticks where it is alone, and leaves no timer behind: Envoy would have it go off for ever.
func TestNoTimerIsLeftBehind(t *testing.T) {
	for _, role := range []string{protocol.GateResource, protocol.AttemptResource, protocol.GateOnlyResource} {
		t.Run(role, func(t *testing.T) {
			both(t, func(t *testing.T, vm types.VMContext) {
				e := startAs(t, vm, role, bundle(t, assignment()))
				if got := e.host.GetTickPeriod(); got != 100 {
					t.Errorf("it ticks every %d ms", got)
				}
				if !e.host.FinishVM() {
					t.Error("it is not done")
				}
				if got := e.host.GetTickPeriod(); got != 0 {
					t.Errorf("once it is done, it ticks every %d ms", got)
				}
			})
		})
	}
}
