package envoycheck

import (
	"fmt"
	"net/netip"

	"keywheel/shared/protocol"
)

// checkSource looks at where a role gets its configuration, and with it the keys, from.
func (c *checker) checkSource(u use, source value) {
	const grpc = "config_source:\n  resource_api_version: V3\n  api_config_source:\n    api_type: GRPC\n    transport_api_version: V3\n" +
		"    set_node_on_first_message_only: true\n    grpc_services:\n    - envoy_grpc: { cluster_name: keywheel_control_plane }"
	api := source.at("api_config_source")
	switch {
	case u.upstream && source.at("ads").exists():
		c.add(finding{code: "config-source-ads", place: u.place, at: source,
			wrong: "An upstream filter of a static cluster gets its configuration by `ads: {}`: Envoy 1.40 crashes at its start.", write: grpc})
		return
	case source.at("ads").exists():
		if name := grpcCluster(c.root.at("dynamic_resources", "ads_config")); name != protocol.ControlPlaneCluster {
			c.add(finding{code: "config-source-other-ads", place: u.place, at: source,
				wrong: fmt.Sprintf("The gate gets its configuration by `ads: {}`, which leads to the cluster %q: only if that is Keywheel's control "+
					"plane do the keys come.", name),
				write: grpc})
		}
		return
	case !api.exists() || !api.at("api_type").isOneOf("GRPC", "2", "DELTA_GRPC", "3") || grpcCluster(api) == "":
		c.add(finding{code: "config-source-not-grpc", place: u.place, at: cmpValue(source, u.filter),
			wrong: "config_source is no api_config_source with api_type GRPC and envoy_grpc: the control plane's keys do not come by it.", write: grpc})
		return
	}
	if name := grpcCluster(api); name != protocol.ControlPlaneCluster && c.clusters[name] == nil {
		c.add(finding{code: "config-source-cluster", place: u.place, at: api,
			wrong: fmt.Sprintf("The keys are to come from the cluster %q, which is not among static_resources: Envoy does not take the file.", name),
			write: "grpc_services:\n- envoy_grpc: { cluster_name: keywheel_control_plane }"})
	}
}

// grpcCluster is the cluster of an API's configuration; empty if it has none.
func grpcCluster(api value) string {
	for _, service := range api.at("grpc_services").items() {
		if name := service.at("envoy_grpc", "cluster_name").text(); name != "" {
			return name
		}
	}
	return ""
}

// checkControlPlane looks at the cluster by which keys come and reports go.
func (c *checker) checkControlPlane() {
	name := protocol.ControlPlaneCluster
	for _, u := range c.uses() {
		if owned(u.filter) && controlPlane(u.filter) != "" {
			name = controlPlane(u.filter)
		}
	}
	cl := c.clusters[name]
	if cl == nil && c.root.at("dynamic_resources", "cds_config").exists() && name != protocol.ControlPlaneCluster {
		return
	}
	if cl == nil {
		c.add(finding{code: "control-plane-missing", place: "clusters", at: cmpValue(c.root.at("static_resources", "clusters"), c.root),
			wrong: fmt.Sprintf("There is no cluster %s: keys come and reports of usage go by that name, so there is neither a key nor an account.", name),
			write: fragmentControlPlane})
		return
	}
	h2 := cl.options.at("explicit_http_config", "http2_protocol_options").exists() ||
		cl.at("http2_protocol_options").exists()
	if !h2 {
		c.add(finding{code: "control-plane-not-http2", place: cl.place, at: cl.value,
			wrong: "This cluster does not speak HTTP/2, which xDS needs: no key ever comes.", write: fragmentHTTP2Indented})
	}
	if cl.tls().exists() {
		return
	}
	for _, address := range cl.addresses() {
		if ip, err := netip.ParseAddr(address); err == nil && ip.IsLoopback() {
			continue
		}
		c.add(finding{code: "control-plane-in-clear-text", place: cl.place, at: cl.at("load_assignment"),
			wrong: fmt.Sprintf("The keys come from %s without TLS: whoever can listen on the way, or connect there, has them.", address),
			write: "# a Unix socket, or loopback, or a transport_socket with a client certificate\naddress: { pipe: { path: /run/keywheel/xds.sock } }"})
	}
}
