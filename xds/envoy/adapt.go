package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"keywheel/shared/protocol"
	"keywheel/xds/config"
)

// Names that envoy.yaml's comments ask users to keep.
const (
	listenerName = "keywheel"
	groqCluster  = "groq"
	httpOptions  = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// Settings is what of envoy.yaml depends on the machine and the user. An empty field leaves what the file says.
type Settings struct {
	NodeID       string
	ListenAddr   string          // host:port; the host is an IP address
	AdminAddr    string          // host:port; the host is an IP address
	ControlPlane string          // host:port, or unix: and an absolute path; the host may be a name
	TLS          *ClientTLS      // by which the control plane is spoken to over TCP; nil: as the file says
	WasmPath     string          // absolute, of the filter's module as Envoy sees it
	CABundle     string          // absolute, of the certificate authorities that Groq's certificate is checked against
	Upstream     config.Upstream // zero: as the file says
}

// Adapt changes b as s says, by the names in envoy.yaml. The error names the part that is missing; b is then unusable.
func Adapt(b *bootstrapv3.Bootstrap, s Settings) error {
	if s.NodeID != "" {
		if b.Node == nil {
			b.Node = &corev3.Node{Cluster: listenerName}
		}
		b.Node.Id = s.NodeID
	}
	if s.AdminAddr != "" {
		address, err := socketAddress(s.AdminAddr)
		if err != nil {
			return fmt.Errorf("admin address: %w", err)
		}
		if b.Admin == nil {
			b.Admin = &bootstrapv3.Admin{}
		}
		b.Admin.Address = address
	}
	if err := adaptListener(b, s); err != nil {
		return err
	}
	if err := adaptGroq(b, s); err != nil {
		return err
	}
	return adaptControlPlane(b, s)
}

// adaptListener sets where clients are served, the gate's module, and the Host of calls.
func adaptListener(b *bootstrapv3.Bootstrap, s Settings) error {
	for _, l := range b.GetStaticResources().GetListeners() {
		if l.GetName() != listenerName {
			continue
		}
		if s.ListenAddr != "" {
			address, err := socketAddress(s.ListenAddr)
			if err != nil {
				return fmt.Errorf("listener address: %w", err)
			}
			l.Address = address
		}
		found := false
		for _, chain := range l.GetFilterChains() {
			for _, filter := range chain.GetFilters() {
				is, err := edit(filter.GetTypedConfig(), func(m *hcmv3.HttpConnectionManager) error { return adaptHTTP(m, s) })
				if err != nil {
					return err
				}
				found = found || is
			}
		}
		if !found {
			return fmt.Errorf("envoy.yaml: the listener %s has no HTTP connection manager: take that filter from the file as delivered", listenerName)
		}
		return nil
	}
	return fmt.Errorf("envoy.yaml has no listener named %s: keep the names of the file as delivered", listenerName)
}

func adaptHTTP(m *hcmv3.HttpConnectionManager, s Settings) error {
	if err := adaptFilter(m.GetHttpFilters(), protocol.GateResource, s); err != nil {
		return err
	}
	if s.Upstream == (config.Upstream{}) {
		return nil
	}
	routed := false
	for _, host := range m.GetRouteConfig().GetVirtualHosts() {
		for _, r := range host.GetRoutes() {
			if action := r.GetRoute(); action.GetCluster() == groqCluster {
				action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority(s.Upstream)}
				routed = true
			}
		}
	}
	if !routed {
		return fmt.Errorf("envoy.yaml has no route to the cluster %s: take the route from the file as delivered", groqCluster)
	}
	return nil
}

// adaptFilter sets the module of the Wasm filter called name.
func adaptFilter(filters []*hcmv3.HttpFilter, name string, s Settings) error {
	for _, f := range filters {
		if f.GetName() != name {
			continue
		}
		if s.WasmPath == "" {
			return nil
		}
		found, err := edit(f.GetConfigDiscovery().GetDefaultConfig(), func(m *wasmfilterv3.Wasm) error {
			local := m.GetConfig().GetVmConfig().GetCode().GetLocal()
			if local == nil {
				return fmt.Errorf("envoy.yaml: the filter %s has no vm_config.code.local", name)
			}
			local.Specifier = &corev3.DataSource_Filename{Filename: s.WasmPath}
			return nil
		})
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("envoy.yaml: the filter %s has no Wasm default_config: take it from the file as delivered", name)
		}
		return nil
	}
	return fmt.Errorf("envoy.yaml has no HTTP filter named %s: keep the names of the file as delivered", name)
}

