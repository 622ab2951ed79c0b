package record

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, i, u := rapid.StringN(-1, -1, 300).Draw(t, "s"), rapid.Int64().Draw(t, "i"), rapid.Uint32().Draw(t, "u")
		b := AppendString(nil, s)
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
		b = binary.LittleEndian.AppendUint32(b, u)
		b = append(binary.AppendVarint(b, i), 7)
		r := Reader{Rest: b}
		if got := r.String(); got != s[:min(len(s), 255)] || r.Int64() != i || r.Uint32() != u || r.Varint() != i || r.Byte() != 7 || r.Bad || r.More() {
			t.Fatalf("read back otherwise: %+v", r)
		}
		cut := Reader{Rest: b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]}
		_, _, _, _, _ = cut.String(), cut.Int64(), cut.Uint32(), cut.Varint(), cut.Byte()
		if !cut.Bad || cut.Byte() != 0 || cut.String() != "" {
			t.Fatal("a record that was cut read as whole")
		}
	})
}
