// Package bolt keeps the ledger's records in one file of bbolt's.
//
// bbolt notices a torn write, but not a byte that rotted in a page; and it ends the process on some damaged files. So
// a file is verified before bbolt may change it: every page that is in use is walked by this package's own reader, and
// a sum over all records, kept in the same commit, must be right. A file that fails is refused; it is never repaired
// and never started anew.
package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"keywheel/xds/ledger/store"
)

// The bucket that says what the file is. The ledger's own buckets have other names.
const (
	formatBucket = "format"
	formatName   = "name"
	formatSchema = "schema"
	formatSum    = "sum"

	fileName = "keywheel ledger"
)

// DefaultLockTimeout is how long Open waits for another process to let go of the file.
const DefaultLockTimeout = 2 * time.Second

// Options say how to open a file.
type Options struct {
	LockTimeout time.Duration // 0: DefaultLockTimeout
	Log         *slog.Logger  // nil: nothing is logged
}

// Store is an open file. One process at a time holds it.
type Store struct {
	db   *bbolt.DB
	path string

	broken atomic.Pointer[error] // what bbolt failed at; it may hold its locks for ever, and is not called any more
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, or makes it, with its folder, where there is none. The file can be read and written by
// its owner only. The error is one of store.ErrLocked, ErrNewer, ErrForeign, ErrCorrupt, or the system's.
func Open(path string, o Options) (*Store, error) {
	if o.LockTimeout <= 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := create(path); err != nil {
			return nil, fmt.Errorf("cannot make the store %s: %w; let this user write to its folder, or set KEYWHEEL_STORE to another path", path, err)
		}
	case err != nil:
		return nil, fmt.Errorf("cannot open the store: %w", err)
	case !info.Mode().IsRegular():
		return nil, &refusal{path: path, kind: store.ErrForeign, why: errors.New("it is not a file"), todo: "give KEYWHEEL_STORE another path"}
	case info.Size() == 0:
		return nil, damaged(path, errors.New("the file is empty"))
	}
	seen, err := verified(path, o)
	if err != nil {
		return nil, err
	}
	if err := seen.Close(); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep the store from other users: %w; let this user own it, or set KEYWHEEL_STORE to another path", err)
	}
	db, err := open(path, options(o.LockTimeout, false))
	if err != nil {
		return nil, opening(path, err)
	}
	return &Store{db: db, path: path}, nil
}

func options(lock time.Duration, readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lock, ReadOnly: readOnly, NoStatistics: true, FreelistType: bbolt.FreelistMapType,
		NoFreelistSync: true, // one thing less that can be damaged, and less to write
	}
}

// open is bbolt's, with its panics as errors.
func open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	if failed := guarded(func() { db, err = bbolt.Open(path, 0o600, o) }); failed != nil {
		return nil, failed
	}
	return db, err
}

// guarded runs f, which reads pages of the file. Pages that rot, or a file that is cut, while it is open would end the
// process; here they are an error.
func guarded(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	f()
	return nil
}

// run is guarded for a transaction. After a failure no other is begun.
func (s *Store) run(begin func(func(*bbolt.Tx) error) error, f func(*bbolt.Tx) error) (err error) {
	if failed := s.broken.Load(); failed != nil {
		return *failed
	}
	if failed := guarded(func() { err = begin(f) }); failed != nil {
		failed = &refusal{
			path: s.path, kind: store.ErrCorrupt, why: fmt.Errorf("its file changed while it was open: %w", failed),
			todo: "stop Keywheel and restore a backup: keywheel restore FILE",
		}
		s.broken.Store(&failed)
		return failed
	}
	return err
}

// verified opens the file for reading, which keeps other processes from changing it, and verifies it.
func verified(path string, o Options) (*bbolt.DB, error) {
	db, err := open(path, options(o.LockTimeout, true))
	if err != nil {
		return nil, opening(path, err)
	}
	if err := verifyFile(path, o.Log); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func verifyFile(path string, log *slog.Logger) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	found, err := verify(f)
	if err != nil {
		return damaged(path, err)
	}
	if found.tornHead && log != nil {
		log.Warn("The newest head of the store is damaged; what was last written to it may be missing", "store", path)
	}
	return found.admit(path)
}

