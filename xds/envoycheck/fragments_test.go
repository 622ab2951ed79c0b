package envoycheck

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"keywheel"
)

// TestWhatToWriteIsWhatTheFileHas holds every larger fragment to envoy.yaml, so that nobody is told to write something else.
func TestWhatToWriteIsWhatTheFileHas(t *testing.T) {
	root, err := parse(keywheel.EnvoyYAML)
	if err != nil {
		t.Fatal(err)
	}
	var objects []string
	root.walk(func(_ string, v value) {
		if len(v.entries()) > 0 {
			objects = append(objects, v.canonical())
		}
	})
	part := func(v value) bool {
		want := v.canonical()
		for _, have := range objects {
			if have == want {
				return true
			}
		}
		return false
	}
	for name, fragment := range map[string]string{
		"gate": fragmentGate, "attempt": fragmentAttempt, "codec": fragmentCodec, "gate on": fragmentGateOn, "control plane": fragmentControlPlane,
		"http2": fragmentHTTP2Indented, "retry": fragmentRetry, "breakers": fragmentBreakers, "tls": fragmentTLS, "rewrite": fragmentRewrite,
	} {
		doc := &yaml.Node{}
		if err := yaml.Unmarshal([]byte(fragment), doc); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, v := range append(valueOf(doc).items(), valueOf(doc)) {
			switch {
			case v.node.Kind == yaml.SequenceNode:
			case name == "http2" || len(v.entries()) == 1: // a field: its value stands there
				if !part(v.entries()[0].value) {
					t.Errorf("%s is not in envoy.yaml:\n%s", name, fragment)
				}
			case !part(v):
				t.Errorf("%s is not in envoy.yaml:\n%s", name, fragment)
			}
		}
	}
	for _, role := range []string{"keywheel.gate", "keywheel.attempt"} {
		if defaults := fragmentDefaults(role); !strings.Contains(indent(0, defaults), "root_id: "+role) {
			t.Errorf("%s:\n%s", role, defaults)
		}
	}
}
