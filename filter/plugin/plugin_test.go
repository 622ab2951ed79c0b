package plugin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"google.golang.org/protobuf/proto"

	"keywheel/filter/plugin"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

func TestACallIsServedAndReported(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := start(t, vm, bundle(t, assignment()))
		if e.call(chat([2]string{"authorization", "Bearer mine"}, [2]string{"x-envoy-max-retries", "9"}, [2]string{"cookie", "c"}), question) != types.ActionContinue {
			t.Fatal("not admitted")
		}
		for _, h := range e.host.GetCurrentRequestHeaders(e.gate) {
			if strings.HasPrefix(h[0], "x-envoy-") || h[0] == "cookie" || h[1] == "Bearer mine" {
				t.Errorf("%s passed", h[0])
			}
		}
		a := e.try()
		if got := e.authorization(a); got != "Bearer gsk_1" {
			t.Errorf("authorization %q", got)
		}
		answer := e.answer(a, append([][2]string{{"set-cookie", "__cf_bm=1"}}, ok...), reply)
		if got := value(answer, "x-keywheel-key"); got != "1" {
			t.Errorf("x-keywheel-key %q", got)
		}
		e.finish(answer, reply)
		if got := value(e.host.GetCurrentResponseHeaders(e.gate), "set-cookie"); got != "" {
			t.Errorf("a cookie passed: %q", got)
		}
		r := e.report()
		if got := used(r); got["1.1"] != 100 || len(got) != 1 {
			t.Errorf("used %v", got)
		}
		if g := gateUsage(r); g.Requests != 1 || g.Succeeded != 1 {
			t.Errorf("gate %+v", g)
		}
		if len(r.Reserved) != 0 || r.Incarnation == "" || r.Config != 7 {
			t.Errorf("%+v", r)
		}
		if got, err := e.host.GetCounterMetric("keywheel.key.1.tokens"); err != nil || got != 100 {
			t.Errorf("metric %d, %v", got, err)
		}
	})
}

func TestAnotherKeyTakesOver(t *testing.T) {
	const limited = `{"error":{"message":"Rate limit reached for model x in organization y on tokens per minute (TPM): Limit 1, Used 1, Requested 1. Please try again in 20s.","type":"tokens","code":"rate_limit_exceeded"}}`
	problem := func(code string) string {
		return `{"error":{"message":"m","type":"invalid_request_error","code":"` + code + `"}}`
	}
	cases := map[string]struct {
		status, retryAfter, body string
		out                      bool // the key stays out for the next call
		wasm                     bool
	}{
		"429":               {"429", "20", limited, true, false},
		"429 by its body":   {"429", "", limited, true, true},
		"401":               {"401", "", problem("invalid_api_key"), true, false},
		"400 restricted":    {"400", "", problem("organization_restricted"), true, false},
		"400 spend limit":   {"400", "", problem("spend_limit_reached"), true, false},
		"400 terms":         {"400", "", problem("model_terms_required"), true, false},
		"403 permissions":   {"403", "", `{"error":{"message":"m","type":"permissions_error","code":"model_permission_blocked_org"}}`, true, false},
		"500":               {"500", "", ``, false, true},
		"503":               {"503", "", `{"error":{"message":"over capacity"}}`, false, false},
		"498 flex capacity": {"498", "", problem("capacity_exceeded"), false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			goOr(t, c.wasm, func(t *testing.T, vm types.VMContext) {
				e := start(t, vm, bundle(t, assignment()))
				e.call(chat(), question)
				headers := [][2]string{{":status", c.status}, {"content-type", "application/json"}}
				if c.retryAfter != "" {
					headers = append(headers, [2]string{"retry-after", c.retryAfter})
				}
				if got := e.answer(e.try(), headers, c.body); value(got, "x-keywheel-rotate") == "" {
					t.Fatalf("no other try was asked for: %v", got)
				}
				second := e.try()
				if got := e.authorization(second); got != "Bearer gsk_2" {
					t.Errorf("second try with %q", got)
				}
				e.answer(second, ok, reply)
				e.finish([][2]string{{":status", "200"}, {"content-type", "application/json"}, {"x-keywheel-key", "2"}}, reply)
				e.call(chat(), question)
				want := "Bearer gsk_1"
				if c.out {
					want = "Bearer gsk_2"
				}
				if got := e.authorization(e.try()); got != want {
					t.Errorf("the next call goes with %q, want %q", got, want)
				}
				e.end()
				if n, err := e.host.GetCounterMetric("keywheel.rescues"); err != nil || n != 1 {
					t.Errorf("%d rescues, %v", n, err)
				}
			})
		})
	}
}

