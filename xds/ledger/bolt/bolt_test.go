package bolt_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

type place string

func (p place) Open() (store.Store, error) { return bolt.Open(string(p), bolt.Options{}) }

func TestContract(t *testing.T) {
	n := 0
	dir := t.TempDir()
	storetest.Run(t, func(testing.TB) storetest.Place {
		n++
		return place(filepath.Join(dir, fmt.Sprint(n), "keywheel.db"))
	})
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "keywheel", "keywheel.db")
	mustOpen(t, path)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(name), got, want)
		}
	}
	left, _ := filepath.Glob(path + ".new-*")
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOpenFileOfLooserMode(t *testing.T) {
	path := filled(t, 5)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
	info, _ := os.Stat(path)
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filled(t, 5)
	mustOpen(t, path)
	_, err := bolt.Open(path, bolt.Options{LockTimeout: time.Millisecond})
	refused(t, err, store.ErrLocked)
	if !strings.Contains(err.Error(), "another keywheel") || !strings.Contains(err.Error(), path) {
		t.Errorf("the message does not help: %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filled(t, 5)
	edit(t, path, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("format")).Put([]byte("schema"), []byte("2"))
	})
	_, err := bolt.Open(path, bolt.Options{})
	refused(t, err, store.ErrNewer)
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a store\n", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := bbolt.Open(other, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }), db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, other, dir} {
		before := read(t, path)
		_, err := bolt.Open(path, bolt.Options{})
		refused(t, err, store.ErrForeign)
		if string(before) != string(read(t, path)) {
			t.Errorf("%s was changed", path)
		}
	}
}

// A record that rotted, went or came is noticed, though each page is in order.
func TestRecordsMustAddUp(t *testing.T) {
	for name, change := range map[string]func(*bbolt.Bucket) error{
		"changed": func(b *bbolt.Bucket) error { return b.Put([]byte("key-00003"), []byte("other")) },
		"gone":    func(b *bbolt.Bucket) error { return b.Delete([]byte("key-00003")) },
		"more":    func(b *bbolt.Bucket) error { return b.Put([]byte("key-x"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t, 5)
			edit(t, path, func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte("records"))) })
			_, err := bolt.Open(path, bolt.Options{})
			refused(t, err, store.ErrCorrupt)
		})
	}
}

func TestTruncatedFiles(t *testing.T) {
	whole := read(t, filled(t, 300))
	path := filepath.Join(t.TempDir(), "keywheel.db")
	for i := range 50 {
		size := len(whole) * i / 50
		if opensWhole(t, path, whole[:size]) && i < 25 {
			t.Errorf("a file of %d of %d bytes was opened", size, len(whole)) // beyond, only unused pages may be missing
		}
	}
}

// One byte of the file is another: it is refused, or all that was committed is there. Only a head that rotted may take
// the last commit with it, as a head that was torn by a crash does.
func TestFlippedBytes(t *testing.T) {
	whole := read(t, filled(t, 300))
	path := filepath.Join(t.TempDir(), "keywheel.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	refusedFiles := 0
	for i := range 400 {
		at := r.IntN(len(whole))
		if i < 200 {
			at = len(whole) * i / 200
		}
		b := append([]byte{}, whole...)
		b[at] ^= byte(1 << r.IntN(8))
		if !opensWhole(t, path, b) {
			refusedFiles++
		}
	}
	t.Logf("%d of 400 refused", refusedFiles)
	if refusedFiles == 0 {
		t.Error("no flipped byte was ever noticed")
	}
}

// opensWhole opens a file of these bytes, says whether it could, and fails the test if what it holds is not what was
// committed, or if the refusal does not say what is wrong.
func opensWhole(t *testing.T, path string, b []byte) bool {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrForeign) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("unclear: %v", err)
		}
		return false
	}
	defer func() { _ = s.Close() }()
	got := map[string]string{}
	if err := s.Load(func(r store.Record) error { got[r.Key] = string(r.Value); return nil }); err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, r := range someRecords(300) {
		switch value, ok := got[r.Key]; {
		case !ok:
			missing++
		case value != string(r.Value):
			t.Errorf("record %s is another", r.Key)
		}
	}
	if _, last := got["key-00000"]; missing > 1 || missing == 1 && last || len(got)+missing != 300 {
		t.Errorf("%d records of 300", len(got))
	}
	if err := s.Commit([]store.Record{{Bucket: "records", Key: "another", Value: []byte("x")}}); err != nil {
		t.Errorf("cannot go on: %v", err)
	}
	return true
}

// filled makes a file of n records in two commits, the last of one record.
func filled(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keywheel.db")
	s, writes := mustOpen(t, path), someRecords(n)
	if err := errors.Join(s.Commit(writes[1:]), s.Commit(writes[:1]), s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// someRecords are n records, the first of which is large.
func someRecords(n int) []store.Record {
	var records []store.Record
	for i := range n {
		records = append(records, store.Record{Bucket: "records", Key: fmt.Sprintf("key-%05d", i), Value: []byte(strings.Repeat("v", i*7%200))})
	}
	records[0].Value = []byte(strings.Repeat("large", 3000))
	return records
}

func mustOpen(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func edit(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !strings.Contains(err.Error(), "is a directory") {
		t.Fatal(err)
	}
	return b
}