// admit says whether what a file holds is this version's and whole.
func (c *contents) admit(path string) error {
	if c.format[formatName] != fileName {
		return &refusal{path: path, kind: store.ErrForeign, todo: "give KEYWHEEL_STORE another path"}
	}
	schema, err := strconv.Atoi(c.format[formatSchema])
	if err != nil || schema < 1 {
		return damaged(path, errors.New("its version cannot be read"))
	}
	if schema > store.Schema {
		return &refusal{
			path: path, kind: store.ErrNewer, why: fmt.Errorf("it has format %d, and this one knows %d", schema, store.Schema),
			todo: "run that version, or restore a backup made before it: keywheel restore FILE",
		}
	}
	if c.format[formatSum] != string(c.sum.bytes()) {
		return damaged(path, errors.New("its records are not those that were written"))
	}
	return nil
}

// refusal is why a file is not opened.
type refusal struct {
	path string
	kind error // one of package store's
	why  error // nil: the kind says all
	todo string
}

func (r *refusal) Error() string { return r.path + ": " + r.reason() + "; " + r.todo }

func (r *refusal) Unwrap() []error { return []error{r.kind, r.why} }

func (r *refusal) reason() string {
	if r.why == nil {
		return r.kind.Error()
	}
	return r.kind.Error() + ": " + r.why.Error()
}

// Reason is what is wrong with a file that was not opened, without its path and without what to do about a store.
func Reason(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.reason()
	}
	return err.Error()
}

// opening explains an error of bbolt's.
func opening(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return &refusal{
			path: path, kind: store.ErrLocked,
			todo: "that is most likely another keywheel run or keywheel serve; stop that one, or give this one its own KEYWHEEL_STORE",
		}
	case errors.Is(err, berrors.ErrInvalid):
		return &refusal{path: path, kind: store.ErrForeign, todo: "give KEYWHEEL_STORE another path, or, if it was a store, restore a backup: keywheel restore FILE"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("cannot open the store: %w; let this user read and write it, or set KEYWHEEL_STORE to another path", err)
	}
	return damaged(path, err)
}

func damaged(path string, why error) error {
	return &refusal{
		path: path, kind: store.ErrCorrupt, why: why,
		todo: "restore a backup (keywheel restore FILE), or move the file away to start with empty counters",
	}
}

// Path is the file's absolute path.
func (s *Store) Path() string { return s.path }

// Load is the store's.
func (s *Store) Load(f func(store.Record) error) error {
	return s.view(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if string(name) == formatBucket {
				return nil
			}
			return b.ForEach(func(k, v []byte) error {
				return f(store.Record{Bucket: string(name), Key: string(k), Value: append([]byte{}, v...)})
			})
		})
	})
}

// Commit is the store's.
func (s *Store) Commit(writes []store.Record) error {
	if len(writes) == 0 {
		return nil
	}
	return s.update(func(tx *bbolt.Tx) error {
		format := tx.Bucket([]byte(formatBucket))
		if format == nil {
			return store.ErrCorrupt
		}
		total := readSum(format.Get([]byte(formatSum)))
		for _, w := range writes {
			if err := write(tx, w, &total); err != nil {
				return err
			}
		}
		return format.Put([]byte(formatSum), total.bytes())
	})
}

func (s *Store) view(f func(*bbolt.Tx) error) error { return s.run(s.db.View, f) }

func (s *Store) update(f func(*bbolt.Tx) error) error { return s.run(s.db.Update, f) }

func write(tx *bbolt.Tx, w store.Record, total *sum) error {
	if w.Bucket == formatBucket {
		return fmt.Errorf("the bucket %q is the store's own", w.Bucket)
	}
	b, err := tx.CreateBucketIfNotExists([]byte(w.Bucket))
	if err != nil {
		return err
	}
	key := []byte(w.Key)
	if old := b.Get(key); old != nil {
		total.remove(w.Bucket, key, old)
	}
	if w.Value == nil {
		return b.Delete(key)
	}
	total.add(w.Bucket, key, w.Value)
	return b.Put(key, w.Value)
}

// Close is the store's.
func (s *Store) Close() error {
	if failed := s.broken.Load(); failed != nil {
		return nil // it would wait for ever
	}
	return s.db.Close()
}

// sum tells a set of records from any other, whatever their order.
type sum struct{ count, hash uint64 }

func (s *sum) add(bucket string, key, value []byte) {
	s.count++
	s.hash += hash(bucket, key, value)
}

func (s *sum) remove(bucket string, key, value []byte) {
	s.count--
	s.hash -= hash(bucket, key, value)
}

func hash(bucket string, key, value []byte) uint64 {
	h := sha256.New()
	var size [8]byte
	for _, part := range [][]byte{[]byte(bucket), key, value} {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

func (s sum) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.count), s.hash)
}

// readSum reads what bytes made; the file was verified, so it is that.
func readSum(b []byte) sum {
	if len(b) != 16 {
		return sum{}
	}
	return sum{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}
