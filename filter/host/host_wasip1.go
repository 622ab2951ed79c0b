package host

import "unsafe"

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clockTimeGet(clock uint32, precision uint64, now unsafe.Pointer) uint32

//go:wasmimport env proxy_get_shared_data
func getSharedData(name *byte, nameSize int32, value unsafe.Pointer, size *int32, cas *uint32) uint32

//go:wasmimport env proxy_get_property
func getProperty(path *byte, pathSize int32, value unsafe.Pointer, size *int32) uint32

//go:wasmimport env proxy_set_property
func setProperty(path *byte, pathSize int32, value *byte, size int32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(buffer uint32, start, most int32, value unsafe.Pointer, size *int32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func getHeaderMapPairs(headers uint32, value unsafe.Pointer, size *int32) uint32

// Numbers of the ABI.
const (
	statusOK         = 0
	realTime         = 0
	requestHeaders   = 0
	requestBody      = 0
	responseBody     = 1
	responseHeaders  = 2
	responseTrailers = 3
)

// out is where the host writes what it returns: a VM has one thread, and variables of a call's own would be garbage. The
// host's pointers have 32 bits, the upper half stays 0.
var out struct {
	value *byte
	size  int32
	cas   uint32
	now   uint64
}

// NowMS is the host's time, in Unix milliseconds. time.Now would ask the host for a second clock as well.
func NowMS() int64 {
	clockTimeGet(realTime, 1e6, unsafe.Pointer(&out.now)) // it cannot fail
	return int64(out.now / 1e6)
}

// into is where the host's next bytes go; nil: into memory of their own.
var into []byte

// memory is asked for by the host wherever it hands bytes over, also in calls that the SDK makes. The host prefers it to
// the SDK's proxy_on_memory_allocate.
//
//go:wasmexport malloc
func memory(size uint32) *byte {
	if int(size) <= len(into) {
		return &into[0]
	}
	return unsafe.SliceData(make([]byte, size))
}

// Buffers that calls use again and again.
var (
	forBody    = make([]byte, 64<<10)
	forHeaders = make([]byte, 8<<10)
	forValue   = make([]byte, 1<<10)
)

// taken returns what the host wrote.
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
	into = forValue
	status := getProperty(unsafe.StringData(name), int32(len(name)), unsafe.Pointer(&out.value), &out.size)
	into = nil
	if status != statusOK {
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
	into = forBody
	status := getBufferBytes(which, int32(start), int32(size), unsafe.Pointer(&out.value), &out.size)
	into = nil
	if status != statusOK {
		return nil
	}
	return taken()
}

// RequestHeaders returns all headers of the request. They are good until the next call of any kind of headers.
func RequestHeaders() (h Headers, ok bool) { return pairs(requestHeaders) }

// ResponseHeaders returns all headers of the answer. They are good until the next call of any kind of headers.
func ResponseHeaders() (h Headers, ok bool) { return pairs(responseHeaders) }

// ResponseTrailers returns all trailers of the answer. They are good until the next call of any kind of headers.
func ResponseTrailers() (h Headers, ok bool) { return pairs(responseTrailers) }

func pairs(which uint32) (Headers, bool) {
	out.value, out.size = nil, 0
	into = forHeaders
	status := getHeaderMapPairs(which, unsafe.Pointer(&out.value), &out.size)
	into = nil
	if status != statusOK || out.value == nil {
		return Headers{}, false
	}
	return headersOf(taken()), true
}
