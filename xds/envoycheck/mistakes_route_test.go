package envoycheck_test

var routeMistakes = []mistake{
	{code: "retry-policy-missing", edits: edit(retryPolicy, "")},
	{code: "virtual-host-retry-overridden", edits: edit(host, host+hostRetry, retriable+numRetries, numRetries)},
	{code: "rotate-header-not-retriable", edits: edit(retriable, "")},
	{code: "rotate-header-not-retriable", how: "another header", edits: edit("{ name: x-keywheel-rotate, present_match: true }", "{ name: x-rotate, present_match: true }")},
	{code: "rotate-header-not-retriable", how: "where it is absent", edits: edit("{ name: x-keywheel-rotate, present_match: true }", "{ name: x-keywheel-rotate, present_match: true, invert_match: true }")},
	{code: "rotate-header-not-retriable", how: "by the cluster", edits: edit(protocolOptions, "        retry_policy: { retry_on: \"retriable-headers,reset\", num_retries: 5, retry_back_off: { base_interval: 0.001s } }\n"+protocolOptions, retryPolicy, "")},
	{code: "retriable-headers-not-in-retry", edits: edit("retry_on: retriable-headers,reset", "retry_on: reset")},
	{code: "num-retries-zero", edits: edit(numRetries, "                    num_retries: 0\n")},
	{code: "num-retries-default", edits: edit(numRetries, "")},
	{code: "back-off-default", edits: edit("                    retry_back_off: { base_interval: 0.001s, max_interval: 0.005s }\n", "")},
	{code: "back-off-default", how: "written out", edits: edit("{ base_interval: 0.001s, max_interval: 0.005s }", "{ base_interval: 0.025s }")},
	{code: "rate-limited-back-off", edits: edit(numRetries, numRetries+"                    rate_limited_retry_back_off: { reset_headers: [{ name: retry-after, format: SECONDS }] }\n")},
	{code: "resets-not-retried", edits: edit("retry_on: retriable-headers,reset", "retry_on: retriable-headers")},
	{code: "retry-on-statuses", edits: edit("retry_on: retriable-headers,reset", "retry_on: retriable-headers,5xx")},
	{code: "per-try-timeout-short", edits: edit(numRetries, numRetries+"                    per_try_timeout: 10s\n")},
	{code: "per-try-timeout-short", how: "without a word", edits: edit(numRetries, numRetries+"                    per_try_idle_timeout: 5.5s\n")},
	{code: "hedge-policy", edits: edit(routeStart, routeStart+"                  hedge_policy: { hedge_on_per_try_timeout: true }\n")},
	{code: "hedge-policy", how: "of the virtual host", edits: edit(host, host+"              hedge_policy: { hedge_on_per_try_timeout: true }\n")},
	{code: "internal-redirect", edits: edit(routeStart, routeStart+"                  internal_redirect_policy: {}\n")},
	{code: "mirror-policy", edits: edit(routeStart, routeStart+"                  request_mirror_policies: [{ cluster: keywheel_control_plane }]\n")},
	{code: "mirror-policy", how: "of the cluster", edits: edit(protocolOptions, "        request_mirror_policies: [{ cluster: keywheel_control_plane }]\n"+protocolOptions)},
	{code: "mirror-policy", how: "of another route to Groq", edits: edit(otherRoute, "              - match: { prefix: /mine/ }\n"+
		"                route: { cluster: keywheel_control_plane, request_mirror_policies: [{ cluster: groq }] }\n"+otherRoute), says: "passed no gate"},
	{code: "route-timeout-short", edits: edit("                  timeout: 0s\n", "")},
	{code: "route-timeout-short", how: "written out", edits: edit("                  timeout: 0s\n", "                  timeout: 30s\n"), says: "30s"},
	{code: "idle-timeout-short", edits: edit("                  idle_timeout: 300s\n", "                  idle_timeout: 10s\n")},
	{code: "idle-timeout-short", how: "the listener's", edits: edit("                  idle_timeout: 300s\n", "", "stream_idle_timeout: 300s", "stream_idle_timeout: 15s"), says: "stream_idle_timeout"},
	{code: "stream-duration-short", edits: edit(routeStart, routeStart+"                  max_stream_duration: { max_stream_duration: 20s }\n")},
	{code: "stream-duration-short", how: "the cluster's", edits: edit("          idle_timeout: 90s #", "          max_stream_duration: 20s\n          idle_timeout: 90s #")},
	{code: "body-buffer-small", edits: edit(routeBuffer, "")},
	{code: "body-buffer-small", how: "written out", edits: edit(routeBuffer, "                request_body_buffer_limit: 65536\n"), says: "65536"},
	{code: "body-buffer-small", how: "the listener's", edits: edit(routeBuffer, "", "    filter_chains:\n", "    per_connection_buffer_limit_bytes: 32768\n    filter_chains:\n"), says: "32768"},
	{code: "host-not-rewritten", edits: edit("                  host_rewrite_literal: api.groq.com\n", "")},
	{code: "host-not-rewritten", how: "to another", edits: edit("host_rewrite_literal: api.groq.com", "host_rewrite_literal: groq.com"), says: "groq.com"},
	{code: "path-not-rewritten", edits: edit("                  regex_rewrite:\n                    pattern: { regex: \"^/(openai/)?v1/\" }\n                    substitution: /openai/v1/\n", ""),
		says: "/v1/chat/completions reaches Groq as /v1/chat/completions"},
	{code: "path-not-rewritten", how: "doubled", edits: edit("                  regex_rewrite:\n                    pattern: { regex: \"^/(openai/)?v1/\" }\n                    substitution: /openai/v1/\n",
		"                  regex_rewrite: { pattern: { regex: \"^(/openai)?(/.*)\" }, substitution: '\\1/openai\\2' }\n"), says: "/openai/openai/v1/chat/completions"},
	{code: "path-not-rewritten", how: "by a prefix", in: "company", edits: edit("                  prefix_rewrite: /openai/v1/\n", "                  prefix_rewrite: /openai/\n"), says: "as /openai/chat/completions"},
	{code: "path-not-served", in: "company", edits: edit("match: { prefix: /v1/ }\n                route: &to_groq", "match: { prefix: /llm/ }\n                route: &to_groq")},
	{code: "path-not-normalized", edits: edit("          normalize_path: true\n", "")},
	{code: "websocket-allowed", edits: edit("                  upgrade_configs:\n                  - { upgrade_type: websocket, enabled: false }\n", "")},
	{code: "key-header-removed", edits: edit("                - x-keywheel-rotate\n", "                - x-keywheel-rotate\n                - X-Keywheel-Key\n")},
	{code: "accept-encoding-set", edits: edit(routeBuffer, routeBuffer+"                request_headers_to_add: [{ header: { key: Accept-Encoding, value: gzip } }]\n")},
	{code: "authorization-set", edits: edit(routeBuffer, routeBuffer+"                request_headers_to_add: [{ header: { key: authorization, value: Bearer x } }]\n")},
	{code: "authorization-echoed", edits: edit(routeBuffer, routeBuffer+"                response_headers_to_add: [{ header: { key: x-debug, value: \"%REQ(Authorization)%\" } }]\n")},
	{code: "authorization-traced", how: "by the route", edits: edit(routeBuffer, routeBuffer+"                tracing: { custom_tags: [{ tag: a, request_header: { name: authorization } }] }\n")},
}

const hostRetry = `              retry_policy:
                retry_on: retriable-headers,reset
                retriable_headers: [{ name: x-keywheel-rotate, present_match: true }]
                num_retries: 5
                retry_back_off: { base_interval: 0.001s }
`

const protocolOptions = "        common_http_protocol_options:\n"
