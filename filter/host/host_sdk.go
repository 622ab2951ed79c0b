//go:build !wasip1

package host

import (
	"encoding/binary"
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

// RequestHeaders returns all headers of the request. They are good until the next call of any kind of headers.
func RequestHeaders() (h Headers, ok bool) { return written(proxywasm.GetHttpRequestHeaders()) }

// ResponseHeaders returns all headers of the answer. They are good until the next call of any kind of headers.
func ResponseHeaders() (h Headers, ok bool) { return written(proxywasm.GetHttpResponseHeaders()) }

// ResponseTrailers returns all trailers of the answer. They are good until the next call of any kind of headers.
func ResponseTrailers() (h Headers, ok bool) { return written(proxywasm.GetHttpResponseTrailers()) }

// written writes headers as the host does.
func written(headers [][2]string, err error) (Headers, bool) {
	if err != nil {
		return Headers{}, false
	}
	raw := binary.LittleEndian.AppendUint32(nil, uint32(len(headers)))
	for _, h := range headers {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(h[0])))
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(h[1])))
	}
	for _, h := range headers {
		raw = append(append(append(append(raw, h[0]...), 0), h[1]...), 0)
	}
	return headersOf(raw), true
}
