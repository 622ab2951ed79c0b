package envoycheck_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// mistake is one edit of a good file that makes one thing wrong.
type mistake struct {
	code    string
	how     string   // tells mistakes of one code apart
	in      string   // the good file; empty: envoy.yaml
	edits   []string // old and new in turn; old stands in the file exactly once, or begins with "all:"
	text    string   // instead of a good file and edits
	also    string   // a code that what the mistake needs brings with it
	says    string   // what the finding says, if it matters
	refused bool     // Envoy does not take the file either
}

func (m mistake) name() string {
	if m.how == "" {
		return m.code
	}
	return m.code + ", " + m.how
}

// plant returns the file with the mistake.
func (m mistake) plant(t *testing.T, files map[string]string) string {
	t.Helper()
	if m.edits == nil {
		return m.text
	}
	in := cmp.Or(m.in, "envoy.yaml")
	text, found := files[in]
	if !found {
		t.Fatalf("there is no good file %q", in)
	}
	for i := 0; i < len(m.edits); i += 2 {
		old, all := strings.CutPrefix(m.edits[i], "all:")
		if n := strings.Count(text, old); n != 1 && !all || n == 0 {
			t.Fatalf("%s has %q %d times", in, old, n)
		}
		text = strings.ReplaceAll(text, old, m.edits[i+1])
	}
	return text
}

// edit is one edit.
func edit(oldNew ...string) []string { return oldNew }

// indented moves every line to the right.
func indented(n int, text string) string {
	return strings.Repeat(" ", n) + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+strings.Repeat(" ", n)) + "\n"
}

// Parts of the good files.
const (
	retryPolicy = `                  retry_policy:
                    # A 429 of one key becomes a 200 of another inside the same call: the filter asks for another try
                    # by this header, and only when another key can help. Each try chooses its key anew.
                    # "reset" includes refused connections and streams. Groq may have charged for a call that was reset.
                    retry_on: retriable-headers,reset
                    retriable_headers:
                    - { name: x-keywheel-rotate, present_match: true }
                    num_retries: 5
                    retry_back_off: { base_interval: 0.001s, max_interval: 0.005s }
`
	retriable   = "                    retriable_headers:\n                    - { name: x-keywheel-rotate, present_match: true }\n"
	numRetries  = "                    num_retries: 5\n"
	routeStart  = "                  cluster: groq\n"
	host        = "            virtual_hosts:\n            - name: keywheel\n"
	routeBuffer = "                request_body_buffer_limit: 33554432\n"
	tlsSocket   = "    transport_socket:\n      name: envoy.transport_sockets.tls\n"
	codec       = `        - name: envoy.filters.http.upstream_codec
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
`
	router     = "          - name: envoy.filters.http.router\n"
	gateStart  = "          - name: keywheel.gate\n            disabled: true\n"
	otherRoute = "              - name: other\n"
	gateOn     = "                typed_per_filter_config:\n                  keywheel.gate: &gate_on\n"
	webRoute   = "              - name: mine\n                match: { prefix: /mine/ }\n                route: { cluster: keywheel_control_plane }\n"
	anAttempt  = "        - name: keywheel.attempt\n          config_discovery:\n"
	basicAuth  = `          - name: envoy.filters.http.basic_auth
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth
              users: { inline_string: "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=" }
`
	buffer = `          - name: envoy.filters.http.buffer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
              max_request_bytes: 65536
`
	gateOnConfig = `                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
`
	ownedGate = `          - name: mesh.plugin
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config: { name: keywheel, root_id: keywheel.gate_only, configuration: { "@type": type.googleapis.com/google.protobuf.StringValue, value: '{"control_plane": "keywheel_control_plane"}' }, vm_config: { runtime: envoy.wasm.runtime.v8, code: { local: { filename: /var/lib/keywheel/keywheel.wasm } }, environment_variables: { host_env_keys: [KEYWHEEL_PROXY_TOKEN] } }, failure_policy: FAIL_RELOAD }
`
	gateOnlyFilter = `          - name: keywheel.gate_only
            disabled: true
            config_discovery:
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
              config_source: *control_plane
              apply_default_config_without_warming: true
              default_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                config:
                  name: keywheel.gate_only
                  root_id: keywheel.gate_only
                  failure_policy: FAIL_RELOAD
                  allow_on_headers_stop_iteration: true
                  vm_config: *vm
`
	lua = `        - name: envoy.filters.http.lua
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
            default_source_code: { inline_string: "function envoy_on_request(h) end" }
`
)

var mistakes = slices.Concat(fileMistakes, roleMistakes, routeMistakes, clusterMistakes, secretMistakes)
