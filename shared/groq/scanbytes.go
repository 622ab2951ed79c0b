package groq

import (
	"encoding/binary"
	"math/bits"
)

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// plainRun returns how many bytes stand before the first quote or backslash. It tests eight at a time: the lowest set
// high bit of (x−01…)&^x is that of the lowest zero byte of x.
func plainRun(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		q, s := w^('"'*everyByte), w^('\\'*everyByte)
		if m := ((q-everyByte)&^q | (s-everyByte)&^s) & highBits; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// plainLineRun returns how many bytes stand before the first quote, backslash or control character.
func plainLineRun(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		q, s := w^('"'*everyByte), w^('\\'*everyByte)
		if m := ((q-everyByte)&^q | (s-everyByte)&^s | (w-' '*everyByte)&^w) & highBits; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
		i++
	}
	return i
}

func blank(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// endsLiteral holds the bytes that cannot belong to a number or literal.
var endsLiteral = [256]bool{
	' ': true, '\t': true, '\n': true, '\r': true, ',': true, ':': true, '"': true,
	'{': true, '}': true, '[': true, ']': true,
}

const (
	bracketNone = iota
	bracketQuote
	bracketOpen
	bracketClose
)

// bracket holds the bytes that matter in a value that nobody wants.
var bracket = [256]uint8{
	'"': bracketQuote, '{': bracketOpen, '[': bracketOpen, '}': bracketClose, ']': bracketClose,
}
