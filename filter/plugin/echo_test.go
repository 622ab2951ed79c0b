package plugin_test

import (
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// An upstream that shows the key that served, in a header of whatever name or in a trailer, does not show it to the client. It
// is counted and told, also where only an error's body shows it, which passes.
func TestASecretThatIsEchoedIsWithheld(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := start(t, vm, bundle(t, assignment()))
		e.call(chat(), question)
		a := e.try()
		bad := `{"error":{"message":"who is Bearer gsk_1?"}}`
		got := e.answer(a, [][2]string{{":status", "400"}, {"content-type", "application/json"}, {"x-echo", "Bearer gsk_1"}, {"authorization", "Bearer gsk_1"}}, bad)
		e.host.CallOnResponseHeaders(e.gate, append(got, [2]string{"x-other", "gsk_2"}), false)
		e.host.CallOnResponseBody(e.gate, []byte(bad), false)
		for _, h := range e.host.GetCurrentResponseHeaders(e.gate) {
			if strings.Contains(h[1], "gsk_1") {
				t.Errorf("%s passed", h[0])
			}
		}
		if value(e.host.GetCurrentResponseHeaders(e.gate), "x-other") == "" {
			t.Error("another header is gone")
		}
		e.host.CallOnResponseTrailers(e.gate, [][2]string{{"x-trailer", "=gsk_1="}})
		e.end()
		if n, err := e.host.GetCounterMetric("keywheel.secrets_shown"); err != nil || n < 3 {
			t.Errorf("counted %d, %v; want the body, the header and the trailer", n, err)
		}
		log := strings.Join(e.host.GetCriticalLogs(), "\n")
		if !strings.Contains(log, "shows key 1") || strings.Contains(log, "gsk_1") {
			t.Errorf("said %q", log)
		}
	})
}
