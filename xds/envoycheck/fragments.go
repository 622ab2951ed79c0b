package envoycheck

// What to write, as it stands in envoy.yaml; a test holds them to it. Anchors are written out.
const (
	fragmentGate = "- name: keywheel.gate\n  disabled: true\n" + fragmentDiscovery + "        name: keywheel.gate\n        root_id: " +
		"keywheel.gate\n" + fragmentPlugin
	fragmentAttempt = "- name: keywheel.attempt\n" + fragmentDiscovery + "        name: keywheel.attempt\n        root_id: keywheel.attempt\n" + fragmentPlugin

	fragmentDiscovery = `  config_discovery:
    type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
    config_source:
      resource_api_version: V3
      api_config_source:
        api_type: GRPC
        transport_api_version: V3
        set_node_on_first_message_only: true
        grpc_services:
        - envoy_grpc:
            cluster_name: keywheel_control_plane
            retry_policy:
              retry_back_off: { base_interval: 0.1s, max_interval: 2s }
    apply_default_config_without_warming: true
    default_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
      config:
`
	fragmentPlugin = `        failure_policy: FAIL_RELOAD
        reload_config: { backoff: { base_interval: 1s } }
        allow_on_headers_stop_iteration: true
        configuration:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
          name: keywheel
          generic_secret: {}
        vm_config:
          vm_id: keywheel
          runtime: envoy.wasm.runtime.v8
          code:
            local:
              filename: /var/lib/keywheel/keywheel.wasm
`
	fragmentCodec = `- name: envoy.filters.http.upstream_codec
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
`
	fragmentGateOn = `typed_per_filter_config:
  keywheel.gate:
    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
    config: {}
`
	fragmentControlPlane = `- name: keywheel_control_plane
  type: STATIC
  connect_timeout: 1s
  load_assignment:
    cluster_name: keywheel_control_plane
    endpoints:
    - lb_endpoints:
      - endpoint:
          address:
            socket_address: { address: 127.0.0.1, port_value: 18000 }
` + fragmentHTTP2Indented
	fragmentHTTP2Indented = `  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config:
        http2_protocol_options:
          connection_keepalive: { interval: 10s, timeout: 5s }
`
	fragmentRetry = `retry_policy:
  retry_on: retriable-headers,reset
  retriable_headers:
  - { name: x-keywheel-rotate, present_match: true }
  num_retries: 5
  retry_back_off: { base_interval: 0.001s, max_interval: 0.005s }
`
	fragmentBreakers = `circuit_breakers:
  thresholds:
  - max_connections: 10000
    max_pending_requests: 10000
    max_requests: 10000
    max_retries: 10000
`
	fragmentTLS = `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: api.groq.com
    auto_sni_san_validation: true
    common_tls_context:
      tls_params: { tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }
      validation_context:
        trusted_ca:
          filename: /etc/ssl/certs/ca-certificates.crt
`
	fragmentRewrite = `regex_rewrite:
  pattern: { regex: "^/(openai/)?v1/" }
  substitution: /openai/v1/
`
)