// What is learned of a call whose model was not seen holds for such calls only.
func TestACallOfUnknownModelTakesNoKeyFromOthers(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	e.call([][2]string{{":method", "POST"}, {":path", "/v1/audio/speech"}, {"content-type", "application/json"}}, `{"model":"tts"}`)
	const terms = `{"error":{"message":"m","type":"invalid_request_error","code":"model_terms_required"}}`
	for range 3 {
		e.answer(e.try(), [][2]string{{":status", "400"}, {"content-type", "application/json"}}, terms)
	}
	e.end()
	e.call(chat(), question)
	if got := e.authorization(e.try()); got != "Bearer gsk_1" {
		t.Errorf("chat goes with %q", got)
	}
}

// A try that got no answer holds nothing from the next one.
func TestALostTryGivesBackWhatItHeld(t *testing.T) {
	a := assignment()
	a.Keys = a.Keys[:1]
	a.Keys[0].Fresh[0].Tokens = 300
	e := start(t, plugin.New(), bundle(t, a))
	e.call(chat(), question)
	e.try()
	second := e.try()
	if got := e.authorization(second); got != "Bearer gsk_1" {
		t.Fatalf("the second try goes with %q", got)
	}
	e.answer(second, ok, reply)
	e.finish(okServed, reply)
	r := e.report()
	if got := used(r); got["1.1"] != 100+int64(len(question)/4) || len(r.Reserved) != 0 {
		t.Errorf("used %v, reserved %v: want the answer and the lost prompt", got, r.Reserved)
	}
}

func TestUpstreamsResetIsNotTheClients(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	if err := e.host.SetProperty([]string{"response", "code_details"}, []byte("upstream_reset_before_response_started{remote_reset}")); err != nil {
		t.Fatal(err)
	}
	e.call(chat(), question)
	e.try()
	e.finish([][2]string{{":status", "503"}})
	r := e.report()
	if g := gateUsage(r); g.Failed != 1 || g.CallerFaults != 0 || r.Windows[0].Credentials[0].Attempts["reset"] != 1 {
		t.Errorf("%+v, attempts %v", g, r.Windows[0].Credentials[0].Attempts)
	}
}

func TestTheCallersOwnFaultsPass(t *testing.T) {
	cases := map[string]struct {
		status, body string
		wasm         bool
	}{
		"400":              {"400", `{"error":{"message":"bad","type":"invalid_request_error"}}`, true},
		"404":              {"404", `{"error":{"message":"no","code":"model_not_found"}}`, false},
		"422":              {"422", `{}`, false},
		"413":              {"413", `{"error":{"message":"Request too large","code":"rate_limit_exceeded"}}`, false},
		"403 by the edge":  {"403", `{"error":{"message":"Forbidden"}}`, false},
		"429 output limit": {"429", `{"error":{"message":"Request too large for model x on output tokens per minute (OTPM): Limit 1000, Requested 2512.","type":"tokens","code":"rate_limit_exceeded"}}`, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			goOr(t, c.wasm, func(t *testing.T, vm types.VMContext) {
				e := start(t, vm, bundle(t, assignment()))
				e.call(chat(), question)
				got := e.answer(e.try(), [][2]string{{":status", c.status}, {"content-type", "application/json"}}, c.body)
				if value(got, "x-keywheel-rotate") != "" || value(got, "retry-after") != "" {
					t.Errorf("%v", got)
				}
				e.finish([][2]string{{":status", c.status}, {"x-keywheel-key", "1"}}, c.body)
				if u := used(e.report()); len(u) != 0 {
					t.Errorf("it cost %v", u)
				}
			})
		})
	}
}

