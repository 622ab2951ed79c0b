package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/envoycheck"
)

// mistakeHeader chooses the route with one mistake.
const mistakeHeader = "x-mistake"

// plantedRoute is what one mistake in the route to Groq comes to.
type plantedRoute struct {
	code   string // what check --envoy says of it
	change string // JSON that is laid over the route
	call   harness.Call
	seen   func(s *harness.Stack, a harness.Answer) bool
}

var plantedRoutes = []plantedRoute{
	{code: "num-retries-zero", change: `{"route":{"retry_policy":{"num_retries":0}}}`, seen: refusedByKey1},
	{code: "rotate-header-not-retriable", change: `{"route":{"retry_policy":{"retriable_headers":[]}}}`, seen: refusedByKey1},
	{code: "retriable-headers-not-in-retry", change: `{"route":{"retry_policy":{"retry_on":"reset"}}}`, seen: refusedByKey1},
	{code: "retry-policy-missing", change: `{"route":{"retry_policy":null}}`, seen: refusedByKey1},
	{code: "gate-not-enabled", change: `{"typed_per_filter_config":null}`,
		seen: func(_ *harness.Stack, a harness.Answer) bool {
			return a.Status == 503 && a.ErrorCode() == "keywheel_gate_missing"
		}},
	{code: "path-not-rewritten", change: `{"route":{"regex_rewrite":null}}`, call: harness.Call{Path: "/v1/chat/completions"},
		seen: func(_ *harness.Stack, a harness.Answer) bool { return a.Status == 404 }},
	{code: "body-buffer-small", change: `{"request_body_buffer_limit":null}`, call: harness.Call{Pad: 2 << 20},
		seen: func(_ *harness.Stack, a harness.Answer) bool { return a.Status != 200 }},
	{code: "key-header-removed", change: `{"response_headers_to_remove":["x-keywheel-rotate","x-keywheel-key"]}`,
		seen: func(_ *harness.Stack, a harness.Answer) bool { return a.Status == 200 && a.Key == "" }},
	{code: "accept-encoding-set", change: `{"request_headers_to_add":[{"header":{"key":"accept-encoding","value":"gzip"}}]}`,
		seen: func(_ *harness.Stack, a harness.Answer) bool { return a.Header.Get("content-encoding") == "gzip" }},
	{code: "per-try-timeout-short", change: `{"route":{"retry_policy":{"per_try_timeout":"0.3s","num_retries":1}}}`,
		call: harness.Call{Script: fakegroq.Rule{Fault: fakegroq.Hang}},
		seen: func(_ *harness.Stack, a harness.Answer) bool { return a.Status == 504 }},
}

// refusedByKey1 says that the client got what key 1 did, though key 2 could serve.
func refusedByKey1(_ *harness.Stack, a harness.Answer) bool { return a.Status == 429 && a.Key == "1" }

// lay lays a JSON object over another. Null takes a field away.
func lay(over, under map[string]any) map[string]any {
	laid := map[string]any{}
	for name, v := range under {
		laid[name] = v
	}
	for name, v := range over {
		inner, isObject := v.(map[string]any)
		below, _ := laid[name].(map[string]any)
		switch {
		case v == nil:
			delete(laid, name)
		case isObject:
			laid[name] = lay(inner, below)
		default:
			laid[name] = v
		}
	}
	return laid
}

// Whatever check --envoy calls wrong in a route to Groq is wrong: each mistake has a route of its own in one real Envoy, a call shows
// what comes of it, and the route without a mistake serves the same call.
func TestWhatCheckCallsWrongIsWrong(t *testing.T) {
	t.Parallel()
	var text []byte
	s := harness.Start(t, harness.Options{Keys: harness.Keys(2, 0), Bootstrap: func(b harness.Bootstrap) {
		good := b.Routes(t)[0].(map[string]any)
		for _, p := range plantedRoutes {
			var over map[string]any
			if err := json.Unmarshal([]byte(p.change), &over); err != nil {
				t.Fatal(err)
			}
			route := lay(over, good)
			route["name"] = p.code
			match := map[string]any{"headers": []any{map[string]any{"name": mistakeHeader, "string_match": map[string]any{"exact": p.code}}}}
			route["match"] = lay(match, good["match"].(map[string]any))
			b.PrependRoute(t, route)
		}
		var err error
		if text, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	}})
	said := envoycheck.Check(text)
	for _, p := range plantedRoutes {
		t.Run(p.code, func(t *testing.T) {
			var codes []string
			for _, f := range said.Findings {
				if strings.Contains(f.Place, `"`+p.code+`"`) {
					codes = append(codes, f.Code)
				}
			}
			if !slices.Equal(codes, []string{p.code}) {
				t.Errorf("check says %v", codes)
			}
			call := p.call
			call.Model = "of-" + p.code // what is learned of a key holds for a model
			if call.Script == (fakegroq.Rule{}) {
				call.Script = fakegroq.Rule{Only: "1", Fault: fakegroq.RateTPM}
			}
			call.Header = http.Header{mistakeHeader: {p.code}}
			if a := s.H1.Do(t, call); !p.seen(s, a) {
				t.Errorf("the mistake does not show: %s %v", a, a.Header)
			}
			if p.call.Script != (fakegroq.Rule{}) { // no key could serve it
				return
			}
			call.Header, call.Model = nil, "as-"+p.code
			if a := s.H1.Do(t, call); a.Status != 200 || a.Key != "2" || a.Header.Get("x-keywheel-rotate") != "" {
				t.Errorf("without the mistake: %s", a)
			}
		})
	}
	if len(said.Findings) != len(plantedRoutes) {
		t.Errorf("check says %d things of %d mistakes: %+v", len(said.Findings), len(plantedRoutes), said.Findings)
	}
}
