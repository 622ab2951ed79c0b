package e2e

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
)

// bareHeader leads a call past Keywheel, where addBareRoute was there.
const bareHeader = "X-Bare"

// bare is a call on that way, with a key of its own.
func bare(s *harness.Stack, call harness.Call) harness.Call {
	const secret = "gsk_of_calls_past_keywheel"
	s.Groq.AddKey(fakegroq.Key{Secret: secret, Name: "bare"})
	header := http.Header{bareHeader: {"1"}, "Authorization": {"Bearer " + secret}}
	maps.Copy(header, call.Header)
	call.Header = header
	return call
}

// addBareRoute adds a way to Groq that differs from the one by Keywheel in nothing but that: there is no gate on it and no
// attempt. It is what a test compares with.
func addBareRoute(t *testing.T, b harness.Bootstrap) {
	t.Helper()
	const name = "bare"
	route := clone(t, groqRoute(t, b))
	delete(route, "typed_per_filter_config")
	route["name"] = name
	route["match"].(map[string]any)["headers"] = []any{map[string]any{"name": bareHeader, "present_match": true}}
	route["route"].(map[string]any)["cluster"] = name
	b.PrependRoute(t, route)

	cluster := clone(t, b.Cluster(t, "groq"))
	cluster["name"] = name
	cluster["load_assignment"].(map[string]any)["cluster_name"] = name
	for _, options := range cluster["typed_extension_protocol_options"].(map[string]any) {
		options := options.(map[string]any)
		all := options["http_filters"].([]any)
		rest := slices.DeleteFunc(slices.Clone(all), func(f any) bool { return f.(map[string]any)["name"] == protocol.AttemptResource })
		if len(rest) != len(all)-1 {
			t.Fatal("the cluster has no attempt")
		}
		options["http_filters"] = rest
	}
	static := b["static_resources"].(map[string]any)
	static["clusters"] = append(static["clusters"].([]any), cluster)
}

// assertUnharmed says that Envoy is the process that it was, and that no VM of the filter's ended, met a bug or was loaded
// again in it.
func assertUnharmed(t *testing.T, s *harness.Stack, was []harness.ProxyState) {
	t.Helper()
	if now := s.Keywheel.Proxies(t); len(was) != 1 || len(now) != 1 || now[0].Incarnation != was[0].Incarnation || now[0].Rejected != 0 {
		t.Errorf("Envoy was %+v and is %+v", was, now)
	}
	stats := s.Envoy.Stats(t, `keywheel\.panics$|^wasm\.keywheel\..*\.vm_reload`)
	if len(stats) < 2 {
		t.Errorf("Envoy does not tell of reloads: %v", stats)
	}
	for name, n := range stats {
		if n != 0 {
			t.Errorf("%s is %d", name, n)
		}
	}
}
