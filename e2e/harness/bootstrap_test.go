package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Fields get the names that envoy.yaml uses, and keys of maps, which are names of extensions, keep theirs.
func TestWithProtoNames(t *testing.T) {
	got := withProtoNames(map[string]any{
		"staticResources": map[string]any{"listeners": []any{map[string]any{"statPrefix": "camelCase stays"}}},
		"typedExtensionProtocolOptions": map[string]any{"envoy.v3.HttpProtocolOptions": map[string]any{
			"@type": "x", "http2ProtocolOptions": map[string]any{}, "already_so": true,
		}},
	})
	want := map[string]any{
		"static_resources": map[string]any{"listeners": []any{map[string]any{"stat_prefix": "camelCase stays"}}},
		"typed_extension_protocol_options": map[string]any{"envoy.v3.HttpProtocolOptions": map[string]any{
			"@type": "x", "http2_protocol_options": map[string]any{}, "already_so": true,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A bootstrap is changed where the test says, and nowhere else.
func TestBootstrapIsChanged(t *testing.T) {
	b := PlainProxy(t, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
	b.PointCluster(t, "groq", "127.0.0.1:4")
	b.AddCluster(t, "other", "127.0.0.1:5")
	b.PrependRoute(t, map[string]any{"route": map[string]any{"cluster": "other"}})
	for cluster, want := range map[string]string{"groq": "127.0.0.1:4", "other": "127.0.0.1:5"} {
		got, err := socketAddress(b.Cluster(t, cluster), "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address", "socket_address")
		if err != nil || got != want {
			t.Errorf("%s leads to %s, %v", cluster, got, err)
		}
	}
	if admin, err := b.adminAddr(); err != nil || admin != "127.0.0.1:2" {
		t.Errorf("admin at %s, %v", admin, err)
	}
	if routes := b.Routes(t); len(routes) != 2 || b.Route(t, "groq")["timeout"] != "0s" {
		t.Errorf("routes %v", routes)
	}
	if _, err := at(map[string]any(b), "static_resources", "clusters", 7); err == nil {
		t.Error("found a cluster that is not there")
	}
}
