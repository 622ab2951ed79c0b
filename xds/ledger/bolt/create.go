package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"go.etcd.io/bbolt"

	"keywheel/xds/ledger/store"
)

// create makes an empty store at path. It is made whole under another name first, so that a crash never leaves a
// half-made file there; if another process makes one meanwhile, that one stays.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() { _ = os.Remove(temp) }()
	if err := f.Close(); err != nil {
		return err
	}
	if err := initialize(temp); err != nil {
		return err
	}
	if err := place(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func initialize(path string) error {
	db, err := open(path, options(0, false))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(formatBucket))
		if err != nil {
			return err
		}
		return errors.Join(
			b.Put([]byte(formatName), []byte(fileName)),
			b.Put([]byte(formatSchema), []byte(strconv.Itoa(store.Schema))),
			b.Put([]byte(formatSum), sum{}.bytes()),
		)
	})
	return errors.Join(err, db.Close())
}

// syncDir makes a new name in a folder outlive a crash. Not every system can, nor has to.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}
