package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

const deadline = 20 * time.Second

// watched is a directory whose settings are watched.
type watched struct {
	t     *testing.T
	dir   string
	told  chan string // what Changed was told: the keys' secrets, or the error
	polls chan time.Time
	loads atomic.Int64 // done
	deny  atomic.Bool  // nothing can be read
}

// watch watches keywheel.yaml and .env of a directory whose files are there already.
func watch(t *testing.T, dir string, events func() (*fsnotify.Watcher, error), environ ...string) *watched {
	t.Helper()
	w := &watched{t: t, dir: dir, told: make(chan string, 100), polls: make(chan time.Time)}
	opts := Options{Environ: environ, WorkDir: dir, StateHome: dir, DotEnvPath: filepath.Join(dir, ".env"), ReadFile: w.read}
	c, _, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, Watching{
			Options: opts, Running: c, Log: slog.New(slog.DiscardHandler), polls: w.polls, events: events, floor: 20 * time.Millisecond, ceiling: 200 * time.Millisecond,
			Changed: func(c *Config, _ []Warning, err error) { w.told <- told(c, err) },
			load: func(o Options) (*Config, []Warning, sources, error) {
				defer w.loads.Add(1)
				return load(o)
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(deadline):
			t.Error("it does not end with its context")
		}
	})
	return w
}

func told(c *Config, err error) string {
	if err != nil {
		return err.Error()
	}
	var secrets []string
	for _, k := range c.Keys {
		secrets = append(secrets, k.Secret.Reveal())
	}
	return strings.Join(secrets, " ")
}

func (w *watched) read(path string) ([]byte, error) {
	if w.deny.Load() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return os.ReadFile(path)
}

// wants waits until Changed is told this next.
func (w *watched) wants(want string) {
	w.t.Helper()
	select {
	case got := <-w.told:
		if got != want {
			w.t.Fatalf("told %q, want %q", got, want)
		}
	case <-time.After(deadline):
		w.t.Fatalf("nothing is told, want %q", want)
	}
}

// wantsAtLast waits until Changed is told this, perhaps after it was told that nothing is there: some ways to change a
// file take it away first.
func (w *watched) wantsAtLast(want string) {
	w.t.Helper()
	for {
		select {
		case got := <-w.told:
			if got == want {
				return
			}
			if !strings.HasPrefix(got, "no Groq key is set") {
				w.t.Fatalf("told %q, want %q", got, want)
			}
		case <-time.After(deadline):
			w.t.Fatalf("nothing is told, want %q", want)
		}
	}
}

// isLoaded waits until what change wrote was loaded.
func (w *watched) isLoaded(change func()) {
	w.t.Helper()
	before := w.loads.Load()
	change()
	for until := time.Now().Add(deadline); w.loads.Load() == before; {
		if time.Now().After(until) {
			w.t.Fatal("the file is not loaded again")
		}
		<-time.After(time.Millisecond)
	}
}

// put writes a file as a whole: no moment sees a part of it.
func put(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path+".part", []byte(content), 0o600))
	must(t, os.Rename(path+".part", path))
}

func key(secret string) string { return "keys: {1: {secret: " + secret + "}}\n" }

// must fails the test on an error of preparing it.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesEachWayToChangeAFile(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path, content string){
		"by renaming": put,
		"in place": func(t *testing.T, path, content string) {
			must(t, os.WriteFile(path, []byte(content), 0o600))
		},
		"as vi does": func(t *testing.T, path, content string) {
			must(t, os.Rename(path, path+"~"))
			put(t, path, content)
			must(t, os.Remove(path+"~"))
		},
		"removed and made anew": func(t *testing.T, path, content string) {
			must(t, os.Remove(path))
			put(t, path, content)
		},
		"with its directory": func(t *testing.T, path, content string) {
			dir := filepath.Dir(path)
			must(t, os.RemoveAll(dir+".old"))
			must(t, os.Rename(dir, dir+".old"))
			put(t, path, content)
		},
		"by a link": func(t *testing.T, path, content string) {
			elsewhere := filepath.Join(t.TempDir(), "file")
			put(t, elsewhere, content)
			must(t, os.Remove(path))
			must(t, os.Symlink(elsewhere, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "settings")
			path := filepath.Join(dir, "keywheel.yaml")
			put(t, path, key("gsk_old"))
			w := watch(t, dir, nil)
			for _, secret := range []string{"gsk_one", "gsk_two", "gsk_three"} {
				change(t, path, key(secret))
				w.wantsAtLast(secret)
			}
		})
	}
}

