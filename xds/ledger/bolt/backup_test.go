package bolt_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
)

// A backup of a store that is being written to holds whole commits only, and all that were made before it began.
func TestBackupWhileCommitting(t *testing.T) {
	const perCommit = 40
	dir := t.TempDir()
	s := mustOpen(t, filepath.Join(dir, "keywheel.db"))
	commit := func(n int) {
		var writes []store.Record
		for i := range perCommit {
			writes = append(writes, store.Record{Bucket: "b", Key: fmt.Sprint(i), Value: fmt.Append(nil, n, strings.Repeat("x", 500))})
		}
		if err := s.Commit(writes); err != nil {
			t.Error(err)
		}
	}
	commit(0)
	stop := make(chan struct{})
	var committing sync.WaitGroup
	committing.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				commit(n)
			}
		}
	})
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint("backup-", i))
		if err := s.Backup(path); err != nil {
			t.Fatal(err)
		}
		values := map[string]int{}
		for _, r := range recordsOf(t, path) {
			values[string(r.Value)]++
		}
		if len(values) != 1 {
			t.Errorf("backup %d mixes %d commits", i, len(values))
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	close(stop)
	committing.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := s.Backup(filepath.Join(dir, "backup-0")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	mustOpen(t, filepath.Join(dir, "backup-1")) // it is a store as any other
}

func TestReadOnlyChangesNothing(t *testing.T) {
	path := filled(t, 100)
	before := read(t, path)
	s, err := bolt.OpenReadOnly(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if records, err := s.Records(); err != nil || len(records) != 100 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if s.Commit([]store.Record{{Bucket: "b", Key: "k", Value: []byte("v")}}) == nil || s.Replace(nil) == nil {
		t.Error("it can be written")
	}
	if err := errors.Join(s.Backup(path+".copy"), s.Close()); err != nil {
		t.Fatal(err)
	}
	if string(before) != string(read(t, path)) {
		t.Error("the file was changed")
	}
	if diff := cmp.Diff(recordsOf(t, path), recordsOf(t, path+".copy")); diff != "" {
		t.Error(diff)
	}
	for name, content := range map[string]string{"text": strings.Repeat("no store\n", 2000), "empty": "", "cut": string(before[:10_000])} {
		bad := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.OpenReadOnly(bad, bolt.Options{}); !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bolt.OpenReadOnly(path+".none", bolt.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	path, fresh, aside := filepath.Join(dir, "store"), filepath.Join(dir, "fresh"), filepath.Join(dir, "aside")
	for _, old := range []string{"", "old"} {
		if err := os.WriteFile(fresh, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		if old != "" {
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := bolt.Exchange(fresh, path, aside); err != nil {
			t.Fatal(err)
		}
		if string(read(t, path)) != "new" {
			t.Error("the new one is not there")
		}
	}
	if string(read(t, aside)) != "old" {
		t.Error("the old one is not kept")
	}
	if err := bolt.Exchange(fresh, path, aside); !errors.Is(err, fs.ErrExist) || string(read(t, path)) != "new" {
		t.Errorf("what is kept was lost: %v", err)
	}
}

// What cannot be read or written because of who we are is said, with the file and what to do.
func TestFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keywheel.db")
	if err := errors.Join(mustOpen(t, path).Close(), os.Chmod(path, 0o000), os.Chmod(dir, 0o555), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	refusals := make(chan error, 2)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with who it was
		asNobody(t)
		_, err := bolt.Open(path, bolt.Options{})
		refusals <- err
		_, err = bolt.Open(filepath.Join(dir, "other.db"), bolt.Options{})
		refusals <- err
	}()
	for _, says := range []string{"cannot open the store", "cannot make the store"} {
		err := <-refusals
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), dir) ||
			!strings.Contains(err.Error(), "KEYWHEEL_STORE") {
			t.Errorf("unclear: %v", err)
		}
	}
}

func recordsOf(t *testing.T, path string) []store.Record {
	t.Helper()
	s, err := bolt.OpenReadOnly(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	records, err := s.Records()
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return records
}

// A file that is cut while it is open makes commits fail; the process stays.
func TestFileThatIsCutWhileOpen(t *testing.T) {
	path := filled(t, 300)
	s := mustOpen(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Records(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
	for range 2 {
		if err := s.Commit([]store.Record{{Bucket: "records", Key: "k", Value: []byte("v")}}); err == nil {
			t.Error("it was committed")
		}
	}
	if err := s.Backup(path + ".backup"); err == nil {
		t.Error("it was backed up")
	}
}
