// Command filter is Keywheel's Envoy filter, built as a Wasm module: it puts a key that can still pay on every call to
// Groq, and counts what the call cost.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/plugin"
)

func main() {}

func init() { proxywasm.SetVMContext(plugin.New()) }
