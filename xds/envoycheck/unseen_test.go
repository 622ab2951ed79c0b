package envoycheck_test

import (
	"slices"
	"strings"
	"testing"

	"keywheel/xds/envoycheck"
)

// What Envoy gets from elsewhere is named, and nothing is made up about it.
func TestWhatCannotBeSeenIsNamed(t *testing.T) {
	files := good(t)
	const xds = "{ resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: web } }] } }"
	for name, v := range map[string]struct {
		in    string
		edits []string
		want  string // the only thing that is named
		codes []string
	}{
		"clusters": {"company", edit("static_resources:\n", "dynamic_resources: { cds_config: "+xds+" }\nstatic_resources:\n"), "clusters that come by dynamic_resources.cds_config", nil},
		"the cluster of Groq": {"to this machine, in clear text", edit(`"cluster": "groq",`, `"cluster": "elsewhere",`),
			`the cluster behind listener "keywheel" › route "groq", which is not in the file`, nil},
		"a cluster that each call names": {"company", edit("                route: &to_groq\n                  cluster: llm-provider\n                  auto_host_rewrite: true\n",
			"                route: &to_groq\n                  cluster_header: x-to\n"), `the cluster behind listener "public" › virtual host "llm" › route "llm", which is not in the file`, nil},
		"routes": {"company", edit("          stat_prefix: internal\n", "          stat_prefix: internal\n          rds: { route_config_name: x, config_source: "+xds+" }\n"),
			`routes of listener "internal" that come by rds`, nil},
		"virtual hosts": {"company", edit("            name: public\n", "            name: public\n            vhds: { config_source: "+xds+" }\n"), `virtual hosts of listener "public" that come by vhds`, nil},
		"routes in a matcher": {"company", edit("              domains: [shop.example.com]\n", "              domains: [shop.example.com]\n              matcher: {}\n"),
			`routes of listener "public" that stand in a matcher`, nil},
		"certificates": {"company", edit("validation_context_sds_secret_config: { name: roots }", "validation_context_sds_secret_config: { name: x, sds_config: "+xds+" }"),
			`how cluster "llm-provider" checks certificates, which comes by SDS`, nil},
		"transports":           {"envoy.yaml", edit(breakers, "    transport_socket_matches: []\n"+breakers), `the transport_socket_matches of cluster "groq"`, nil},
		"another retry policy": {"envoy.yaml", edit(retryPolicy, "                  retry_policy_typed_config: {}\n"), `the retry_policy_typed_config of listener "keywheel" › route "groq"`, nil},
		"Host by a header":     {"envoy.yaml", edit("host_rewrite_literal: api.groq.com", "host_rewrite_header: x-host"), `the Host that listener "keywheel" › route "groq" makes of a call`, nil},
		"all listeners": {"envoy.yaml", edit("  listeners:\n", "  others:\n", "overload_manager:\n", "dynamic_resources: { lds_config: "+xds+" }\noverload_manager:\n"),
			"listeners that come by dynamic_resources.lds_config", []string{"no-groq-route"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := envoycheck.Check([]byte(mistake{in: v.in, edits: v.edits}.plant(t, files)))
			if !slices.Equal(r.NotLookedAt, []string{v.want}) {
				t.Errorf("named %q", r.NotLookedAt)
			}
			if got := said(r); !slices.Equal(got, append([]string{}, v.codes...)) {
				t.Errorf("found %+v", r.Findings)
			}
			for _, f := range r.Findings {
				if f.Severity != envoycheck.Warning || strings.Contains(f.Wrong, "keywheel.attempt is") {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// JSON that is no YAML to the reader of YAML is read all the same.
func TestJSONIsReadAsJSON(t *testing.T) {
	text := strings.Replace(good(t)["as JSON"], `"numRetries": 5`, `"numRetries": 0`, 1)
	text = strings.Replace(strings.ReplaceAll(text, "\n ", "\n\t"), `"node": {`, `"node": { "metadata": { "x": "\ud83d\ude00\/" },`, 1)
	r := envoycheck.Check([]byte(text))
	if got := said(r); !slices.Equal(got, []string{"num-retries-zero"}) {
		t.Errorf("%+v", r.Findings)
	}
}
