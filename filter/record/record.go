// Package record writes and reads the small binary records that the filter's parts keep in the host's memory: shared
// data and stream properties. Numbers are little endian; a string has its length in a byte before it.
package record

import "encoding/binary"

// AppendString appends a string of at most 255 bytes, cut there.
//
//go:noinline
func AppendString(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

// AppendVarint appends a number that Varint reads. Neither function is inlined: records have many fields, and what a call
// executes should be little code.
//
//go:noinline
func AppendVarint(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// Reader reads records from front to back. After the first read beyond the end everything reads as zero and Bad is set.
type Reader struct {
	Rest []byte // not yet read
	Bad  bool

	// Text is all that is read, where strings are to share it; else each is a copy of its own.
	Text string
}

// More says whether there is anything left to read.
func (r *Reader) More() bool { return len(r.Rest) > 0 && !r.Bad }

func (r *Reader) take(n int) []byte {
	if r.Bad || n > len(r.Rest) {
		r.Bad = true
		return nil
	}
	v := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if v := r.take(8); v != nil {
		return int64(binary.LittleEndian.Uint64(v))
	}
	return 0
}

// Varint reads what AppendVarint wrote.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Rest)
	if n <= 0 {
		r.Bad = true
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// String reads what AppendString wrote.
func (r *Reader) String() string {
	v := r.take(int(r.Byte()))
	if end := len(r.Text) - len(r.Rest); end >= len(v) {
		return r.Text[end-len(v) : end]
	}
	return string(v)
}
