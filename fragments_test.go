package keywheel_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"keywheel"
	"keywheel/e2e/harness"
)

// parts are what of a configuration is Keywheel's, as data.
type parts struct {
	Node, Gate, Route, Groq, ControlPlane any
}

// named returns the one object below v that has this name and this field.
func named(t *testing.T, v any, name, field string) map[string]any {
	t.Helper()
	var found []map[string]any
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, has := v[field]; has && v["name"] == name {
				found = append(found, v)
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(v)
	if len(found) != 1 {
		t.Fatalf("there are %d times %s with %s, want one", len(found), name, field)
	}
	return found[0]
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func partsOf(t *testing.T, v any) parts {
	t.Helper()
	return parts{
		Node: v.(map[string]any)["node"], Gate: named(t, v, "keywheel.gate", "config_discovery"), Route: named(t, v, "groq", "match"),
		Groq: named(t, v, "groq", "load_assignment"), ControlPlane: named(t, v, "keywheel_control_plane", "load_assignment"),
	}
}

// TestFragmentsAreThoseOfEnvoyYAML: what README.md asks to paste is what envoy.yaml has, but for the route's path. A
// configuration of somebody else's may well have a /v1/ of its own, so only the path that is Groq's is taken there.
func TestFragmentsAreThoseOfEnvoyYAML(t *testing.T) {
	f := harness.ReadFragments(t)
	got := partsOf(t, map[string]any{
		"node": parse(t, f.Node).(map[string]any)["node"], "pasted": []any{parse(t, f.Gate), parse(t, f.Route), parse(t, f.Clusters)},
	})
	want := partsOf(t, parse(t, string(keywheel.EnvoyYAML)))
	route := got.Route.(map[string]any)
	if diff := cmp.Diff(map[string]any{"prefix": "/openai/v1/"}, route["match"]); diff != "" {
		t.Errorf("the route's match (-want +README.md)\n%s", diff)
	}
	route["match"] = want.Route.(map[string]any)["match"]
	route["route"].(map[string]any)["regex_rewrite"] = want.Route.(map[string]any)["route"].(map[string]any)["regex_rewrite"]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-envoy.yaml +README.md)\n%s", diff)
	}
}

// TestExamplesHaveThePartsOfEnvoyYAML: what is Keywheel's in the examples is what envoy.yaml has.
func TestExamplesHaveThePartsOfEnvoyYAML(t *testing.T) {
	want := partsOf(t, parse(t, string(keywheel.EnvoyYAML)))
	for _, example := range []string{"plain-envoy", "client-auth", "access-log"} {
		got := partsOf(t, parse(t, string(read(t, "examples/"+example+"/envoy.yaml"))))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-envoy.yaml +example)\n%s", example, diff)
		}
	}
}
