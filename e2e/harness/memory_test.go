package harness

import "testing"

func TestLinearMemory(t *testing.T) {
	const maps = `530f00000000-530f3a000000 ---p 00000000 00:00 0
7f8b5ecbf000-7f8b5ecc0000 rw-p 00000000 00:00 0
7f8b5ecc0000-7f8b5f140000 rw-p 00000000 00:00 0
7f8b5f140000-7f8d5ecc0000 ---p 00000000 00:00 0
7f8d8ecd0000-7f8d8f4d0000 rw-p 00000000 00:00 0
7f8d8f4d0000-7f8d8f950000 ---p 00000000 00:00 0
7f8d8f950000-7f8d8fa50000 rw-p 00000000 00:00 0
7f8d8fa50000-7f8f8f4d0000 ---p 00000000 00:00 0
`
	if got, want := linearMemory(maps), int64(0x480000+0x100000); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}
