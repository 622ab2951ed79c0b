package istio

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"sigs.k8s.io/yaml"

	"keywheel/e2e/harness"
	"keywheel/e2e/testca"
)

// agent is what Istio's agent is to the Envoys of a mesh: it serves what was generated, and the certificates of their
// workloads.
type agent struct {
	addr  string
	ca    *meshCA
	groq  []byte // the authority of Groq's certificate, PEM: in place of the system's
	cache cachev3.SnapshotCache

	mu      sync.Mutex
	refused map[string]bool // what an Envoy did not take, and why
}

func startAgent(t *testing.T, groq *testca.CA) *agent {
	t.Helper()
	a := &agent{ca: newMeshCA(t), groq: groq.PEM, refused: map[string]bool{}, cache: cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = listener.Addr().String()
	server := serverv3.NewServer(t.Context(), a.cache, serverv3.CallbackFuncs{StreamRequestFunc: a.request})
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, server)
	secretv3.RegisterSecretDiscoveryServiceServer(g, server)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve xDS: %v", err)
		}
		for reason := range a.refused {
			t.Errorf("an Envoy refused what istiod generated: %s", reason)
		}
	})
	return a
}

func (a *agent) request(_ int64, r *discoveryv3.DiscoveryRequest) error {
	if detail := r.GetErrorDetail(); detail != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.refused[r.TypeUrl+": "+detail.Message] = true
	}
	return nil
}

// bootstrap makes the configuration that an Envoy of this workload starts from: the parts of Istio's own that matter
// here, and what the ConfigMap of a custom bootstrap adds, if there is one. The Envoy's identity is that of the service
// account that is named as its namespace.
func (a *agent) bootstrap(t *testing.T, namespace string, has resources, custom []document) harness.Bootstrap {
	t.Helper()
	node := namespace + "-0." + namespace
	has[resourcev3.SecretType] = a.secrets(t, namespace)
	snapshot, err := cachev3.NewSnapshot("1", has)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cache.SetSnapshot(context.Background(), node, snapshot); err != nil {
		t.Fatal(err)
	}
	ads := map[string]any{"ads": map[string]any{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	b := parsed(t, fmt.Sprintf(`
node: {id: %s, cluster: %s, metadata: {}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
static_resources: {}
`, node, namespace, port(harness.FreeAddr(t))))
	b["dynamic_resources"].(map[string]any)["cds_config"] = ads
	b["dynamic_resources"].(map[string]any)["lds_config"] = ads
	h2 := parsed(t, `envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
  "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
  explicit_http_config: {http2_protocol_options: {}}`)
	for _, name := range []string{"xds-grpc", "sds-grpc"} {
		b.AddCluster(t, name, a.addr)
		b.Cluster(t, name)["typed_extension_protocol_options"] = map[string]any(h2)
	}
	for _, d := range custom {
		var m struct {
			Data map[string]string `json:"data"`
		}
		if err := yaml.Unmarshal([]byte(d.text), &m); err != nil {
			t.Fatal(err)
		}
		if text := m.Data["custom_bootstrap.json"]; d.Kind == "ConfigMap" && text != "" {
			add := parsed(t, text)["static_resources"].(map[string]any)["clusters"].([]any)
			static := b["static_resources"].(map[string]any)
			static["clusters"] = append(static["clusters"].([]any), add...)
		}
	}
	return b
}

// parsed reads YAML.
func parsed(t *testing.T, text string) harness.Bootstrap {
	t.Helper()
	tree := harness.Bootstrap{}
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return tree
}

// secrets are what Istio's agent serves a workload by SDS.
func (a *agent) secrets(t *testing.T, namespace string) []types.Resource {
	t.Helper()
	cert, key := a.ca.issue(t, namespace, namespace)
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	trust := func(name string, pem []byte) *tlsv3.Secret {
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)}}}
	}
	return []types.Resource{
		&tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(cert), PrivateKey: inline(key),
		}}},
		trust("ROOTCA", a.ca.pem), trust("file-root:system", a.groq),
	}
}
