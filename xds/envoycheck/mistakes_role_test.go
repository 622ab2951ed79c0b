package envoycheck_test

// Where a setting stands in both roles, the deeper one is the gate's.
const (
	inGate    = "                  "
	inAttempt = "\n                "
)

var roleMistakes = []mistake{
	{code: "filter-name-wrong", edits: edit(gateStart, "          - name: groq.gate\n            disabled: true\n")},
	{code: "filter-name-wrong", how: "the attempt's", edits: edit(anAttempt, "        - name: keywheel-attempt\n          config_discovery:\n")},
	{code: "filter-is-static", edits: edit(anAttempt+typeURLs+"            config_source: *control_plane\n"+attemptDefaults, `        - name: keywheel.attempt
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
            config: { name: keywheel.attempt, root_id: keywheel.attempt, failure_policy: FAIL_RELOAD, allow_on_headers_stop_iteration: true, vm_config: *vm }
`)},
	{code: "filter-not-announced", in: "company", edits: edit(
		"          config_discovery:\n            type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]\n            config_source: *control_plane",
		"          config_discovery:\n            type_urls: [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]\n            config_source: *control_plane"), refused: true},
	{code: "default-config-missing", edits: edit(attemptDefaults, "")},
	{code: "default-config-waits", edits: edit("            apply_default_config_without_warming: true\n            default_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n              config:\n                name: keywheel.attempt",
		"            default_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n              config:\n                name: keywheel.attempt")},
	{code: "default-config-waits", how: "the gate's", edits: edit(gateWaits, "              apply_default_config_without_warming: false\n              default_config:\n"+inGate[:16]+"\"@type\"")},
	{code: "root-id-wrong", edits: edit("root_id: keywheel.gate #", "root_id: gate #")},
	{code: "root-id-wrong", how: "the other role's", edits: edit("root_id: keywheel.attempt", "root_id: keywheel.gate")},
	{code: "root-id-wrong", how: "missing", edits: edit("                root_id: keywheel.attempt\n", "")},
	{code: "plugin-name-wrong", edits: edit("                  name: keywheel.gate\n", "                  name: gate\n")},
	{code: "stop-iteration-missing", edits: edit(inGate+"allow_on_headers_stop_iteration: true\n", "")},
	{code: "stop-iteration-missing", how: "the attempt's", edits: edit(inAttempt+"allow_on_headers_stop_iteration: true\n                configuration: *no", inAttempt+"configuration: *no")},
	{code: "fail-open", edits: edit(inGate+"failure_policy: FAIL_RELOAD\n", inGate+"failure_policy: FAIL_OPEN\n")},
	{code: "no-reload", edits: edit(inAttempt+"failure_policy: FAIL_RELOAD\n                reload_config: { backoff: { base_interval: 1s } }\n", "\n")},
	{code: "vm-config-differs", edits: edit("vm_config: *vm #", "vm_config: { vm_id: attempt, "+vm[len("{ vm_id: keywheel, "):]+" #"), says: "vm_id"},
	{code: "vm-config-differs", how: "the code", edits: edit("vm_config: *vm #", "vm_config: { vm_id: keywheel, runtime: envoy.wasm.runtime.v8, code: { local: { filename: /var/lib/keywheel/other.wasm } } } #"), says: "code"},
	{code: "vm-config-differs", how: "the runtime", edits: edit("vm_config: *vm #", "vm_config: { vm_id: keywheel, runtime: envoy.wasm.runtime.null, code: { local: { filename: /var/lib/keywheel/keywheel.wasm } } } #"), says: "runtime", refused: true},
	{code: "vm-config-differs", how: "there is none", edits: edit("                vm_config: *vm #", "                #"), refused: true},
	{code: "vm-config-unlike-pushed", edits: edit("vm_id: keywheel\n", "vm_id: mine\n")},
	{code: "vm-config-unlike-pushed", how: "no name", edits: edit("                    vm_id: keywheel\n", "")},
	{code: "vm-config-unlike-pushed", how: "more of it", edits: edit("vm_id: keywheel\n", "vm_id: keywheel\n                    allow_precompiled: true\n"), says: "allow_precompiled"},
	{code: "runtime-not-v8", edits: edit("envoy.wasm.runtime.v8", "envoy.wasm.runtime.wasmtime"), refused: true},
	{code: "wasm-code-missing", edits: edit(code, "\n"), refused: true},
	{code: "wasm-code-missing", how: "inline", edits: edit(code, "\n                    code: { local: { inline_bytes: AGFzbQEAAAA= } }\n"), refused: true},
	{code: "wasm-code-remote", edits: edit(code, `
                    code:
                      remote:
                        http_uri: { uri: "http://x/keywheel.wasm", cluster: groq, timeout: 10s }
                        sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
`)},
	{code: "config-source-ads", edits: edit("            config_source: *control_plane\n", "            config_source: { resource_api_version: V3, ads: {} }\n")},
	{code: "config-source-other-ads", in: "company", edits: edit(companySource, "              config_source:\n                resource_api_version: V3\n                ads: {}\n",
		"            config_source: *control_plane\n", "            config_source: { resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: keywheel_control_plane } }] } }\n")},
	{code: "config-source-not-grpc", edits: edit("            config_source: *control_plane\n", "            config_source: { path_config_source: { path: /etc/envoy/attempt.yaml } }\n"), refused: true},
	{code: "config-source-not-grpc", how: "google's gRPC", in: "company", edits: edit("{ envoy_grpc: { cluster_name: keywheel_control_plane } }",
		"{ google_grpc: { target_uri: 127.0.0.1:18000, stat_prefix: x } }")},
	{code: "config-source-cluster", in: "company", edits: edit("            config_source: *control_plane\n",
		"            config_source: { resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: nobody } }] } }\n"), refused: true},
	{code: "control-plane-missing", edits: edit("  - name: keywheel_control_plane\n", "  - name: keywheel\n"), refused: true},
	{code: "control-plane-not-http2", edits: edit("          http2_protocol_options:\n            connection_keepalive: { interval: 10s, timeout: 5s }\n", "          http_protocol_options: {}\n")},
	{code: "control-plane-in-clear-text", edits: edit("address: 127.0.0.1, port_value: 18000", "address: 10.1.2.3, port_value: 18000")},
}

const (
	vm   = "{ vm_id: keywheel, runtime: envoy.wasm.runtime.v8, code: { local: { filename: /var/lib/keywheel/keywheel.wasm } } }"
	code = `
                    code:
                      local:
                        # build/keywheel.wasm, where Envoy can read it. ` + "`keywheel serve`" + ` must be told the same path by
                        # KEYWHEEL_WASM. Never overwrite it under a running Envoy: give a new version a new name.
                        filename: /var/lib/keywheel/keywheel.wasm
`
	typeURLs = "            type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]\n"

	attemptDefaults = `            apply_default_config_without_warming: true
            default_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: keywheel.attempt
                root_id: keywheel.attempt
                failure_policy: FAIL_RELOAD
                reload_config: { backoff: { base_interval: 1s } }
                allow_on_headers_stop_iteration: true
                configuration: *no_assignment
                vm_config: *vm # the very same, or the two roles would not share their counters
`
	gateWaits = `              apply_default_config_without_warming: true
              default_config:
                "@type"`
	companySource = `              config_source: &control_plane
                resource_api_version: V3
                api_config_source:
                  api_type: GRPC
                  transport_api_version: V3
                  grpc_services: [{ envoy_grpc: { cluster_name: keywheel_control_plane } }]
`
)
