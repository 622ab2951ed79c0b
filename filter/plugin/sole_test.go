package plugin_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/plugin"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

// alone begins a client call at a gate alone.
func (e *envoy) alone(headers [][2]string, body string) types.Action {
	e.t.Helper()
	e.gate = e.host.InitializeHttpContext()
	action := e.host.CallOnRequestHeaders(e.gate, headers, body == "")
	if body == "" || e.host.GetSentLocalResponse(e.gate) != nil {
		return action
	}
	return e.host.CallOnRequestBody(e.gate, []byte(body), true)
}

// tell sets what the host says of the stream: how it was answered, and how often the router tried.
func (e *envoy) tell(details string, tries uint64) {
	e.t.Helper()
	for path, v := range map[[2]string][]byte{
		{"response", "code_details"}: []byte(details), {"upstream", "request_attempt_count"}: binary.LittleEndian.AppendUint64(nil, tries),
	} {
		if err := e.host.SetProperty(path[:], v); err != nil {
			e.t.Fatal(err)
		}
	}
}

// replied passes an upstream's answer by the gate alone, ends the call, and returns the answer's headers as the client has
// them.
func (e *envoy) replied(headers [][2]string, pieces ...string) [][2]string {
	e.t.Helper()
	e.tell("via_upstream", 1)
	if e.host.CallOnResponseHeaders(e.gate, headers, len(pieces) == 0) != types.ActionContinue {
		e.t.Fatal("an answer's headers are held")
	}
	for i, p := range pieces {
		if e.host.CallOnResponseBody(e.gate, []byte(p), i == len(pieces)-1) != types.ActionContinue {
			e.t.Fatal("an answer's body is held")
		}
	}
	got := e.host.GetCurrentResponseHeaders(e.gate)
	e.end()
	return got
}

// secret is the one that the call in hand goes with.
func (e *envoy) secret() string {
	return strings.TrimPrefix(e.authorization(e.gate), "Bearer ")
}

func TestAGateAloneServesAndReports(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Policy.LoopGuard, a.Policy.Demo, a.Policy.CallerHeader = true, true, "x-team"
		e := startAs(t, vm, protocol.GateOnlyResource, bundle(t, a))
		_ = e.host.SetProperty([]string{trail.Property}, []byte{0})
		if e.alone(chat([2]string{"authorization", "Bearer mine"}, [2]string{"cookie", "c"}, [2]string{"x-team", "red"}), question) != types.ActionContinue {
			t.Fatal("not admitted")
		}
		sent := e.host.GetCurrentRequestHeaders(e.gate)
		e.want("the key", e.secret(), "gsk_1")
		e.want("the mark against loops", value(sent, "x-keywheel-hop"), "1")
		e.want("a cookie", value(sent, "cookie"), "")
		got := e.replied(append([][2]string{{"x-keywheel-key", "9"}, {"x-keywheel-refused", "out"}, {"set-cookie", "a=b"}}, ok...), reply[:20], reply[20:])
		e.want("who served it", value(got, "x-keywheel-key"), "1")
		e.want("the demo's mark", value(got, "x-keywheel-demo"), "true")
		e.want("what another Keywheel could say", value(got, "x-keywheel-refused")+value(got, "set-cookie"), "")
		r := e.report()
		if u := used(r); u["1.1"] != 100 || len(u) != 1 || len(r.Reserved) != 0 {
			t.Errorf("used %v, reserved %v", u, r.Reserved)
		}
		if g := gateUsage(r); g.Requests != 1 || g.Succeeded != 1 {
			t.Errorf("%+v", g)
		}
		if r.Mode != protocol.ModeGateOnly || r.Config != 7 {
			t.Errorf("mode %q, config %d", r.Mode, r.Config)
		}
		if c := r.Windows[0].Callers; len(c) != 1 || c[0].Total != 100 {
			t.Errorf("callers %+v", c)
		}
		if got := strings.Join(e.host.GetInfoLogs(), "\n"); strings.Count(got, "is not tried with another") != 1 {
			t.Errorf("what it cannot do is not said once: %s", got)
		}
		if mark, err := e.host.GetProperty([]string{trail.Property}); err != nil || len(mark) != 1 {
			t.Errorf("it left a trail: %q, %v", mark, err)
		}
	})
}