// adaptGroq sets where Groq is, how it is spoken to, and the attempt's module.
func adaptGroq(b *bootstrapv3.Bootstrap, s Settings) error {
	c, err := findCluster(b, groqCluster)
	if err != nil {
		return err
	}
	options := c.GetTypedExtensionProtocolOptions()[httpOptions]
	found, err := edit(options, func(m *httpv3.HttpProtocolOptions) error {
		if s.Upstream != (config.Upstream{}) && !s.Upstream.TLS {
			plainHTTP(m)
		}
		return adaptFilter(m.GetHttpFilters(), protocol.AttemptResource, s)
	})
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("envoy.yaml: the cluster %s has no %s with the attempt's filter: take it from the file as delivered", groqCluster, httpOptions)
	}
	if s.Upstream != (config.Upstream{}) {
		if err := setEndpoint(c, tcpAddress(s.Upstream.Host, s.Upstream.Port)); err != nil {
			return err
		}
		if !s.Upstream.TLS {
			c.TransportSocket = nil
			return nil
		}
	}
	return adaptTLS(c, s)
}

// plainHTTP speaks HTTP/1.1 where no ALPN can say what else.
func plainHTTP(m *httpv3.HttpProtocolOptions) {
	m.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}}
}

// adaptControlPlane sets where xDS is served.
func adaptControlPlane(b *bootstrapv3.Bootstrap, s Settings) error {
	c, err := findCluster(b, protocol.ControlPlaneCluster)
	if err != nil || s.ControlPlane == "" {
		return err
	}
	address, named, err := anyAddress(s.ControlPlane)
	if err != nil {
		return fmt.Errorf("control plane address: %w", err)
	}
	if named {
		if err := resolve(c); err != nil {
			return err
		}
	}
	if s.TLS != nil && address.GetPipe() == nil {
		if err := secureControlPlane(c, s.TLS); err != nil {
			return err
		}
	}
	return setEndpoint(c, address)
}

// resolve makes c a cluster of a name, as that of Groq is.
func resolve(c *clusterv3.Cluster) error {
	config, err := anypb.New(&dnsv3.DnsCluster{AllAddressesInSingleEndpoint: true, RespectDnsTtl: true, DnsLookupFamily: commondnsv3.DnsLookupFamily_ALL})
	if err != nil {
		return fmt.Errorf("the cluster %s: %w", c.GetName(), err)
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.dns", TypedConfig: config}}
	return nil
}

func findCluster(b *bootstrapv3.Bootstrap, name string) (*clusterv3.Cluster, error) {
	for _, c := range b.GetStaticResources().GetClusters() {
		if c.GetName() == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("envoy.yaml has no cluster named %s: keep the names of the file as delivered", name)
}

// setEndpoint makes address the cluster's only endpoint.
func setEndpoint(c *clusterv3.Cluster, address *corev3.Address) error {
	endpoints := c.GetLoadAssignment().GetEndpoints()
	if len(endpoints) != 1 || len(endpoints[0].GetLbEndpoints()) != 1 {
		return fmt.Errorf("envoy.yaml: the cluster %s must have exactly one endpoint", c.GetName())
	}
	endpoints[0].LbEndpoints[0].HostIdentifier = &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}}
	return nil
}

// socketAddress reads host:port, whose host must be an IP address.
func socketAddress(s string) (*corev3.Address, error) {
	address, named, err := anyAddress(s)
	if err == nil && named {
		err = fmt.Errorf("the host of %q is not an IP address", s)
	}
	return address, err
}

// anyAddress reads host:port, or unix: and a path. named says that the host is a name.
func anyAddress(s string) (address *corev3.Address, named bool, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}, false, nil
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return nil, false, fmt.Errorf("%q is not host:port", s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, false, fmt.Errorf("the port of %q is not a number up to 65535", s)
	}
	_, err = netip.ParseAddr(host)
	return tcpAddress(host, int(port)), err != nil, nil
}

func tcpAddress(host string, port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// authority is the Host of calls to u: without the port where it is the scheme's own.
func authority(u config.Upstream) string {
	_, host, _ := strings.Cut(u.URL(), "://")
	return host
}
