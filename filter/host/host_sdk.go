//go:build !wasip1

package host

import (
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
)

// NowMS is the host's time, in Unix milliseconds.
func NowMS() int64 { return time.Now().UnixMilli() }

// SharedData returns a value of the data that all VMs share, and the number to swap against.
func SharedData(name string) (value []byte, cas uint32, ok bool) {
	b, cas, err := proxywasm.GetSharedData(name)
	return b, cas, err == nil
}

// Property returns a property of the stream that is being worked on, of one name.
func Property(name string) (value []byte, ok bool) {
	b, err := proxywasm.GetProperty([]string{name})
	return b, err == nil
}

// SetProperty sets a property of the stream that is being worked on, of one name.
func SetProperty(name string, value []byte) bool {
	return proxywasm.SetProperty([]string{name}, value) == nil
}

// RequestBody returns size bytes of the buffered request body from start on, or fewer.
func RequestBody(start, size int) []byte {
	b, err := proxywasm.GetHttpRequestBody(start, size)
	if err != nil {
		return nil
	}
	return b
}

// ResponseBody returns size bytes of the buffered answer's body from start on, or fewer.
func ResponseBody(start, size int) []byte {
	b, err := proxywasm.GetHttpResponseBody(start, size)
	if err != nil {
		return nil
	}
	return b
}

// ResponseHeader returns a header of the answer; ok is false where there is none.
func ResponseHeader(name string) (value string, ok bool) {
	v, err := proxywasm.GetHttpResponseHeader(name)
	return v, err == nil
}

// RequestHeaders returns all headers of the request, names and values. They are good until the next call of either kind.
func RequestHeaders() (headers [][2]string, ok bool) {
	h, err := proxywasm.GetHttpRequestHeaders()
	return h, err == nil
}

// ResponseHeaders returns all headers of the answer, names and values. They are good until the next call of either kind.
func ResponseHeaders() (headers [][2]string, ok bool) {
	h, err := proxywasm.GetHttpResponseHeaders()
	return h, err == nil
}
