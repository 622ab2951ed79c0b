package account

import "encoding/binary"

var le = binary.LittleEndian

func i64(b []byte, off int) int64       { return int64(le.Uint64(b[off:])) }
func putI64(b []byte, off int, v int64) { le.PutUint64(b[off:], uint64(v)) }
func addI64(b []byte, off int, v int64) { putI64(b, off, i64(b, off)+v) }
func addU32(b []byte, off int, v uint32) {
	le.PutUint32(b[off:], le.Uint32(b[off:])+v)
}

// appendString appends a string of at most 255 bytes, cut there.
func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

// reader reads a value from front to back. After the first read beyond the end everything reads as zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return le.Uint32(v)
	}
	return 0
}

func (r *reader) i64() int64 {
	if v := r.take(8); v != nil {
		return int64(le.Uint64(v))
	}
	return 0
}

func (r *reader) str() string { return string(r.take(int(r.u8()))) }
