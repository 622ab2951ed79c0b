package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"keywheel/xds/ledger/store"
)

// OpenReadOnly opens the file at path to read it: a backup, or a store that nothing runs on. It is verified and stays as
// it is; Commit and Replace fail. The errors are those of Open, and fs.ErrNotExist.
func OpenReadOnly(path string, o Options) (*Store, error) {
	if o.LockTimeout <= 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &refusal{path: path, kind: store.ErrForeign, why: errors.New("it is not a file"), todo: "name a file"}
	case info.Size() == 0:
		return nil, damaged(path, errors.New("the file is empty"))
	}
	db, err := verified(path, o)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, path: path}, nil
}

// Records returns everything that a store holds.
func (s *Store) Records() ([]store.Record, error) {
	var all []store.Record
	err := s.Load(func(r store.Record) error { all = append(all, r); return nil })
	return all, err
}

// Backup writes what is committed at this moment to a new file at path, which only its owner can read and which Open
// would accept. Commits go on meanwhile. The error wraps fs.ErrExist where there is a file already, which stays.
func (s *Store) Backup(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "backup", Path: path, Err: fs.ErrExist}
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = s.view(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// What was read of the disk may have rotted there: a backup that cannot be restored is none.
	written, err := OpenReadOnly(f.Name(), Options{})
	if err != nil {
		return fmt.Errorf("the copy is not whole, so the store %s is damaged on the disk: %w", s.path, err)
	}
	if err := written.Close(); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// Replace is the store's.
func (s *Store) Replace(records []store.Record) error {
	return s.update(func(tx *bbolt.Tx) error {
		var old []string
		err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if string(name) != formatBucket {
				old = append(old, string(name))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, name := range old {
			if err := tx.DeleteBucket([]byte(name)); err != nil {
				return err
			}
		}
		format := tx.Bucket([]byte(formatBucket))
		if format == nil {
			return store.ErrCorrupt
		}
		var total sum
		for _, r := range records {
			if err := write(tx, r, &total); err != nil {
				return err
			}
		}
		return format.Put([]byte(formatSum), total.bytes())
	})
}

// Exchange puts the file at fresh in the place of the one at path, if there is one, which is kept as aside ("": not). At every
// moment one of the two is at path. No process may have either of them open.
func Exchange(fresh, path, aside string) error {
	if aside != "" {
		if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping the store that was there: %w", err)
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// place gives a file that was made whole its name, unless another one has it.
func place(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(temp, path) // a file system without links
}
