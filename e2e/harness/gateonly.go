package harness

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"keywheel/shared/protocol"
)

// Names as a mesh's control plane makes them.
const (
	WasmPluginFilter  = "keywheel.keywheel"
	IstioGroq         = "outbound|443||api.groq.com"
	IstioControlPlane = "outbound|18000||keywheel.keywheel.svc.cluster.local"
)

// GateOnly makes it the configuration of an Envoy without upstream filters: a gate alone on the routes that had a gate, and
// no retries.
func (b Bootstrap) GateOnly(t testing.TB) {
	t.Helper()
	gate := b.gateAlone(t)
	gate["name"] = protocol.GateOnlyResource
	for _, object := range objects(gate, "root_id") {
		object["name"], object["root_id"] = protocol.GateOnlyResource, protocol.GateOnlyResource
	}
	for _, perRoute := range objects(b.ConnectionManager(t), protocol.GateResource) {
		perRoute[protocol.GateOnlyResource] = perRoute[protocol.GateResource]
		delete(perRoute, protocol.GateResource)
	}
}

// WasmPlugin makes it what a mesh's control plane hands out for a plugin that is a gate alone, as README.md has it: nothing
// of Keywheel's by xDS, the plugin's configuration is JSON, request headers cannot wait, and the clusters' names are Istio's.
func (b Bootstrap) WasmPlugin(t testing.TB) {
	t.Helper()
	gate := b.gateAlone(t)
	code := objects(gate, "vm_config")[0]["vm_config"].(map[string]any)["code"]
	for name := range gate {
		delete(gate, name)
	}
	config := pluginOfREADME(t)
	config["vm_config"].(map[string]any)["code"] = code
	gate["name"] = WasmPluginFilter
	gate["typed_config"] = map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": config}
	for _, route := range objects(b.ConnectionManager(t), "typed_per_filter_config") {
		delete(route, "typed_per_filter_config")
	}
	b.Route(t, "groq")["cluster"] = IstioGroq
	b.renameCluster(t, "groq", IstioGroq)
	b.renameCluster(t, protocol.ControlPlaneCluster, IstioControlPlane)
}

// pluginOfREADME is the one block of README.md that configures a gate alone.
func pluginOfREADME(t testing.TB) map[string]any {
	t.Helper()
	var found []map[string]any
	for i, block := range strings.Split(ReadFile(t, "README.md").Text, "```") {
		body, isYAML := strings.CutPrefix(block, "yaml\n")
		if i%2 == 0 || !isYAML || !strings.Contains(body, "root_id: "+protocol.GateOnlyResource) {
			continue
		}
		config := map[string]any{}
		if err := yaml.Unmarshal([]byte(body), &config); err != nil {
			t.Fatal(err)
		}
		found = append(found, config)
	}
	if len(found) != 1 {
		t.Fatalf("README.md configures a gate alone %d times", len(found))
	}
	return found[0]
}

// gateAlone takes the attempt and the retries away, and returns the gate's filter.
func (b Bootstrap) gateAlone(t testing.TB) map[string]any {
	t.Helper()
	options := b.Cluster(t, "groq")
	for _, object := range objects(options, "http_filters") {
		delete(object, "http_filters")
	}
	delete(b.Route(t, "groq"), "retry_policy")
	for _, f := range b.ConnectionManager(t)["http_filters"].([]any) {
		if filter := f.(map[string]any); filter["name"] == protocol.GateResource {
			return filter
		}
	}
	t.Fatal("the bootstrap has no gate")
	return nil
}

func (b Bootstrap) renameCluster(t testing.TB, from, to string) {
	t.Helper()
	cluster := b.Cluster(t, from)
	cluster["name"] = to
	cluster["load_assignment"].(map[string]any)["cluster_name"] = to
}

// AddFilterBehind puts an HTTP filter right behind the one of this name.
func (b Bootstrap) AddFilterBehind(t testing.TB, name string, filter map[string]any) {
	t.Helper()
	manager := b.ConnectionManager(t)
	var filters []any
	for _, f := range manager["http_filters"].([]any) {
		filters = append(filters, f)
		if f.(map[string]any)["name"] == name {
			filters = append(filters, filter)
		}
	}
	manager["http_filters"] = filters
}