func TestWhatNeverGoesUpstream(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := start(t, vm, bundle(t, assignment()))
		for _, c := range []struct {
			name    string
			headers [][2]string
			status  uint32
			code    string
		}{
			{"another endpoint", [][2]string{{":method", "GET"}, {":path", "/v1/files"}}, 403, "endpoint_not_allowed"},
			{"another method", [][2]string{{":method", "DELETE"}, {":path", "/v1/models"}}, 403, "endpoint_not_allowed"},
			{"a path that climbs", [][2]string{{":method", "GET"}, {":path", "/v1/models/../files"}}, 403, "endpoint_not_allowed"},
			{"a path that climbs in disguise", [][2]string{{":method", "GET"}, {":path", "/v1/models/%2E%2e/files"}}, 403, "endpoint_not_allowed"},
			{"a path that half climbs in disguise", [][2]string{{":method", "GET"}, {":path", "/v1/models/.%2e/files"}}, 403, "endpoint_not_allowed"},
			{"a second pass", chat([2]string{"x-keywheel-hop", "1"}), 508, "loop_detected"},
		} {
			if e.call(c.headers, "") != types.ActionPause {
				t.Errorf("%s was let through", c.name)
			}
			if status, code := local(t, e, e.gate); status != c.status || code != c.code {
				t.Errorf("%s: %d %s", c.name, status, code)
			}
			e.end()
		}
		_ = e.host.SetProperty([]string{trail.Property}, []byte{0})
		if status, code := local(t, e, e.try()); status != 503 || code != "keywheel_gate_missing" {
			t.Errorf("without the gate: %d %s", status, code)
		}
		foreign := trail.Trail{Incarnation: "another process", Need: 1}
		_ = e.host.SetProperty([]string{trail.Property}, foreign.Append(nil))
		if status, code := local(t, e, e.try()); status != 503 || code != "keywheel_gate_missing" {
			t.Errorf("with another process's mark: %d %s", status, code)
		}
	})
}

func TestNoAssignmentYet(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		empty, err := proto.Marshal(&tlsv3.Secret{Name: "keywheel"})
		if err != nil {
			t.Fatal(err)
		}
		e := start(t, vm, empty)
		e.call(chat(), question)
		if status, code := local(t, e, e.gate); status != 503 || code != "no_assignment" {
			t.Errorf("%d %s", status, code)
		}
		if got := value(e.host.GetSentLocalResponse(e.gate).Headers, "retry-after"); got != "1" {
			t.Errorf("retry-after %q", got)
		}
	})
}

func TestAllKeysOut(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		for i := range a.Keys {
			a.Keys[i].Disabled = true
		}
		e := start(t, vm, bundle(t, a))
		e.call(chat(), question)
		if status, code := local(t, e, e.gate); status != 429 || code != "all_keys_exhausted" {
			t.Errorf("%d %s", status, code)
		}
		e.end()
		if g := gateUsage(e.report()); g.Refused != 1 || g.Requests != 1 {
			t.Errorf("%+v", g)
		}
	})
}

func TestTheLastKeys429TellsWhenToComeBack(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Keys[1].Disabled, a.Keys[2].Disabled = true, true
		e := start(t, vm, bundle(t, a))
		e.call(chat(), question)
		got := e.answer(e.try(), [][2]string{{":status", "429"}, {"retry-after", "500"}}, `{}`)
		if value(got, "x-keywheel-rotate") != "" || value(got, "x-should-retry") != "" || value(got, "retry-after") != "60" {
			t.Errorf("the disabled keys are asked again in a minute: %v", got)
		}
	})
}

