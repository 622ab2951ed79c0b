package account

import "encoding/binary"

var le = binary.LittleEndian

func i64(b []byte, off int) int64       { return int64(le.Uint64(b[off:])) }
func putI64(b []byte, off int, v int64) { le.PutUint64(b[off:], uint64(v)) }
func addI64(b []byte, off int, v int64) { putI64(b, off, i64(b, off)+v) }
func addU32(b []byte, off int, v uint32) {
	le.PutUint32(b[off:], le.Uint32(b[off:])+v)
}
