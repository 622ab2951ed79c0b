package bench

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"keywheel/e2e/harness"
)

// way is one way to the upstream.
type way struct {
	name  string
	addr  string // host:port that clients call
	envoy *harness.Envoy
	of    []figures // one for each shape
	part  int       // a slow way makes one call for so many of the others'; 0: as many
}

func (w *way) pid() int {
	if w.envoy == nil {
		return 0
	}
	return w.envoy.Pid()
}

// Places of the ways.
const (
	direct = iota
	raw
	lua
	route
	keywheel
)

// stack is Keywheel with n keys on one worker, by one strategy.
func stack(t testing.TB, upstream string, n int, strategy string) *harness.Stack {
	t.Helper()
	return harness.Start(t, harness.Options{Keys: harness.Keys(n, 0), Upstream: "http://" + upstream, Concurrency: 1, Settings: map[string]string{
		"KEYWHEEL_STRATEGY": strategy,
		// As Keywheel ships: the harness has tests report and push more often.
		"KEYWHEEL_REPORT_INTERVAL": "1s", "KEYWHEEL_PUSH_INTERVAL": "1s",
	}})
}

// ways starts everything that is compared, with one worker each.
func ways(t testing.TB, upstream string) ([]*way, *harness.Stack) {
	t.Helper()
	s := stack(t, upstream, 3, "priority")
	bare := s.Keywheel.EnvoyConfig(t)
	withoutFilters(t, bare)
	bareListen := harness.FreeAddr(t)
	bare.SetAddress(t, bareListen, "static_resources", "listeners", 0)
	bare.SetAddress(t, harness.FreeAddr(t), "admin")
	rawListen, luaListen := harness.FreeAddr(t), harness.FreeAddr(t)
	withLua := harness.PlainProxy(t, luaListen, harness.FreeAddr(t), upstream)
	addLua(t, withLua, s.Keys)
	return []*way{
		direct:   {name: "direct", addr: upstream},
		raw:      {name: "Envoy, raw", addr: rawListen, envoy: oneWorker(t, harness.PlainProxy(t, rawListen, harness.FreeAddr(t), upstream))},
		lua:      {name: "Envoy + Lua", addr: luaListen, envoy: oneWorker(t, withLua)},
		route:    {name: "envoy.yaml, no filter", addr: bareListen, envoy: oneWorker(t, bare)},
		keywheel: {name: "Keywheel", addr: s.Keywheel.Listen, envoy: s.Envoy},
	}, s
}

func oneWorker(t testing.TB, b harness.Bootstrap) *harness.Envoy {
	t.Helper()
	e := harness.NewEnvoy(t, b)
	e.Concurrency = 1
	e.Start(t)
	return e
}

// withoutFilters takes Keywheel's filters out of its own configuration, so that what the route's settings cost by
// themselves (retries, headers taken off, the body kept for another try) is seen apart.
func withoutFilters(t testing.TB, b harness.Bootstrap) {
	t.Helper()
	for _, r := range b.Routes(t) {
		delete(r.(map[string]any), "typed_per_filter_config")
	}
	manager := b.ConnectionManager(t)
	filters := manager["http_filters"].([]any)
	manager["http_filters"] = filters[len(filters)-1:] // the router
	protocol := b.Cluster(t, "groq")["typed_extension_protocol_options"].(map[string]any)
	for _, options := range protocol {
		delete(options.(map[string]any), "http_filters")
	}
}

// luaScript does the same job as Keywheel as far as a script can: a key by turns, the header, the answer's usage.
const luaScript = `
local keys = {%s}
local turn, tokens = 0, 0
function envoy_on_request(h)
  turn = turn %% #keys + 1
  h:headers():replace("authorization", "Bearer " .. keys[turn])
end
function envoy_on_response(h)
  for chunk in h:bodyChunks() do
    local n = string.match(chunk:getBytes(0, chunk:length()), '"total_tokens":(%%d+)')
    if n then tokens = tokens + n end
  end
end
`

func addLua(t testing.TB, b harness.Bootstrap, keys []harness.Key) {
	t.Helper()
	quoted := make([]string, len(keys))
	for i, k := range keys {
		quoted[i] = strconv.Quote(k.Secret)
	}
	filter := map[string]any{"name": "lua", "typed_config": map[string]any{
		"@type":               "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
		"default_source_code": map[string]any{"inline_string": fmt.Sprintf(luaScript, strings.Join(quoted, ","))},
	}}
	manager := b.ConnectionManager(t)
	manager["http_filters"] = append([]any{filter}, manager["http_filters"].([]any)...)
}