// A call that fails with its key reaches the client, who is told that another try can help; the next call takes another key.
func TestAGateAloneLearnsForTheNextCall(t *testing.T) {
	const (
		limited  = `{"error":{"message":"Rate limit reached for model x in organization y on tokens per minute (TPM): Limit 1, Used 1, Requested 1. Please try again in 20s.","type":"tokens","code":"rate_limit_exceeded"}}`
		tooLarge = `{"error":{"message":"Request too large for model x on output tokens per minute (OTPM): Limit 1000, Requested 2512.","type":"tokens","code":"rate_limit_exceeded"}}`
	)
	problem := func(code string) string {
		return `{"error":{"message":"m","type":"invalid_request_error","code":"` + code + `"}}`
	}
	for name, c := range map[string]struct {
		status, retryAfter, body string
		next                     string // the key of the next call
		again                    string // x-should-retry
		failed                   int64  // not the caller's fault
		wasm                     bool
	}{
		"429":             {"429", "20", limited, "gsk_2", "true", 1, false},
		"429 by its body": {"429", "", limited, "gsk_2", "true", 1, true},
		"401":             {"401", "", problem("invalid_api_key"), "gsk_2", "true", 1, false},
		"400 restricted":  {"400", "", problem("organization_restricted"), "gsk_2", "", 1, true},
		"400 spend limit": {"400", "", problem("spend_limit_reached"), "gsk_2", "", 1, false},
		"403 permissions": {"403", "", `{"error":{"message":"m","type":"permissions_error","code":"model_permission_blocked_org"}}`, "gsk_2", "", 1, false},
		"500":             {"500", "", ``, "gsk_1", "true", 1, false},
		"too large":       {"429", "", tooLarge, "gsk_1", "true", 1, false}, // the headers left before the body said so
		"400":             {"400", "", problem("invalid"), "gsk_1", "", 0, false},
		"404":             {"404", "", problem("model_not_found"), "gsk_1", "", 0, false},
		"a page":          {"403", "", "<html>", "gsk_1", "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			goOr(t, c.wasm, func(t *testing.T, vm types.VMContext) {
				e := startAs(t, vm, protocol.GateOnlyResource, bundle(t, assignment()))
				e.alone(chat(), question)
				headers := [][2]string{{":status", c.status}, {"content-type", "application/json"}}
				if c.retryAfter != "" {
					headers = append(headers, [2]string{"retry-after", c.retryAfter}, [2]string{"x-should-retry", "false"})
				}
				var pieces []string
				for b := c.body; b != ""; b = b[min(7, len(b)):] {
					pieces = append(pieces, b[:min(7, len(b))])
				}
				got := e.replied(headers, pieces...)
				e.want("who failed", value(got, "x-keywheel-key"), "1")
				e.want("another try", value(got, "x-should-retry"), c.again)
				e.want("no rotation inside the call", value(got, "x-keywheel-rotate"), "")
				if c.status == "429" {
					e.want("when to come back", value(got, "retry-after"), "1")
				}
				e.alone(chat(), question)
				e.want("the next call", e.secret(), c.next)
				e.end()
				r := e.report()
				if g := gateUsage(r); g.Failed != c.failed || g.CallerFaults != 1-c.failed || g.Rescues != 0 {
					t.Errorf("%+v", g)
				}
				if u := used(r); u["1.1"] > int64(len(question)/4) || len(r.Reserved) != 0 {
					t.Errorf("used %v, reserved %v", u, r.Reserved)
				}
			})
		})
	}
}

