package harness

import (
	"strings"
	"testing"
)

// BuildWasm builds a filter of the test's own, in a folder from the repository's root, and returns its path.
func BuildWasm(t testing.TB, folder string, args ...string) string {
	t.Helper()
	name := strings.ReplaceAll(folder, "/", "-") + ".wasm"
	args = append(args, "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "./"+folder)
	path, err := goBuild(Root(t), name, []string{"GOOS=wasip1", "GOARCH=wasm"}, args...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// AddWasmFilter puts a Wasm filter before all others of the first listener.
func (b Bootstrap) AddWasmFilter(t testing.TB, wasm string) {
	t.Helper()
	filter := map[string]any{"name": "test", "typed_config": map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
		"config": map[string]any{"name": "test", "root_id": "test", "vm_config": map[string]any{
			"vm_id": "test", "runtime": "envoy.wasm.runtime.v8", "code": map[string]any{"local": map[string]any{"filename": wasm}},
		}},
	}}
	manager := b.ConnectionManager(t)
	manager["http_filters"] = append([]any{filter}, manager["http_filters"].([]any)...)
}