func TestCutStreamsAreEstimated(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := start(t, vm, bundle(t, assignment()))
		body := `{"model":"llama","messages":[{"content":"` + strings.Repeat("x", 400) + `"}]}`
		e.call(chat(), body)
		e.answer(e.try(), [][2]string{{":status", "200"}, {"content-type", "text/event-stream"}}, "data: {}\n\n")
		e.host.CallOnResponseHeaders(e.gate, [][2]string{{":status", "200"}, {"content-type", "text/event-stream"}, {"x-keywheel-key", "1"}}, false)
		e.host.CallOnResponseBody(e.gate, []byte(strings.Repeat("data: {\"choices\":[]}\n\n", 7)), false)
		e.end()
		r := e.report()
		want := int64(len(body)/4 + 7)
		if got := used(r); got["1.1"] != want || len(r.Reserved) != 0 {
			t.Errorf("used %v, want %d; still reserved %v", got, want, r.Reserved)
		}
		if m := r.Windows[0].Credentials[0].Models[0]; m.Estimated != want {
			t.Errorf("not marked as an estimate: %+v", m)
		}
		if g := gateUsage(r); g.Cut != 1 {
			t.Errorf("%+v", g)
		}
	})
}

func TestABadAssignmentKeepsTheLastGoodOne(t *testing.T) {
	good := bundle(t, assignment())
	older, huge := assignment(), assignment()
	older.Generation--
	huge.Generation++
	huge.Policy.CallerHeader = strings.Repeat("x", 10<<20)
	empty, err := proto.Marshal(&tlsv3.Secret{Name: "keywheel"})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut":    good[:len(good)/2],
		"text":   []byte("not protobuf at all"),
		"empty":  empty,
		"older":  bundle(t, older),
		"10 MiB": bundle(t, huge),
		"another version": bundle(t, func() *protocol.Assignment {
			a := assignment()
			a.Version = 99
			return a
		}()),
	} {
		t.Run(name, func(t *testing.T) {
			vm := plugin.New()
			start(t, vm, good).stop()
			e := start(t, vm, bad)
			if e.call(chat(), question) != types.ActionContinue {
				t.Error("the last good assignment is gone")
			}
			if len(e.host.GetErrorLogs()) == 0 {
				t.Error("nothing was said")
			}
			for _, line := range e.host.GetErrorLogs() {
				if strings.Contains(line, "gsk_") {
					t.Error("a secret in the log")
				}
			}
			if r := e.report(); r.BadConfigs != 1 || r.Config != 7 {
				t.Errorf("%d bad configurations, generation %d", r.BadConfigs, r.Config)
			}
			e.stop()
			next := assignment()
			next.Generation++
			e = start(t, vm, bundle(t, next))
			if r := e.report(); r.Config != 8 {
				t.Errorf("the next good one is not taken: generation %d", r.Config)
			}
		})
	}
}

func TestAnswersRefillAllowances(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	r := e.report()
	window := time.UnixMilli(r.NowMS).UTC().Format(time.DateOnly)
	a := protocol.Answer{
		Version: protocol.Version, Epoch: 1, Generation: 9, Incarnation: r.Incarnation, NowMS: r.NowMS,
		Allowances: []protocol.Allowance{
			{Credential: "1.1", Window: window, Tokens: 0, Requests: protocol.Unlimited},
			{Credential: "2.1", Window: window, Tokens: 50, Requests: protocol.Unlimited},
		},
	}
	body, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	calls := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
	e.host.CallOnHttpCallResponse(calls[len(calls)-1].CalloutID, [][2]string{{":status", "200"}}, nil, body)
	e.call(chat(), question)
	if got := e.authorization(e.try()); got != "Bearer gsk_3" { // still fresh, with enough for the whole need
		t.Errorf("%q", got)
	}
	e.end()
	if got := e.report(); got.Generation != 9 || got.Seq <= r.Seq {
		t.Errorf("the next report acknowledges generation %d", got.Generation)
	}
}