func TestTheLastKeyOfAGateAlone(t *testing.T) {
	a := assignment()
	a.Keys[1].Disabled, a.Keys[2].Disabled = true, true
	e := startAs(t, plugin.New(), protocol.GateOnlyResource, bundle(t, a))
	e.alone(chat(), question)
	got := e.replied([][2]string{{":status", "429"}, {"retry-after", "500"}}, `{}`)
	e.want("the disabled keys are asked again in a minute", value(got, "retry-after")+value(got, "x-should-retry"), "60")
	if e.alone(chat(), question) != types.ActionPause {
		t.Fatal("sent to a key that cools down")
	}
	if got := e.said(e.gate); !strings.HasPrefix(got, `429 all_keys_exhausted "60"`) {
		t.Error(got)
	}
}

// What was learned of an error counts though its body never ends, or is longer than is read.
func TestAGateAloneReadsAsFarAsItGets(t *testing.T) {
	for name, tail := range map[string]string{"cut": "", "long": strings.Repeat(" ", 70<<10)} {
		t.Run(name, func(t *testing.T) {
			e := startAs(t, plugin.New(), protocol.GateOnlyResource, bundle(t, assignment()))
			e.alone(chat(), question)
			e.tell("via_upstream", 1)
			e.host.CallOnResponseHeaders(e.gate, [][2]string{{":status", "400"}, {"content-type", "application/json"}}, false)
			e.host.CallOnResponseBody(e.gate, []byte(`{"error":{"code":"organization_restricted"}}`+tail), false)
			if tail != "" {
				e.host.CallOnResponseBody(e.gate, []byte(tail), false)
			}
			e.end()
			e.alone(chat(), question)
			e.want("the next call", e.secret(), "gsk_2")
			e.end()
		})
	}
}

func TestWhatACallWithoutAnAnswerCostsAGateAlone(t *testing.T) {
	lost := int64(len(question) / 4)
	for name, c := range map[string]struct {
		details string
		tries   uint64
		class   string // of the attempt; empty: there was none
		used    int64
	}{
		"another filter answered":   {"rbac_access_denied_matched_policy[none]", 0, "", 0},
		"reset":                     {"upstream_reset_before_response_started{connection_termination}", 2, "reset", lost},
		"never connected":           {"upstream_reset_before_response_started{connection_failure}", 2, "connect", 0},
		"the client went away":      {"downstream_remote_disconnect", 1, "caller", lost},
		"before the router was met": {"downstream_remote_disconnect", 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := startAs(t, plugin.New(), protocol.GateOnlyResource, bundle(t, assignment()))
			e.alone(chat(), question)
			e.tell(c.details, c.tries)
			e.host.CallOnResponseHeaders(e.gate, [][2]string{{":status", "503"}}, true)
			e.want("who served it", value(e.host.GetCurrentResponseHeaders(e.gate), "x-keywheel-key"), "")
			e.end()
			r := e.report()
			attempts := map[string]int64{}
			for _, w := range r.Windows {
				for _, u := range w.Credentials {
					attempts = u.Attempts
				}
			}
			if u := used(r); u["1.1"] != c.used || len(r.Reserved) != 0 {
				t.Errorf("used %v, reserved %v", u, r.Reserved)
			}
			if c.class == "" && len(attempts) != 0 || c.class != "" && (attempts[c.class] != 1 || len(attempts) != 1) {
				t.Errorf("attempts %v", attempts)
			}
		})
	}
}

// A gate alone takes what a call needs at once: two calls never share the same tokens.
func TestAGateAloneReserves(t *testing.T) {
	a := assignment()
	a.Policy.RequiredTokens = 6000
	e := startAs(t, plugin.New(), protocol.GateOnlyResource, bundle(t, a))
	for _, want := range []string{"gsk_1", "gsk_2", "gsk_3"} {
		e.alone(chat(), question)
		e.want("a call in flight", e.secret(), want)
	}
	if e.alone(chat(), question) != types.ActionPause {
		t.Fatal("the fourth was let through")
	}
	if got := e.said(e.gate); !strings.HasPrefix(got, `429 keys_busy "1"`) {
		t.Error(got)
	}
}
