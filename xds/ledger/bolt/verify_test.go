package bolt

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"keywheel/xds/ledger/store"
)

// Whatever a file holds, verify returns; and what it accepts, bbolt can work with.
func FuzzVerify(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.db")
	s, err := Open(path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	var writes []store.Record
	for i := range 200 {
		writes = append(writes, store.Record{Bucket: "b", Key: fmt.Sprint(i), Value: make([]byte, 100)})
	}
	if err := s.Commit(writes); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{})
	for at := 0; at < len(seed); at += len(seed) / 40 {
		f.Add(uint32(at), []byte{0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		b := bytes.Clone(seed)
		copy(b[int(at)%len(b):], patch)
		found, err := verify(bytes.NewReader(b))
		if (found == nil) == (err == nil) {
			t.Fatalf("found %v with error %v", found, err)
		}
	})
}
