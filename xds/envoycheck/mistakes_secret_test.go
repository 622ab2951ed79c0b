package envoycheck_test

const (
	managerPart = "          stat_prefix: keywheel\n"
	logLine     = "%UPSTREAM_CLUSTER% at %UPSTREAM_HOST%"
	accessLog   = "          access_log:\n"
)

var secretMistakes = []mistake{
	{code: "authorization-logged", edits: edit(logLine, "%REQ(authorization)%")},
	{code: "authorization-logged", how: "as the other of two", edits: edit(logLine, "%REQ(X-MINE?Authorization):20%")},
	{code: "authorization-logged", how: "by the long name", edits: edit(logLine, "%REQUEST_HEADER(AUTHORIZATION)%")},
	{code: "authorization-logged", how: "as JSON", in: "company", edits: edit("%RESP(X-KEYWHEEL-KEY)%", "%REQ(AUTHORIZATION)%")},
	{code: "authorization-logged", how: "to a collector", edits: edit(accessLog, accessLog+`          - name: als
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config: { log_name: x, transport_api_version: V3, grpc_service: { envoy_grpc: { cluster_name: keywheel_control_plane } } }
              additional_request_headers_to_log: [x-team, Authorization]
`)},
	{code: "authorization-logged", how: "by the router", edits: edit("              suppress_envoy_headers: true\n", `              suppress_envoy_headers: true
              upstream_log:
              - name: log
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
                  log_format: { text_format_source: { inline_string: "%REQ(AUTHORIZATION)%" } }
`)},
	{code: "authorization-traced", edits: edit(managerPart, managerPart+"          tracing: { custom_tags: [{ tag: key, request_header: { name: Authorization } }] }\n")},
	{code: "authorization-echoed", how: "by Envoy's own answers", edits: edit(managerPart, managerPart+"          local_reply_config: { body_format: { text_format_source: { inline_string: \"%REQ(AUTHORIZATION)%\" } } }\n")},
	{code: "authorization-echoed", how: "by a filter", edits: edit(gateStart, "          - name: mine\n            typed_config:\n"+
		"              \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation\n"+
		"              mutations: { response_mutations: [{ append: { header: { key: x-debug, value: \"%REQ(AUTHORIZATION)%\" } } }] }\n"+gateStart)},
	{code: "key-in-file", edits: edit("node:\n", "node:\n  metadata: { key: gsk_CANARYCANARYCANARY42 }\n")},
	{code: "tap", edits: edit(gateStart, indented(2, tap)+gateStart)},
	{code: "authorization-in-metadata", also: "gate-only", edits: edit(router, gateOnlyFilter+"          - name: mine\n            typed_config:\n"+
		"              \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config\n"+
		"              request_rules: [{ header: Authorization, on_header_present: { key: who } }]\n"+router,
		"                  keywheel.gate: &gate_on\n", "                  keywheel.gate_only: &gate_on\n")},
	{code: "listener-open", edits: edit("address: 127.0.0.1, port_value: 10000", "address: 0.0.0.0, port_value: 10000")},
	{code: "listener-open", how: "the tokens are gone", in: "company", edits: edit(jwt, "")},
	{code: "admin-open", edits: edit("address: 127.0.0.1, port_value: 9901", "address: \"::\", port_value: 9901")},
}

const tap = `        - name: envoy.filters.http.tap
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
            common_config: { admin_config: { config_id: x } }
`

const jwt = `          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                staff:
                  issuer: https://id.example.com
                  remote_jwks: { http_uri: { uri: https://id.example.com/keys, cluster: web, timeout: 2s } }
              rules:
              - match: { prefix: /v1/ }
                requires: { provider_name: staff }
`
