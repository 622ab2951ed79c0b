package host

import "unsafe"

//go:wasmimport env proxy_get_shared_data
func getSharedData(name *byte, nameSize int32, value unsafe.Pointer, size *int32, cas *uint32) uint32

//go:wasmimport env proxy_get_property
func getProperty(path *byte, pathSize int32, value unsafe.Pointer, size *int32) uint32

//go:wasmimport env proxy_set_property
func setProperty(path *byte, pathSize int32, value *byte, size int32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(buffer uint32, start, most int32, value unsafe.Pointer, size *int32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeaderMapValue(headers uint32, name *byte, nameSize int32, value unsafe.Pointer, size *int32) uint32

// Numbers of the ABI.
const (
	statusOK        = 0
	requestBody     = 0
	responseBody    = 1
	responseHeaders = 2
)

// out is where the host writes what it returns: a VM has one thread, and variables of a call's own would be garbage. The
// host's pointers have 32 bits, the upper half stays 0.
var out struct {
	value *byte
	size  int32
	cas   uint32
}

// taken returns what the host wrote, which nobody else holds.
func taken() []byte {
	b := unsafe.Slice(out.value, out.size)
	out.value = nil
	return b
}

// SharedData returns a value of the data that all VMs share, and the number to swap against.
func SharedData(name string) (value []byte, cas uint32, ok bool) {
	out.value, out.size = nil, 0
	if getSharedData(unsafe.StringData(name), int32(len(name)), unsafe.Pointer(&out.value), &out.size, &out.cas) != statusOK {
		return nil, 0, false
	}
	return taken(), out.cas, true
}

// Property returns a property of the stream that is being worked on, of one name.
func Property(name string) (value []byte, ok bool) {
	out.value, out.size = nil, 0
	if getProperty(unsafe.StringData(name), int32(len(name)), unsafe.Pointer(&out.value), &out.size) != statusOK {
		return nil, false
	}
	return taken(), true
}

// SetProperty sets a property of the stream that is being worked on, of one name.
func SetProperty(name string, value []byte) bool {
	return setProperty(unsafe.StringData(name), int32(len(name)), unsafe.SliceData(value), int32(len(value))) == statusOK
}

// RequestBody returns size bytes of the buffered request body from start on, or fewer.
func RequestBody(start, size int) []byte { return buffer(requestBody, start, size) }

// ResponseBody returns size bytes of the buffered answer's body from start on, or fewer.
func ResponseBody(start, size int) []byte { return buffer(responseBody, start, size) }

func buffer(which uint32, start, size int) []byte {
	out.value, out.size = nil, 0
	if getBufferBytes(which, int32(start), int32(size), unsafe.Pointer(&out.value), &out.size) != statusOK {
		return nil
	}
	return taken()
}

// ResponseHeader returns a header of the answer; ok is false where there is none.
func ResponseHeader(name string) (value string, ok bool) {
	out.value, out.size = nil, 0
	if getHeaderMapValue(responseHeaders, unsafe.StringData(name), int32(len(name)), unsafe.Pointer(&out.value), &out.size) != statusOK {
		return "", false
	}
	b := taken()
	return unsafe.String(unsafe.SliceData(b), len(b)), true
}
