package plugin

import "github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

// property reads a string attribute; empty where there is none.
func property(path ...string) string {
	b, err := proxywasm.GetProperty(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// set replaces a response header. Its only failure is a stream that is gone.
func set(name, value string) { _ = proxywasm.ReplaceHttpResponseHeader(name, value) }
