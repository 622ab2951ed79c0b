package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// lookout hears of changes to files. It watches the directories that they are in: what is put in the place of a file is
// another file. Where there are no events it hears nothing, and files must be looked at now and then.
type lookout struct {
	events chan fsnotify.Event
	errors chan error // events were lost

	watcher *fsnotify.Watcher // nil: there are no events
	places  map[string]bool   // whose change can be one of a file
	failed  map[string]bool   // directories that cannot be watched, as the log knows
	log     *slog.Logger
}

func newLookout(newWatcher func() (*fsnotify.Watcher, error), log *slog.Logger) *lookout {
	o := &lookout{failed: map[string]bool{}, log: log}
	watcher, err := newWatcher()
	if err != nil {
		log.Warn("Changed settings are seen by looking for them every few seconds, as the system does not tell of changes", "error", err)
		return o
	}
	o.watcher, o.events, o.errors = watcher, watcher.Events, watcher.Errors
	return o
}

func (o *lookout) close() {
	if o.watcher != nil {
		_ = o.watcher.Close() // nobody hears of it any more
	}
}

// watch makes files the ones that are heard of, where they lie now.
func (o *lookout) watch(files sources) {
	if o.watcher == nil {
		return
	}
	o.places = map[string]bool{}
	directories := map[string]bool{}
	for file := range files {
		for _, place := range placesOf(file) {
			o.places[place] = true
			directories[filepath.Dir(place)] = true
		}
	}
	for _, old := range o.watcher.WatchList() {
		if !directories[old] {
			_ = o.watcher.Remove(old) // it may be gone by itself
		}
	}
	for directory := range directories {
		o.places[directory] = true // when it goes, and another takes its place
		err := o.watcher.Add(directory)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !o.failed[directory] {
			o.failed[directory] = true
			o.log.Warn("Changed settings are seen by looking for them every few seconds, as a directory cannot be watched", "directory", directory, "error", err)
		}
	}
}

// concerns says whether an event can be the change of a file.
func (o *lookout) concerns(name string) bool { return o.places[filepath.Clean(name)] }

// maxLinks bounds the symbolic links on the way to a file, which may lead in circles.
const maxLinks = 40

// placesOf returns all whose change can make a file another one: where it is in the end, and each symbolic link on the way
// (Kubernetes replaces a mounted secret by moving such a link of a directory). Of a file that is not there it is the first
// part of the way that is missing. No place has a symbolic link before its last part.
func placesOf(file string) (places []string) {
	absolute, err := filepath.Abs(file)
	if err != nil { // there is no working directory any more
		return nil
	}
	root := filepath.VolumeName(absolute) + string(filepath.Separator)
	parts := func(path string) []string {
		return strings.Split(strings.TrimPrefix(path, root), string(filepath.Separator))
	}
	at, rest := root, parts(absolute)
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return append(places, next)
		case info.Mode()&fs.ModeSymlink != 0:
			links++
			places = append(places, next)
			target, err := os.Readlink(next)
			if err != nil {
				return places
			}
			if filepath.IsAbs(target) {
				at = root
			}
			rest = slices.Concat(parts(filepath.Clean(target)), rest)
		case len(rest) == 0:
			return append(places, next)
		default:
			at = next
		}
	}
	return places
}
