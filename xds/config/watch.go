package config

import (
	"context"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long Watch waits until files have stopped changing: an editor or a tool may take several steps to write one.
const (
	watchFloor   = 200 * time.Millisecond // without a change
	watchCeiling = 2 * time.Second        // at most
	watchPoll    = 5 * time.Second        // how often files are looked at without being told: some file systems tell nothing
)

// Watching is what Watch does.
type Watching struct {
	Options Options // as Load had them
	Running *Config // what Load made of them

	// Changed is called, never twice at once, when a file changed: with all settings as they are now, if they are good and
	// any is another; else with the error. Then what was good before stays in force until they are good again, which is told
	// even if nothing is another in the end. The same error is told once. Neither the warnings nor the error hold a secret.
	Changed func(*Config, []Warning, error)

	Log *slog.Logger // is told what keeps files from being watched

	// Tests put others in the place of these.
	floor, ceiling time.Duration
	polls          <-chan time.Time
	events         func() (*fsnotify.Watcher, error)
	load           func(Options) (*Config, []Warning, sources, error)
}

// Watch reads the settings again whenever a file that they come from changes, until ctx ends: .env, keywheel.yaml, and
// every file of a secret, be they there already or not. The environment of a running process does not change.
func Watch(ctx context.Context, w Watching) {
	if w.polls == nil {
		ticker := time.NewTicker(watchPoll)
		defer ticker.Stop()
		w.polls = ticker.C
	}
	if w.floor == 0 {
		w.floor, w.ceiling = watchFloor, watchCeiling
	}
	if w.events == nil {
		w.events = fsnotify.NewWatcher
	}
	if w.load == nil {
		w.load = load
	}
	state := watchState{Watching: w, read: w.Running.read, last: w.Running, lookout: newLookout(w.events, w.Log)}
	defer state.lookout.close()
	state.run(ctx)
}

// watchState is what Watch knows.
type watchState struct {
	Watching
	read    sources // what was read last
	last    *Config // what was good last
	told    string  // the error that Changed was told last; empty: it was told that all is good
	lookout *lookout
}

func (s *watchState) run(ctx context.Context) {
	calm := newCalm(s.floor, s.ceiling)
	defer calm.stop()
	look := func() {
		s.lookout.watch(s.read)
		if s.differs() {
			calm.disturb()
		}
	}
	again := func() {
		calm.stop()
		s.reload()
		look() // a file that was not watched before may have changed meanwhile
	}
	look() // something may have changed since Load
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-s.lookout.events:
			if s.lookout.concerns(event.Name) {
				calm.disturb()
			}
		case err := <-s.lookout.errors:
			s.Log.Debug("Some changes of files were not told of", "error", err)
			look()
		case <-s.polls:
			look()
		case <-calm.quiet.C:
			again()
		case <-calm.latest.C:
			again()
		}
	}
}

// differs says whether any file holds something else than when it was read.
func (s *watchState) differs() bool {
	read := s.Options.withDefaults().ReadFile
	for path, sum := range s.read {
		var c content
		if c.bytes, c.err = read(path); c.sum() != sum {
			return true
		}
	}
	return false
}

// reload reads the settings and tells what came of it.
func (s *watchState) reload() {
	if !s.differs() {
		return
	}
	c, warnings, read, err := s.load(s.Options)
	s.read = read
	if err != nil {
		if text := err.Error(); text != s.told {
			s.told = text
			s.Changed(nil, warnings, err)
		}
		return
	}
	if s.told == "" && same(c, s.last) {
		return
	}
	s.told, s.last = "", c
	s.Changed(c, warnings, nil)
}

// calm says when changes have stopped for a while, or have gone on for long.
type calm struct {
	floor, ceiling time.Duration
	quiet, latest  *time.Timer
	waiting        bool
}

func newCalm(floor, ceiling time.Duration) *calm {
	c := &calm{floor: floor, ceiling: ceiling, quiet: time.NewTimer(floor), latest: time.NewTimer(ceiling)}
	c.stop()
	return c
}

// disturb notes a change.
func (c *calm) disturb() {
	c.quiet.Reset(c.floor)
	if !c.waiting {
		c.waiting = true
		c.latest.Reset(c.ceiling)
	}
}

// stop forgets all changes.
func (c *calm) stop() {
	c.waiting = false
	c.quiet.Stop()
	c.latest.Stop()
}
