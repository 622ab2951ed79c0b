//go:build faults

package plugin_test

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/plugin"
	"keywheel/shared/protocol"
)

// failAt makes one place of the filter panic until the returned function is called, which says how often it did.
func failAt(t *testing.T, place string) (stop func() int) {
	n := 0
	plugin.Fault = func(where string) {
		if where == place {
			n++
			panic("made for the test")
		}
	}
	stop = func() int {
		plugin.Fault = nil
		return n
	}
	t.Cleanup(func() { stop() })
	return stop
}

// ended wants the call ended by Keywheel's own 500.
func (e *envoy) ended(context uint32, action types.Action) {
	e.t.Helper()
	if action != types.ActionPause {
		e.t.Error("the request goes on")
	}
	if status, code := local(e.t, e, context); status != 500 || code != "keywheel_internal_error" {
		e.t.Errorf("answered %d %s", status, code)
	}
}

// opened begins a call without its body.
func (e *envoy) opened() types.Action {
	e.role(protocol.GateResource)
	e.gate = e.host.InitializeHttpContext()
	return e.host.CallOnRequestHeaders(e.gate, chat([2]string{"authorization", "Bearer mine"}), false)
}

// passes wants all of an answer let go.
func (e *envoy) passes(context uint32, headers [][2]string, body string) {
	e.t.Helper()
	if e.host.CallOnResponseHeaders(context, headers, false) != types.ActionContinue {
		e.t.Error("the answer's headers are held")
	}
	if e.host.CallOnResponseBody(context, []byte(body), false) != types.ActionContinue {
		e.t.Error("the answer's body is held")
	}
	if e.host.CallOnResponseTrailers(context, nil) != types.ActionContinue {
		e.t.Error("the answer's trailers are held")
	}
}

// tried begins an attempt.
func (e *envoy) tried() (attempt uint32, action types.Action) {
	e.role(protocol.AttemptResource)
	id := e.host.InitializeHttpContext()
	return id, e.host.CallOnRequestHeaders(id, [][2]string{{":path", "/openai/v1/chat/completions"}, {"authorization", "Bearer mine"}}, false)
}

// refusedTry is a call whose attempt must not go on.
func refusedTry(e *envoy) {
	e.call(chat(), question)
	e.ended(e.tried())
	e.finish([][2]string{{":status", "500"}, {"content-type", "application/json"}}, "{}")
}

// served is a call that must be served as ever.
func served(e *envoy) {
	e.call(chat(), question)
	e.passes(e.try(), ok, reply)
	e.passes(e.gate, okServed, reply)
	e.end()
}

// A bug in a callback of a request ends that call with a 500; one in a callback of an answer lets it pass, and what was not
// read is estimated. Either way the next call is served, and nothing stays held.
func TestABugCostsTheCallThatMetIt(t *testing.T) {
	const held = int64(512 + len(question)/4) // what is held for such a call, and charged where its answer was not read
	limited := func(e *envoy) {               // an answer whose body is awaited
		e.call(chat(), question)
		a := e.try()
		e.host.CallOnResponseHeaders(a, [][2]string{{":status", "429"}, {"content-type", "application/json"}}, false)
		if e.host.CallOnResponseBody(a, []byte("{}"), false); e.host.CallOnResponseTrailers(a, nil) != types.ActionContinue {
			e.t.Error("the answer is held beyond its end")
		}
		e.finish([][2]string{{":status", "429"}, {"x-keywheel-key", "1"}}, "{}")
	}
	for place, c := range map[string]struct {
		call func(e *envoy)
		used int64 // by that call
	}{
		"request headers":           {func(e *envoy) { action := e.opened(); e.ended(e.gate, action); e.end() }, 0},
		"request body":              {func(e *envoy) { action := e.call(chat(), question); e.ended(e.gate, action); e.end() }, 0},
		"request trailers":          {func(e *envoy) { e.opened(); e.ended(e.gate, e.host.CallOnRequestTrailers(e.gate, nil)); e.end() }, 0},
		"attempt":                   {refusedTry, 0},
		"attempt with its key":      {refusedTry, 0},
		"attempt's answer":          {served, 100},
		"attempt's answer body":     {limited, 0},
		"attempt's answer trailers": {limited, 0},
		"response headers":          {served, held},
		"response body":             {served, held},
		"response trailers":         {served, held},
		"meter":                     {served, held},
		"stream done":               {served, 0},
		"start":                     {served, 100},
		"tick":                      {func(e *envoy) { e.host.Tick(); served(e) }, 100},
		"done": {func(e *envoy) {
			if !e.host.FinishVM() {
				e.t.Error("the context is not done")
			}
			served(e)
		}, 100},
	} {
		t.Run(place, func(t *testing.T) {
			e := start(t, plugin.New(), bundle(t, assignment()))
			served(e)
			stop := failAt(t, place)
			c.call(e)
			if n := stop(); n == 0 {
				t.Fatal("the place was not met")
			}
			if n, err := e.host.GetCounterMetric("keywheel.panics"); err != nil || n == 0 || len(e.host.GetCriticalLogs()) == 0 {
				t.Errorf("counted %d, %v; said %q", n, err, e.host.GetCriticalLogs())
			}
			e.role(protocol.GateResource)
			e.host.Tick() // the VM takes another name
			served(e)
			r := e.report()
			if got := used(r)["1.1"]; got != 200+c.used {
				t.Errorf("used %d tokens, want two calls of 100 and %d", got, c.used)
			}
		})
	}
}
