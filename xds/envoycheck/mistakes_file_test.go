package envoycheck_test

var fileMistakes = []mistake{
	{code: "not-yaml", text: "static_resources:\n\t- what\n  is: [this", refused: true},
	{code: "not-yaml", how: "a template", text: "static_resources: {{ .Values.envoy }}\n  clusters: [", refused: true},
	{code: "not-a-bootstrap", text: "kind: EnvoyFilter\nspec: {}\n", says: "Kubernetes", refused: true},
	{code: "not-a-bootstrap", how: "a dump", text: `{"configs": []}`, says: "config_dump", refused: true},
	{code: "not-a-bootstrap", how: "xDS resources", text: "resources: []\n", says: "xDS", refused: true},
	{code: "not-a-bootstrap", how: "a list", text: "- 1\n", refused: true},
	{code: "not-a-bootstrap", how: "nothing", text: "\n", refused: true},
	{code: "no-groq-route", text: "static_resources: { listeners: [], clusters: [] }\n"},
	{code: "no-groq-route", how: "the listeners come by xDS",
		text: "node: { id: a, cluster: b }\nstatic_resources: {}\ndynamic_resources: { lds_config: { path_config_source: { path: /dev/null } } }\n"},
	{code: "gate-missing", edits: edit(gateStart, "          - name: others\n            disabled: true\n", "root_id: keywheel.gate #", "root_id: others #",
		"                  keywheel.gate: &gate_on", "                  others: &gate_on", "keywheel.gate: *gate_on", "others: *gate_on")},
	{code: "gate-not-enabled", edits: edit(gateOn, "                typed_per_filter_config:\n                  others: &gate_on\n")},
	{code: "gate-not-enabled", how: "for one of two routes", in: "company", edits: edit("                  retry_policy: *rotate\n                typed_per_filter_config: *groq_on\n", "                  retry_policy: *rotate\n")},
	{code: "gate-not-enabled", how: "switched off", edits: edit("                    config: {}\n", "                    disabled: true\n")},
	{code: "gate-not-enabled", how: "for a part of the calls", edits: edit(routeStart, "                  weighted_clusters: { clusters: [{ name: groq, weight: 1 }, "+
		"{ name: groq, weight: 1, typed_per_filter_config: { keywheel.gate: { \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true } } }] }\n")},
	{code: "gate-on-other-route", edits: edit(otherRoute, webRoute+"                typed_per_filter_config: { keywheel.gate: *gate_on }\n"+otherRoute)},
	{code: "gate-on-other-route", how: "by the virtual host", in: "company", edits: edit(
		"            - name: shop\n", "            - name: shop\n              typed_per_filter_config: { keywheel.gate: { \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {} } }\n")},
	{code: "gate-on-other-route", how: "a part of the calls", edits: edit(routeStart,
		"                  weighted_clusters: { clusters: [{ name: groq, weight: 1 }, { name: keywheel_control_plane, weight: 1 }] }\n")},
	{code: "gate-not-disabled", edits: edit(gateStart, "          - name: keywheel.gate\n")},
	{code: "gate-not-disabled", how: "before a shop", in: "company", edits: edit(gateStart, "          - name: keywheel.gate\n")},
	{code: "gate-twice", edits: edit(router, gateOnlyFilter+router, "                    config: {}\n", "                    config: {}\n                  keywheel.gate_only: *gate_on\n")},
	{code: "gate-only", edits: edit(router, gateOnlyFilter+router, "                  keywheel.gate: &gate_on\n", "                  keywheel.gate_only: &gate_on\n")},
	{code: "gate-only", how: "without retries", edits: edit(router, gateOnlyFilter+router, "                  keywheel.gate: &gate_on\n", "                  keywheel.gate_only: &gate_on\n",
		retryPolicy, "", "        max_retries: 10000\n", "")},
	{code: "gate-after-router", edits: edit(router, "          - name: early\n", gateStart, "          - name: envoy.filters.http.router\n            typed_config: "+
		"{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }\n"+gateStart), refused: true},
	{code: "auth-after-gate", edits: edit(router, basicAuth+router)},
	{code: "buffer-filter-small", edits: edit(router, buffer+router)},
	{code: "attempt-missing", edits: edit(anAttempt, "        - name: others\n          config_discovery:\n", "root_id: keywheel.attempt", "root_id: others")},
	{code: "attempt-missing", how: "no upstream filter at all, behind another proxy", in: "to this machine, in clear text",
		edits: edit(`all:"name": "keywheel.attempt",`, `"name": "others",`, `"rootId": "keywheel.attempt"`, `"rootId": "others"`)},
	{code: "attempt-in-router", edits: edit("              suppress_envoy_headers: true\n", "              suppress_envoy_headers: true\n              upstream_http_filters:\n"+
		"              - { name: keywheel.attempt, config_discovery: { type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm], config_source: *control_plane } }\n"+
		indented(6, codec))},
	{code: "attempt-disabled", edits: edit(anAttempt, "        - name: keywheel.attempt\n          disabled: true\n          config_discovery:\n")},
	{code: "attempt-after-codec", edits: edit(codec, "", anAttempt, codec+anAttempt), refused: true},
	{code: "upstream-codec-last", edits: edit(codec, ""), refused: true},
}
