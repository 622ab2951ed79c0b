package istio

import (
	"net"
	"strconv"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
)

// istiosOwn are the filters that only Istio's build of Envoy knows. Another one that this Envoy does not know makes it
// refuse the configuration, and the test fail.
var istiosOwn = map[string]bool{"istio.metadata_exchange": true, "istio.alpn": true, "istio.stats": true}

// resources are what a proxy gets, by type.
type resources map[string][]types.Resource

// generated is what istiod generates for a proxy, without istiosOwn. Of the listeners only those in listen are left:
// each by its name, at the address given, as if iptables led there. Addresses of clusters are changed by their names.
func generated(t *testing.T, istiod *xds.FakeDiscoveryServer, proxy *model.Proxy, listen, moved map[string]string) resources {
	t.Helper()
	all := resources{}
	for _, l := range istiod.Listeners(proxy) {
		if at, ok := listen[l.Name]; ok {
			l = proto.Clone(l).(*listenerv3.Listener)
			l.Address, l.BindToPort = address(t, at), nil
			withoutIstios(t, l)
			all[resourcev3.ListenerType] = append(all[resourcev3.ListenerType], l)
		}
	}
	if len(all[resourcev3.ListenerType]) != len(listen) {
		t.Fatalf("istiod generates other listeners than %v", listen)
	}
	for _, c := range istiod.Clusters(proxy) {
		c.Filters = nil // all are Istio's own
		if to, ok := moved[c.Name]; ok {
			move(t, c, to)
			delete(moved, c.Name)
		}
		all[resourcev3.ClusterType] = append(all[resourcev3.ClusterType], c)
	}
	if len(moved) > 0 {
		t.Fatalf("istiod does not generate the clusters %v", moved)
	}
	for _, r := range istiod.Routes(proxy) {
		all[resourcev3.RouteType] = append(all[resourcev3.RouteType], r)
	}
	for _, e := range istiod.Endpoints(proxy) {
		all[resourcev3.EndpointType] = append(all[resourcev3.EndpointType], e)
	}
	return all
}

// withoutIstios takes the filters of Istio's own out of a listener.
func withoutIstios(t *testing.T, l *listenerv3.Listener) {
	t.Helper()
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
	}
	for _, chain := range chains {
		var filters []*listenerv3.Filter
		for _, f := range chain.Filters {
			if istiosOwn[f.Name] {
				continue
			}
			if f.Name == "envoy.filters.network.http_connection_manager" {
				editManager(t, f, func(m *hcmv3.HttpConnectionManager) {
					var left []*hcmv3.HttpFilter
					for _, h := range m.HttpFilters {
						if !istiosOwn[h.Name] {
							left = append(left, h)
						}
					}
					m.HttpFilters = left
				})
			}
			filters = append(filters, f)
		}
		chain.Filters = filters
	}
}

func editManager(t *testing.T, f *listenerv3.Filter, edit func(*hcmv3.HttpConnectionManager)) {
	t.Helper()
	m := new(hcmv3.HttpConnectionManager)
	if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	edit(m)
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
}

// move gives a cluster's endpoints another address, and leaves all else as it is.
func move(t *testing.T, c *clusterv3.Cluster, to string) {
	t.Helper()
	moved := 0
	for _, group := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range group.LbEndpoints {
			e.GetEndpoint().Address = address(t, to)
			moved++
		}
	}
	if moved != 1 {
		t.Fatalf("cluster %s has %d endpoints, want 1", c.Name, moved)
	}
}

func address(t testing.TB, at string) *corev3.Address {
	t.Helper()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
	}}}
}

// port is the port of host:port.
func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
