package istio

import (
	"encoding/json"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpwasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
)

// extensions are what istiod sends for the Wasm filters of a proxy's listener, by name.
func extensions(t *testing.T, istiod *xds.FakeDiscoveryServer, proxy *model.Proxy, listener string) map[string]*corev3.TypedExtensionConfig {
	t.Helper()
	var names []string
	for _, l := range istiod.Listeners(proxy) {
		if l.Name != listener {
			continue
		}
		for _, chain := range l.FilterChains {
			for _, f := range chain.Filters {
				if f.Name != "envoy.filters.network.http_connection_manager" {
					continue
				}
				editManager(t, f, func(m *hcmv3.HttpConnectionManager) {
					for _, h := range m.HttpFilters {
						if h.GetConfigDiscovery() != nil {
							names = append(names, h.Name)
						}
					}
				})
			}
		}
	}
	found := map[string]*corev3.TypedExtensionConfig{}
	for _, e := range istiod.ConfigGen.BuildExtensionConfiguration(proxy, istiod.PushContext(), names, nil) {
		found[e.Name] = e
	}
	if len(found) != len(names) {
		t.Fatalf("listener %s has the Wasm filters %v, of which istiod sends %d", listener, names, len(found))
	}
	return found
}

// TestWasmPlugin: the plugin that istiod makes is the role and the configuration that the filter knows, with the token
// from the proxy's environment and nowhere else.
func TestWasmPlugin(t *testing.T) {
	d := istiod(t, documents(t, nil, "keywheel.yaml", "groq.yaml", "wasmplugin.yaml"), neighbour)
	proxy := workload(d, model.SidecarProxy, "chat", map[string]string{"app": "chat", "groq": "keywheel-gate"})
	found := extensions(t, d, proxy, "0.0.0.0_80")
	if len(found) != 1 {
		t.Fatalf("want one, got %v", found)
	}
	filter := new(httpwasmv3.Wasm)
	for _, f := range found {
		if err := f.TypedConfig.UnmarshalTo(filter); err != nil {
			t.Fatal(err)
		}
	}
	plugin := filter.Config
	if plugin.RootId != "keywheel.gate_only" || plugin.FailurePolicy != wasmv3.FailurePolicy_FAIL_RELOAD {
		t.Errorf("root_id %q, %s", plugin.RootId, plugin.FailurePolicy)
	}
	text := new(wrapperspb.StringValue)
	if err := plugin.Configuration.UnmarshalTo(text); err != nil {
		t.Fatal(err)
	}
	var settings struct {
		ControlPlane string   `json:"control_plane"`
		Clusters     []string `json:"clusters"`
	}
	dec := json.NewDecoder(strings.NewReader(text.Value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&settings); err != nil || len(settings.Clusters) != 1 {
		t.Fatalf("%s: %v", text.Value, err)
	}
	made := map[string]bool{}
	for _, c := range d.Clusters(proxy) {
		made[c.Name] = true
	}
	for _, name := range append(settings.Clusters, settings.ControlPlane) {
		if !made[name] {
			t.Errorf("istiod makes no cluster %q", name)
		}
	}
	vm := plugin.GetVmConfig()
	env := vm.GetEnvironmentVariables()
	if keys := env.GetHostEnvKeys(); len(keys) != 1 || keys[0] != "KEYWHEEL_PROXY_TOKEN" {
		t.Errorf("from the environment it gets %v", keys)
	}
	for name := range env.GetKeyValues() {
		if name != "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION" {
			t.Errorf("%s stands in the configuration", name)
		}
	}
	if file := vm.GetCode().GetLocal().GetFilename(); file != "/opt/keywheel/keywheel.wasm" {
		t.Errorf("the module is %q", file)
	}
}

// TestOthersAreLeftAlone: pods without the labels, and those of other namespaces, get nothing of Keywheel's.
func TestOthersAreLeftAlone(t *testing.T) {
	d := istiod(t, documents(t, nil, "keywheel.yaml", "groq.yaml", "sidecar.yaml"), neighbour)
	for _, namespace := range []string{"chat", "shop"} {
		proxy := workload(d, model.SidecarProxy, namespace, map[string]string{"app": "chat"})
		if got := extensions(t, d, proxy, "0.0.0.0_80"); len(got) > 0 {
			t.Errorf("%s has %v", namespace, got)
		}
	}
}
