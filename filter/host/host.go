// Package host makes the host calls of every client call, which are those that hand bytes over, without the garbage that
// the SDK makes for each: in the compiled module it calls the host by itself. Elsewhere, where tests emulate the host, it
// calls the SDK.
//
// The rules are:
//   - Shared data belongs to the caller.
//   - Anything else that is returned is good until the next call of the same function, and never after the callback of the
//     host's in which it was asked for. What is kept is copied.
package host

import (
	"encoding/binary"
	"unsafe"
)

// Headers are the names and values of one map, in their order, as the host writes them: how many there are, the lengths of
// each name and value, then all of them with a zero after each. The zero value has none.
type Headers struct {
	raw   []byte
	n     int // left to read
	sizes int // where the next lengths stand
	at    int // where the next name does
}

func headersOf(raw []byte) Headers {
	n := int(binary.LittleEndian.Uint32(raw))
	return Headers{raw: raw, n: n, sizes: 4, at: 4 + 8*n}
}

// Next reads one header; ok is false after the last. Who wants to read them again keeps a copy of h.
func (h *Headers) Next() (name, value string, ok bool) {
	if h.n == 0 {
		return "", "", false
	}
	name = h.text(h.sizes)
	value = h.text(h.sizes + 4)
	h.sizes += 8
	h.n--
	return name, value, true
}

func (h *Headers) text(size int) string {
	n := int(binary.LittleEndian.Uint32(h.raw[size:]))
	b := h.raw[h.at : h.at+n]
	h.at += n + 1
	return unsafe.String(unsafe.SliceData(b), n)
}
