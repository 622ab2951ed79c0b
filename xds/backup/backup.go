// Package backup makes backups of the store and restores them, while the control plane runs on it and while nothing
// does.
//
// The rules are:
//   - A backup is whole and verified before anybody gets it, and before anything is replaced by it.
//   - What a restore replaces is kept beside the store, under a name that says when.
//   - A store that another process holds is left alone.
package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"keywheel/xds/audit"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
)

// Errors of backups and restores.
var (
	// ErrBusy is that another backup or restore runs.
	ErrBusy = errors.New("another backup or restore is being made; try again when it has ended")
	// ErrBad is a file that cannot be restored. What wraps it says why.
	ErrBad = errors.New("this backup cannot be restored")
	// ErrTooLarge is one of more than MaxSize bytes.
	ErrTooLarge = errors.New("the backup is too large")
)

// MaxSize is the largest backup that is taken, in bytes: a store has a few megabytes.
const MaxSize = 1 << 30

// File is the store that a control plane runs on.
type File interface {
	Backup(path string) error
	Path() string
}

// Live makes backups of, and restores them to, the store that a control plane runs on. It is safe for concurrent use.
type Live struct {
	Store File
	// Restore puts a backup's records in the account's place, durably, and returns the generation with which filters know
	// it. On an error nothing has changed.
	Restore func(ctx context.Context, records []store.Record, by audit.Entry) (generation int64, err error)
	// Audit takes an entry down.
	Audit func(ctx context.Context, by audit.Entry) error
	Now   func() time.Time // the host's time

	busy chan struct{}
}

// NewLive returns a Live.
func NewLive(l Live) *Live {
	l.busy = make(chan struct{}, 1)
	return &l
}

func (l *Live) begin() (end func(), err error) {
	select {
	case l.busy <- struct{}{}:
		return func() { <-l.busy }, nil
	default:
		return nil, ErrBusy
	}
}

// Open returns a backup of this moment, and its size in bytes. It is written down who asked for it before anything is
// given. The file is gone when it is closed.
func (l *Live) Open(ctx context.Context, by audit.Entry) (backup io.ReadCloser, size int64, err error) {
	end, err := l.begin()
	if err != nil {
		return nil, 0, err
	}
	defer end()
	by.What, by.Outcome = "back up", audit.Done
	if err := l.Audit(ctx, by); err != nil {
		return nil, 0, err
	}
	path := beside(l.Store.Path(), "sending")
	if err := l.Store.Backup(path); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, errors.Join(err, os.Remove(path))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close(), os.Remove(path))
	}
	return &passing{f}, info.Size(), nil
}

// passing is a file that is gone when it is closed.
type passing struct{ *os.File }

// Close implements io.Closer.
func (p *passing) Close() error { return errors.Join(p.File.Close(), os.Remove(p.Name())) }

// Take restores the backup that r has. It returns the generation with which Envoys know it, and where what it replaced is
// kept. On an error nothing has changed; it wraps ErrBad where the backup is at fault.
func (l *Live) Take(ctx context.Context, r io.Reader, by audit.Entry) (generation int64, kept string, err error) {
	end, err := l.begin()
	if err != nil {
		return 0, "", err
	}
	defer end()
	path := beside(l.Store.Path(), "received")
	defer func() { _ = os.Remove(path) }()
	if err := write(path, r); err != nil {
		return 0, "", err
	}
	records, err := read(path)
	if err != nil {
		return 0, "", err
	}
	kept = aside(l.Store.Path(), l.Now())
	if err := l.Store.Backup(kept); err != nil {
		return 0, "", fmt.Errorf("keeping what is there now: %w", err)
	}
	by.What, by.Outcome = "restore", audit.Done
	if generation, err = l.Restore(ctx, records, by); err != nil {
		return 0, "", errors.Join(explain(err), os.Remove(kept))
	}
	return generation, kept, nil
}

// write makes a file that only its owner can read.
func write(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, MaxSize+1))
	if n > MaxSize {
		err = ErrTooLarge
	}
	return errors.Join(err, f.Close())
}

// read returns the records of a backup.
func read(path string) ([]store.Record, error) {
	s, err := bolt.OpenReadOnly(path, bolt.Options{})
	if err != nil {
		return nil, explain(err)
	}
	records, err := s.Records()
	return records, errors.Join(err, s.Close())
}

// explain has ErrBad wrapped where a backup is at fault.
func explain(err error) error {
	switch {
	case errors.Is(err, ledger.ErrUnavailable): // the store is, that it was to be restored to
		return err
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrForeign), errors.Is(err, store.ErrNewer):
		return &bad{err}
	}
	return err
}

type bad struct{ why error }

func (b *bad) Error() string   { return ErrBad.Error() + ": " + bolt.Reason(b.why) }
func (b *bad) Unwrap() []error { return []error{ErrBad, b.why} }

// beside is a name beside the store that no other file has.
func beside(path, what string) string { return path + "." + what + "-" + rand.Text() }

// aside is where what is replaced at a time is kept.
func aside(path string, now time.Time) string {
	name := path + ".replaced-" + now.UTC().Format("20060102T150405Z")
	for n, try := 2, name; ; n++ {
		if _, err := os.Lstat(try); errors.Is(err, fs.ErrNotExist) {
			return try
		}
		try = fmt.Sprint(name, "-", n)
	}
}
