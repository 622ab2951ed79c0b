package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/roster"
)

// Stopped is a store that no control plane runs on.
type Stopped struct {
	Path string
	Log  *slog.Logger
	Now  func() time.Time // the host's time
	// Route says who hears of a restore, once a control plane runs. Nil: nobody but the page.
	Route func(*event.Event) ledger.Route
}

// Save writes a backup to a new file. The error wraps store.ErrLocked where a control plane runs on it after all, and
// fs.ErrExist where the file is there.
func (s *Stopped) Save(to string) error {
	from, err := bolt.OpenReadOnly(s.Path, bolt.Options{Log: s.Log})
	if err != nil {
		return err
	}
	return errors.Join(from.Backup(to), from.Close())
}

// Restore puts the backup in a file in the store's place, whatever is there. It returns where what was there is kept;
// empty if nothing was. On an error nothing has changed; it wraps ErrBad where the backup is at fault, and
// store.ErrLocked where a control plane runs on the store after all.
func (s *Stopped) Restore(ctx context.Context, from string, by audit.Entry) (kept string, err error) {
	records, err := read(from)
	if err != nil {
		return "", err
	}
	by.What, by.Outcome = "restore", audit.Done
	restoration := ledger.Restoration{Records: records, Audit: by}
	info, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", s.anew(ctx, restoration, "")
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file; set KEYWHEEL_STORE to another path", s.Path)
	}
	kept = aside(s.Path, s.Now())
	err = s.change(ctx, kept, func(l *ledger.Ledger) error {
		_, err := l.Restore(ctx, restoration)
		return err
	})
	damaged := errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrForeign) || errors.Is(err, store.ErrNewer)
	if errors.Is(err, errUnreadable) && damaged { // and so no control plane runs on it
		err = s.anew(ctx, restoration, kept)
	}
	if err != nil {
		return "", explain(err)
	}
	return kept, nil
}

// ForgetSealed takes every sealed secret out of the store. It returns the IDs of the keys whose secrets these were, and
// where the store as it was is kept.
func (s *Stopped) ForgetSealed(ctx context.Context, by audit.Entry) (forgotten []string, kept string, err error) {
	if _, err := os.Stat(s.Path); err != nil {
		return nil, "", err
	}
	kept = aside(s.Path, s.Now())
	err = s.change(ctx, kept, func(l *ledger.Ledger) error {
		forgotten, err = roster.ForgetSealed(ctx, l, by)
		return err
	})
	if err == nil && len(forgotten) == 0 {
		return nil, "", os.Remove(kept)
	}
	return forgotten, kept, err
}

// errUnreadable is a store that cannot be opened as it is.
var errUnreadable = errors.New("the store cannot be read")

type unreadable struct{ error }

func (u unreadable) Unwrap() []error { return []error{errUnreadable, u.error} }

// change keeps the store under another name, and then changes its account. The error wraps errUnreadable where it
// cannot be opened.
func (s *Stopped) change(ctx context.Context, kept string, f func(*ledger.Ledger) error) error {
	there, err := bolt.Open(s.Path, bolt.Options{Log: s.Log})
	if err != nil {
		return unreadable{err}
	}
	if err := there.Backup(kept); err != nil {
		return errors.Join(fmt.Errorf("keeping what is there now: %w", err), there.Close())
	}
	l, err := ledger.Open(ctx, ledger.Options{Store: there, Log: s.Log, Route: s.Route})
	if err != nil {
		return unreadable{errors.Join(err, os.Remove(kept))}
	}
	if err := errors.Join(f(l), l.Close()); err != nil {
		return errors.Join(err, os.Remove(kept))
	}
	return nil
}

// anew makes a store of a backup and puts it in the place of what is there, if anything is, which is kept.
func (s *Stopped) anew(ctx context.Context, r ledger.Restoration, kept string) error {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o700); err != nil {
		return err
	}
	path := beside(s.Path, "restoring")
	defer func() { _ = os.Remove(path) }()
	fresh, err := bolt.Open(path, bolt.Options{Log: s.Log})
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, ledger.Options{Store: fresh, Log: s.Log, Route: s.Route})
	if err != nil {
		return err
	}
	_, err = l.Restore(ctx, r)
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	return bolt.Exchange(path, s.Path, kept)
}
