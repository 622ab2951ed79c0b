package istio

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpwasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
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
	d := istiod(t, documents(t, nil, "keywheel.yaml", "groq.yaml", "wasmplugin.yaml"), split(t, neighbour))
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
	if plugin.RootId != protocol.GateOnlyResource || plugin.FailurePolicy != wasmv3.FailurePolicy_FAIL_RELOAD {
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
	if keys := env.GetHostEnvKeys(); len(keys) != 1 || keys[0] != protocol.ProxyTokenVariable {
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

// pod is where Keywheel's Service leads to, as Kubernetes knows it: a pod of the mesh.
const pod = `
apiVersion: v1
kind: Pod
metadata:
  name: keywheel-0
  namespace: keywheel
  labels: {app: keywheel, security.istio.io/tlsMode: istio}
spec: {serviceAccountName: keywheel}
status:
  phase: Running
  podIP: 127.0.0.1
  podIPs: [{ip: 127.0.0.1}]
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keywheel-0, namespace: keywheel, labels: {kubernetes.io/service-name: keywheel}}
addressType: IPv4
endpoints:
- addresses: [127.0.0.1]
  conditions: {ready: true}
  targetRef: {kind: Pod, name: keywheel-0, namespace: keywheel}
ports: [{name: tcp-xds, port: 18000, protocol: TCP}]
`

// TestWasmPluginRotates: what the plugin can do is to take another key for the next call. It fetches its keys through both
// sidecars, by the cluster that istiod makes of Keywheel's Service.
func TestWasmPluginRotates(t *testing.T) {
	token := "CANARY" + rand.Text() + rand.Text()
	in := install(t, map[string]string{protocol.ProxyTokenVariable: token})
	docs := documents(t, in.addresses, "keywheel.yaml", "groq.yaml", "wasmplugin.yaml")
	d := istiod(t, docs, split(t, neighbour), split(t, strings.NewReplacer(in.addresses...).Replace(pod)))
	proxy := workload(d, model.SidecarProxy, "chat", map[string]string{"app": "chat", "groq": "keywheel-gate"})
	has := generated(t, d, proxy, map[string]string{"0.0.0.0_80": in.app}, map[string]string{
		"outbound|80||api.groq.com":      in.stack.Groq.Addr(),
		"outbound|80||neighbour.example": startNeighbour(t),
	})
	for _, e := range extensions(t, d, proxy, "0.0.0.0_80") {
		has[resourcev3.ExtensionConfigType] = append(has[resourcev3.ExtensionConfigType], e)
	}
	e := harness.NewEnvoy(t, in.agent.bootstrap(t, "chat", has, nil))
	e.Env = map[string]string{protocol.ProxyTokenVariable: token}
	e.Start(t)
	s := &in.stack
	s.Keywheel.WaitGranted(t, 0)
	if proxies := s.Keywheel.Proxies(t); len(proxies) != 1 || proxies[0].Mode != protocol.ModeGateOnly {
		t.Errorf("Keywheel knows the proxies %+v", proxies)
	}

	s.Script(t, "1", fakegroq.Rule{Fault: fakegroq.RateTPM})
	a := s.H1.Do(t, harness.Call{Path: "/v1/chat/completions"})
	if a.Status != http.StatusTooManyRequests || a.Key != "1" || a.Header.Get("x-should-retry") != "true" {
		t.Fatalf("want Groq's 429 with the advice to come again, got %s %v", a, a.Header)
	}
	for range 4 { // on either worker
		if a := s.H1.Do(t, harness.Call{}); a.Status != http.StatusOK || a.Key != "2" {
			t.Fatalf("then: %s", a)
		}
	}
	if a := s.H1.Do(t, harness.Call{Path: "/openai/v1/files"}); a.Status != http.StatusForbidden || a.ErrorCode() != "endpoint_not_allowed" {
		t.Errorf("files: want 403 endpoint_not_allowed, got %s", a)
	}
	s.AssertOracle(t)
	in.leavesTheNeighbourAlone(t)
	harness.AssertNoSecret(t, append(s.Secrets(), token), harness.Blob{Name: "config_dump", Data: e.AdminGet(t, "/config_dump?include_eds")},
		harness.Blob{Name: "Envoy's log", Data: e.Log()})
}

// TestOthersAreLeftAlone: pods without the labels, and those of other namespaces, get nothing of Keywheel's.
func TestOthersAreLeftAlone(t *testing.T) {
	d := istiod(t, documents(t, nil, "keywheel.yaml", "groq.yaml", "sidecar.yaml"), split(t, neighbour))
	for _, namespace := range []string{"chat", "shop"} {
		proxy := workload(d, model.SidecarProxy, namespace, map[string]string{"app": "chat"})
		if got := extensions(t, d, proxy, "0.0.0.0_80"); len(got) > 0 {
			t.Errorf("%s has %v", namespace, got)
		}
	}
}
