package snapshot_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"keywheel"
	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/envoy"
	"keywheel/xds/snapshot"
)

// input is a state with n keys.
func input(n int) snapshot.Input {
	in := snapshot.Input{
		Assignment: protocol.Assignment{
			Version: protocol.Version, Epoch: 1, Generation: 1, Policy: protocol.Policy{Strategy: "priority", ReportIntervalMS: 1000},
		},
		Secrets:  map[protocol.CredentialID]secret.Key{},
		Token:    secret.New("CANARY_token"),
		WasmPath: "/x/keywheel.wasm",
	}
	for i := range n {
		id := fmt.Sprint(i + 1)
		in.Assignment.Keys = append(in.Assignment.Keys, protocol.Key{ID: id, Credential: id + ".1"})
		in.Secrets[id+".1"] = secret.New("gsk_CANARY_" + id)
	}
	return in
}

func build(t *testing.T, in snapshot.Input) *cachev3.Snapshot {
	t.Helper()
	s, err := snapshot.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bundle returns what the filter gets in its role.
func bundle(t *testing.T, s *cachev3.Snapshot, role string) protocol.Bundle {
	t.Helper()
	extension, ok := s.GetResources(resourcev3.ExtensionConfigType)[role].(*corev3.TypedExtensionConfig)
	if !ok {
		t.Fatalf("no resource %s", role)
	}
	filter := &wasmfilterv3.Wasm{}
	if err := extension.GetTypedConfig().UnmarshalTo(filter); err != nil {
		t.Fatal(err)
	}
	configuration := filter.GetConfig().GetConfiguration()
	if !strings.HasSuffix(configuration.GetTypeUrl(), "/envoy.extensions.transport_sockets.tls.v3.Secret") {
		t.Errorf("the configuration of %s is a %s", role, configuration.GetTypeUrl())
	}
	b, err := protocol.ParseBundle(configuration.GetValue())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheSameStateHasTheSameVersion(t *testing.T) {
	want := snapshot.Version(build(t, input(20)))
	for range 20 { // maps come in another order each time
		if got := snapshot.Version(build(t, input(20))); got != want {
			t.Fatalf("%s, then %s", want, got)
		}
	}
	for name, change := range map[string]func(*snapshot.Input){
		"secret":     func(in *snapshot.Input) { in.Secrets["3.1"] = secret.New("gsk_other") },
		"token":      func(in *snapshot.Input) { in.Token = secret.New("other") },
		"module":     func(in *snapshot.Input) { in.WasmPath = "/x/other.wasm" },
		"generation": func(in *snapshot.Input) { in.Assignment.Generation++ },
		"limit":      func(in *snapshot.Input) { in.Assignment.Keys[1].LimitTokens = 5 },
		"a key less": func(in *snapshot.Input) { in.Assignment.Keys = in.Assignment.Keys[1:] },
	} {
		in := input(20)
		change(&in)
		if snapshot.Version(build(t, in)) == want {
			t.Errorf("another %s does not change the version", name)
		}
	}
	in := input(20)
	in.Secrets["99.1"] = secret.New("gsk_of_nobody")
	if snapshot.Version(build(t, in)) != want {
		t.Error("a secret that the assignment does not name is pushed")
	}
}

func TestWhatEachRoleGets(t *testing.T) {
	in := input(3)
	in.Assignment.Keys[2].Disabled = true
	delete(in.Secrets, "3.1")
	s := build(t, in)
	text, err := json.Marshal(in.Assignment)
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.Bundle{protocol.AssignmentSecret: text, protocol.TokenSecret: []byte("CANARY_token")}
	if diff := cmp.Diff(want, bundle(t, s, protocol.GateResource)); diff != "" {
		t.Error(diff)
	}
	want["1.1"], want["2.1"] = []byte("gsk_CANARY_1"), []byte("gsk_CANARY_2")
	for _, role := range []string{protocol.AttemptResource, protocol.GateOnlyResource} {
		if diff := cmp.Diff(want, bundle(t, s, role)); diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	fetched, err := snapshot.GateOnly(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := protocol.ParseBundle(fetched); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("what a gate alone fetches: %v, %s", err, cmp.Diff(want, got))
	}
}

func TestAnAssignmentThatFiltersWouldRefuseIsNotPushed(t *testing.T) {
	for name, spoil := range map[string]func(*protocol.Assignment){
		"no generation":     func(a *protocol.Assignment) { a.Generation = 0 },
		"another version":   func(a *protocol.Assignment) { a.Version++ },
		"a key twice":       func(a *protocol.Assignment) { a.Keys = append(a.Keys, a.Keys[0]) },
		"a credential only": func(a *protocol.Assignment) { a.Keys[0].ID = "" },
	} {
		in := input(2)
		spoil(&in.Assignment)
		if _, err := snapshot.Build(in); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretMayHoldAnyBytes(t *testing.T) {
	in := input(1)
	in.Secrets["1.1"] = secret.New("gsk_\xff\x00")
	if got := bundle(t, build(t, in), protocol.AttemptResource)["1.1"]; string(got) != "gsk_\xff\x00" {
		t.Errorf("%q", got)
	}
}

func TestAKeyWithoutItsSecretIsRefused(t *testing.T) {
	in := input(3)
	delete(in.Secrets, "2.1")
	_, err := snapshot.Build(in)
	if err == nil || !strings.Contains(err.Error(), "credential 2.1") || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

// TestEnvoyYAMLHasTheSameFilters: with another vm_config Envoy would put the pushed roles into another VM than the
// default ones.
func TestEnvoyYAMLHasTheSameFilters(t *testing.T) {
	b, err := envoy.Parse(keywheel.EnvoyYAML)
	if err != nil {
		t.Fatal(err)
	}
	for name, filter := range filters(t, b) {
		got := &wasmfilterv3.Wasm{}
		discovery := filter.GetConfigDiscovery()
		if err := discovery.GetDefaultConfig().UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		path := got.GetConfig().GetVmConfig().GetCode().GetLocal().GetFilename()
		want := snapshot.Filter(name, path, got.GetConfig().GetConfiguration())
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		empty, err := protocol.ParseBundle(got.GetConfig().GetConfiguration().GetValue())
		if err != nil || len(empty) != 0 {
			t.Errorf("%s: the default configuration holds %v, %v", name, empty, err)
		}
		source := discovery.GetConfigSource().GetApiConfigSource()
		if source == nil || source.GetGrpcServices()[0].GetEnvoyGrpc().GetClusterName() != protocol.ControlPlaneCluster || !discovery.GetApplyDefaultConfigWithoutWarming() {
			t.Errorf("%s: %v", name, discovery.GetConfigSource())
		}
	}
}

// filters returns the two roles' filters of envoy.yaml.
func filters(t *testing.T, b *bootstrapv3.Bootstrap) map[string]*hcmv3.HttpFilter {
	t.Helper()
	manager, options := &hcmv3.HttpConnectionManager{}, &httpv3.HttpProtocolOptions{}
	static := b.GetStaticResources()
	unpack := func(a *anypb.Any, m proto.Message) {
		if err := a.UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
	}
	unpack(static.GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), manager)
	unpack(static.GetClusters()[0].GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"], options)
	found := map[string]*hcmv3.HttpFilter{}
	for _, f := range append(manager.GetHttpFilters(), options.GetHttpFilters()...) {
		if f.GetConfigDiscovery() != nil {
			found[f.GetName()] = f
		}
	}
	if found[protocol.GateResource] == nil || found[protocol.AttemptResource] == nil || len(found) != 2 {
		t.Fatalf("filters by ECDS: %v", found)
	}
	if !found[protocol.GateResource].GetDisabled() {
		t.Error("the gate is not disabled where no route enables it")
	}
	return found
}
