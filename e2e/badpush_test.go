package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
)

// roles are the two ECDS resources.
var roles = []string{protocol.GateResource, protocol.AttemptResource}

// byFile is a push that an Envoy gets by files, which the test writes, in the place of the control plane's stream.
type byFile struct {
	dir   string
	order []string                      // in which the roles get theirs
	good  map[string]*wasmfilterv3.Wasm // as the control plane pushes them, by role
}

// fetchPush reads what the control plane pushes.
func fetchPush(t *testing.T, k *harness.Keywheel, dir string) *byFile {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+filepath.Join(k.Dir, "xds.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(harness.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "reader"}, TypeUrl: resourcev3.ExtensionConfigType, ResourceNames: roles})
	if err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	p := &byFile{dir: dir, order: slices.Clone(roles), good: map[string]*wasmfilterv3.Wasm{}}
	for _, r := range res.GetResources() {
		var config corev3.TypedExtensionConfig
		var filter wasmfilterv3.Wasm
		if err := r.UnmarshalTo(&config); err != nil {
			t.Fatal(err)
		}
		if err := config.GetTypedConfig().UnmarshalTo(&filter); err != nil {
			t.Fatal(err)
		}
		p.good[config.GetName()] = &filter
	}
	if len(p.good) != len(roles) {
		t.Fatalf("the control plane pushes %d resources", len(p.good))
	}
	return p
}

func (p *byFile) path(role string) string { return filepath.Join(p.dir, role+".pb") }

// push hands out a version whose configuration change has made of the good one.
func (p *byFile) push(t *testing.T, version string, change func(good []byte) []byte) {
	t.Helper()
	for _, role := range p.order {
		filter := proto.CloneOf(p.good[role])
		if c := filter.GetConfig().GetConfiguration(); change != nil {
			c.Value = change(c.GetValue())
		}
		inner, err := anypb.New(filter)
		if err != nil {
			t.Fatal(err)
		}
		outer, err := anypb.New(&corev3.TypedExtensionConfig{Name: role, TypedConfig: inner})
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(&discoveryv3.DiscoveryResponse{VersionInfo: version, TypeUrl: resourcev3.ExtensionConfigType, Resources: []*anypb.Any{outer}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.path(role)+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(p.path(role)+".new", p.path(role)); err != nil { // Envoy looks for this
			t.Fatal(err)
		}
	}
}

// use has a bootstrap get the filter's configuration from the files.
func (p *byFile) use(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if discovery, has := v["config_discovery"].(map[string]any); has {
			discovery["config_source"] = map[string]any{
				"resource_api_version": "V3", "path_config_source": map[string]any{"path": p.path(v["name"].(string))},
			}
		}
		for _, child := range v {
			p.use(t, child)
		}
	case []any:
		for _, child := range v {
			p.use(t, child)
		}
	}
}

// reassigned changes an assignment inside a configuration.
func reassigned(t *testing.T, config []byte, change func(assignment []byte) []byte) []byte {
	t.Helper()
	var s tlsv3.Secret
	if err := proto.Unmarshal(config, &s); err != nil {
		t.Fatal(err)
	}
	source := s.GetGenericSecret().GetSecrets()[protocol.AssignmentSecret]
	source.Specifier = &corev3.DataSource_InlineBytes{InlineBytes: change(append(source.GetInlineBytes(), source.GetInlineString()...))}
	b, err := proto.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever a real Envoy is pushed in the place of an assignment, cut, empty, of 10 MiB, of another version or older: no call
// fails, the last good one stays in force, the control plane shows that it was refused, and tells it. The next good one
// works.
func TestBadPushesKeepTheLastGoodOne(t *testing.T) {
	var p *byFile
	s := harness.Start(t, harness.Options{Settings: map[string]string{"KEYWHEEL_LOG_LEVEL": "debug"}})
	p = fetchPush(t, s.Keywheel, t.TempDir())
	p.push(t, "first", nil)
	s.Envoy.Terminate(t)
	p.use(t, map[string]any(s.Envoy.Bootstrap))
	s.Envoy.Start(t)
	s.Envoy.WaitAssigned(t)
	serves := func() {
		t.Helper()
		for version, c := range s.Clients() {
			if a := c.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
				t.Errorf("%s: %s", version, a)
			}
		}
	}
	serves()
	rejected := func() (n int64) {
		for _, x := range s.Keywheel.Proxies(t) {
			if x.Connected {
				n += x.Rejected
			}
		}
		return n
	}
	for i, bad := range []struct {
		name   string
		change func(good []byte) []byte
	}{
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"text", func([]byte) []byte { return []byte("no configuration at all") }},
		{"no bytes", func([]byte) []byte { return nil }},
		{"empty", func(b []byte) []byte { return b[:2+b[1]] }}, // the Secret's name alone
		{"another version", func(b []byte) []byte {
			return reassigned(t, b, func(a []byte) []byte { return bytes.Replace(a, []byte(`"v":1`), []byte(`"v":2`), 1) })
		}},
		{"10 MiB", func(b []byte) []byte {
			return reassigned(t, b, func(a []byte) []byte { return append(a[:len(a)-1], `,"x":"`+strings.Repeat("x", 10<<20)+`"}`...) })
		}},
		{"older", func(b []byte) []byte {
			return reassigned(t, b, func(a []byte) []byte { return bytes.Replace(a, []byte(`"epoch":`), []byte(`"epoch":1,"was":`), 1) })
		}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			before := rejected()
			p.push(t, bad.name, bad.change)
			if bad.name == "no bytes" { // are no configuration: nothing is refused, nothing changes
				serves()
				return
			}
			harness.Eventually(t, "the refusal is shown", func() error {
				if n := rejected(); n <= before {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			serves()
			p.push(t, fmt.Sprint("good", i), nil)
			serves()
		})
	}
	s.Keywheel.WaitLog(t, "Envoy refused the assignment; the last good one stays in force")
	// A push of the control plane's own, with another credential of key 1.
	generation := s.Keywheel.Clear(t, "1")
	p.good = fetchPush(t, s.Keywheel, p.dir).good
	p.push(t, "last", nil)
	s.Keywheel.WaitGranted(t, generation)
	serves()
	s.AssertOracle(t)
}
