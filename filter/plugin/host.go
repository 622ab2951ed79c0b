package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/host"
	"keywheel/filter/trail"
)

// property reads a string attribute; empty where there is none.
func property(path ...string) string {
	b, err := proxywasm.GetProperty(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// hostMS is the host's time, in Unix milliseconds.
func hostMS() int64 { return host.NowMS() }

// set replaces a response header. Its only failure is a stream that is gone.
func set(name, value string) { _ = proxywasm.ReplaceHttpResponseHeader(name, value) }

// leave writes the trail of the stream that is being worked on, and returns its length; 0: it could not be written.
func (v *vm) leave(t *trail.Trail) (length int) {
	v.buffer = t.Append(v.buffer[:0])
	if !host.SetProperty(trail.Property, v.buffer) {
		return 0
	}
	return len(v.buffer)
}
