package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
)

func TestPlacesOf(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	put(t, dir+"/real/sub/file", "x")
	must(t, os.Symlink("real", dir+"/link"))
	must(t, os.Symlink("../link/sub/file", dir+"/real/other"))
	must(t, os.Symlink(dir+"/real/other", dir+"/absolute"))
	must(t, os.Symlink("round", dir+"/about"))
	must(t, os.Symlink("about", dir+"/round"))
	for file, want := range map[string][]string{
		"real/sub/file":    {"real/sub/file"},
		"link/sub/file":    {"link", "real/sub/file"},
		"absolute":         {"absolute", "real/other", "link", "real/sub/file"},
		"link/none/file":   {"link", "real/none"},
		"none/at/all":      {"none"},
		"real/../link/sub": {"link", "real/sub"},
	} {
		var got []string
		for _, place := range placesOf(dir + "/" + file) {
			got = append(got, strings.TrimPrefix(place, dir+"/"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	if got := placesOf(dir + "/round"); len(got) == 0 || len(got) > maxLinks+2 {
		t.Errorf("links in a circle have %d places", len(got))
	}
}

// The store is often in the same directory as .env, and is written all the time.
func TestLookoutLeavesOtherFilesAlone(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	put(t, dir+"/.env", "")
	o := newLookout(fsnotify.NewWatcher, slog.New(slog.DiscardHandler))
	defer o.close()
	o.watch(sources{dir + "/.env": 1, dir + "/sub/secret": 2})
	for name, want := range map[string]bool{".env": true, "sub": true, "": true, "keywheel.db": false, ".env.swp": false, "sub/secret": false} {
		if got := o.concerns(filepath.Join(dir, name)); got != want {
			t.Errorf("a change of %q concerns us: %v", name, got)
		}
	}
	put(t, dir+"/sub/secret", "x")
	o.watch(sources{dir + "/sub/secret": 2})
	if got := o.watcher.WatchList(); !slices.Equal(got, []string{dir + "/sub"}) || o.concerns(dir+"/.env") {
		t.Errorf("watched are %q", got)
	}
}