// Kubernetes mounts a directory whose files are links into ..data, itself a link that is replaced as a whole.
func TestWatchSeesWhatKubernetesMounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount := func(version, secret string) {
		put(t, filepath.Join(dir, version, "groq"), secret)
		put(t, filepath.Join(dir, version, "keywheel.yaml"), "keys: {1: {secret_file: groq, label: "+version[2:]+"}}")
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	mount("..v1", "gsk_one")
	for _, name := range []string{"groq", "keywheel.yaml"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	w := watch(t, dir, nil)
	mount("..v2", "gsk_two")
	w.wants("gsk_two")
	must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	mount("..v3", "gsk_three")
	w.wants("gsk_three")
}

func TestWatchSeesEveryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir+"/keywheel.yaml", "keys: {1: {secret_file: a/one}, 2: {label: b}}")
	put(t, dir+"/a/one", "gsk_one")
	put(t, dir+"/b/two", "gsk_two")
	w := watch(t, dir, nil, "GROQ_API_KEY_2_FILE="+dir+"/b/two")
	put(t, dir+"/a/one", "gsk_one_new")
	w.wants("gsk_one_new gsk_two")
	put(t, dir+"/b/two", "gsk_two_new")
	w.wants("gsk_one_new gsk_two_new")
	put(t, dir+"/.env", "GROQ_API_KEY_3=gsk_three") // was not there
	w.wants("gsk_one_new gsk_two_new gsk_three")
	put(t, dir+"/.env", "GROQ_API_KEY_3_FILE=c/three") // is not there yet, and neither is its directory
	w.wants("GROQ_API_KEY_3_FILE: the file cannot be read: no such file or directory; write the path of a readable file that holds the secret (" + dir + "/.env:1)")
	put(t, dir+"/c/three", "gsk_three_new")
	w.wants("gsk_one_new gsk_two_new gsk_three_new")
	put(t, dir+"/c/three", "gsk_three_newer")
	w.wants("gsk_one_new gsk_two_new gsk_three_newer")
}

// A bad edit is told of once, whatever else is done to the file, and so is that it is good again.
func TestWatchKeepsWhatWasGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/keywheel.yaml"
	put(t, path, key("gsk_old"))
	w := watch(t, dir, nil)

	put(t, path, "keys: {1: {secret: gsk_n")
	w.wants("keywheel.yaml:1: it is not YAML: did not find expected ',' or '}'; write settings as examples/keywheel.yaml does")
	for n := range 3 {
		w.isLoaded(func() { put(t, path, fmt.Sprint("keys: {1: {secret: gsk_new", n)) })
	}
	put(t, path, key("gsk_new"))
	w.wants("gsk_new")

	must(t, os.Remove(path))
	const none = "no Groq key is set"
	if got := <-w.told; !strings.HasPrefix(got, none) {
		t.Fatalf("told %q, want %s", got, none)
	}
	put(t, path, key("gsk_new")) // as it was: nothing is another, but it is good again
	w.wants("gsk_new")

	w.deny.Store(true)
	w.polls <- time.Now()
	if got := <-w.told; !strings.Contains(got, "keywheel.yaml: it cannot be read: permission denied") {
		t.Fatalf("told %q of files that may not be read", got)
	}
	w.deny.Store(false)
	w.polls <- time.Now()
	w.wants("gsk_new")
}

// What is written but says the same is not told.
func TestWatchTellsOfChangesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/keywheel.yaml"
	put(t, path, key("gsk_old"))
	w := watch(t, dir, nil)
	w.isLoaded(func() { put(t, path, "# A comment.\n"+key("gsk_old")) })
	put(t, path, key("gsk_new"))
	w.wants("gsk_new")
}

func TestWatchWithoutEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir+"/keywheel.yaml", key("gsk_old"))
	w := watch(t, dir, func() (*fsnotify.Watcher, error) { return nil, errors.New("there are none here") })
	for n := range 3 {
		secret := fmt.Sprint("gsk_new_", n)
		put(t, dir+"/keywheel.yaml", key(secret))
		w.polls <- time.Now()
		w.wants(secret)
	}
}

func TestWatchSeesWhatChangedBefore(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // the usual names
	put(t, "keywheel.yaml", key("gsk_old"))
	opts := Options{StateHome: dir}
	c, _, err := Load(opts)
	must(t, err)
	put(t, ".env", "GROQ_API_KEY_2=gsk_between")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got string
	Watch(ctx, Watching{Options: opts, Running: c, Log: slog.New(slog.DiscardHandler), floor: time.Millisecond, ceiling: time.Millisecond,
		Changed: func(c *Config, _ []Warning, err error) {
			got = told(c, err)
			cancel()
		}})
	if got != "gsk_old gsk_between" {
		t.Errorf("told %q", got)
	}
}

func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCalm(watchFloor, watchCeiling)
		defer c.stop()
		start := time.Now()
		first := func() time.Duration {
			defer c.stop()
			select {
			case <-c.quiet.C:
			case <-c.latest.C:
			}
			return time.Since(start)
		}
		c.disturb()
		if waited := first(); waited != watchFloor {
			t.Errorf("after one change it is calm in %v", waited)
		}
		start = time.Now()
		for range 3 {
			<-time.After(watchFloor / 2)
			c.disturb()
		}
		if waited := first(); waited != watchFloor*5/2 {
			t.Errorf("after three changes it is calm in %v", waited)
		}
		start = time.Now()
		for busy, calmed := time.NewTicker(watchFloor/2), false; !calmed; {
			select {
			case <-busy.C:
				c.disturb()
			case <-c.quiet.C:
				t.Errorf("amid changes it is calm in %v", time.Since(start))
				calmed = true
			case <-c.latest.C:
				calmed = true
			}
		}
		if waited := time.Since(start); waited != watchFloor/2+watchCeiling {
			t.Errorf("changes that go on are looked at in %v", waited)
		}
	})
}
