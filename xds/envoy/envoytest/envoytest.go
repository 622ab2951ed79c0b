// Package envoytest helps tests that run a real Envoy.
package envoytest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"keywheel/xds/envoy"
)

// Binary returns a real Envoy, as `keywheel run` would find it. Without one the test is skipped; in CI (CI=true) it
// fails.
func Binary(t testing.TB) string {
	t.Helper()
	path, _, err := envoy.Find(context.Background(), envoy.Options{Progress: progress{t}})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

type progress struct{ t testing.TB }

func (p progress) Write(b []byte) (int, error) {
	p.t.Logf("%s", b)
	return len(b), nil
}

// FreePort returns an address on loopback that nothing listened on a moment ago.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// IdleModule writes a Wasm module that Envoy takes for a filter and that lets everything pass, and returns its path.
// Unlike the real one it is compiled at once.
func IdleModule(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "idle.wasm")
	if err := os.WriteFile(path, idleModule(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// idleModule is, in the text format:
//
//	(module
//	  (memory (export "memory") 1)
//	  (func (export "proxy_abi_version_0_2_1"))
//	  (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 0))
func idleModule() []byte {
	section := func(id byte, content ...byte) []byte {
		return append([]byte{id, byte(len(content))}, content...)
	}
	export := func(name string, kind, index byte) []byte {
		return append(append([]byte{byte(len(name))}, name...), kind, index)
	}
	exports := []byte{3}
	exports = append(exports, export("memory", 2, 0)...)
	exports = append(exports, export("proxy_abi_version_0_2_1", 0, 0)...)
	exports = append(exports, export("proxy_on_memory_allocate", 0, 1)...)
	module := []byte("\x00asm\x01\x00\x00\x00")
	module = append(module, section(1, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f)...) // types
	module = append(module, section(3, 2, 0, 1)...)                               // functions
	module = append(module, section(5, 1, 0, 1)...)                               // memory
	module = append(module, section(7, exports...)...)                            // exports
	return append(module, section(10, 2, 2, 0, 0x0b, 4, 0, 0x41, 0, 0x0b)...)     // code
}
