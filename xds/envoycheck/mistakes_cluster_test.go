package envoycheck_test

var clusterMistakes = []mistake{
	{code: "breaker-retries-default", edits: edit("        max_retries: 10000\n", "")},
	{code: "breaker-retries-default", how: "written out", edits: edit("        max_retries: 10000\n", "        max_retries: 3\n")},
	{code: "breaker-retries-default", how: "no breaker at all", edits: edit(breakers, "")},
	{code: "breaker-retries-default", how: "of the other priority", edits: edit(routeStart, routeStart+"                  priority: HIGH\n")},
	{code: "breaker-limits-default", edits: edit("        max_pending_requests: 10000\n", "")},
	{code: "tls-missing", edits: edit(tls, ""), refused: true},
	{code: "tls-missing", how: "raw", edits: edit(tls, "    transport_socket: { name: raw, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }\n"), refused: true},
	{code: "trusted-ca-missing", edits: edit(trustedCA, ""), refused: true},
	{code: "trusted-ca-missing", how: "in two contexts", in: "company", edits: edit("              trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }\n", "",
		"validation_context: { trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt } }", "validation_context: {}"), refused: true},
	{code: "certificate-untrusted", edits: edit("          validation_context:\n", "          validation_context:\n            trust_chain_verification: ACCEPT_UNTRUSTED\n")},
	{code: "name-not-checked", edits: edit("        auto_sni_san_validation: true # the certificate must be for that very name\n", "")},
	{code: "name-not-checked", how: "by two contexts", in: "company", edits: edit("              match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: api.groq.com } }]\n", "")},
	{code: "sni-missing", edits: edit("        sni: api.groq.com\n", "")},
	{code: "sni-wrong", edits: edit("        sni: api.groq.com\n", "        sni: groq.com\n")},
	{code: "tls-key-log", edits: edit("          tls_params:", "          key_log: { path: /tmp/keys.log }\n          tls_params:")},
	{code: "dns-one-family", edits: edit("        dns_lookup_family: ALL\n", "")},
	{code: "dns-one-family", how: "of the older kind", in: "company", edits: edit("    dns_lookup_family: V4_PREFERRED\n", "")},
	{code: "outlier-detection", edits: edit(breakers, "    outlier_detection: { always_eject_one_host: true }\n    common_lb_config: { healthy_panic_threshold: { value: 0 } }\n"+breakers)},
	{code: "answer-buffer-small", edits: edit(breakers, "    per_connection_buffer_limit_bytes: 32768\n"+breakers)},
	{code: "keywheel-header-removed-upstream", in: "company", edits: edit("remove: x-groq-region", "remove: x-keywheel-rotate")},
	{code: "authorization-overwritten", edits: edit(codec, "        - name: mine\n          typed_config:\n            \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation\n"+
		"            mutations: { request_mutations: [{ append: { header: { key: Authorization, value: Bearer x } } }] }\n"+codec)},
	{code: "authorization-overwritten", how: "after the gate alone", also: "gate-only", edits: edit(routeBuffer, routeBuffer+"                request_headers_to_add: [{ header: { key: Authorization, value: Bearer x } }]\n",
		router, gateOnlyFilter+router, "                  keywheel.gate: &gate_on\n", "                  keywheel.gate_only: &gate_on\n")},
	{code: "filter-sees-key", edits: edit(codec, lua+codec)},
}

const (
	breakers = `    circuit_breakers:
      thresholds:
      - max_connections: 10000
        max_pending_requests: 10000
        max_requests: 10000
        max_retries: 10000
`
	trustedCA = `            trusted_ca:
              # The system's bundle. Red Hat: /etc/pki/tls/certs/ca-bundle.crt. Alpine: /etc/ssl/cert.pem.
              filename: /etc/ssl/certs/ca-certificates.crt
`
	tls = `    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: api.groq.com
        auto_sni_san_validation: true # the certificate must be for that very name
        common_tls_context:
          tls_params: { tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }
          validation_context:
` + trustedCA
)
