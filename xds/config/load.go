package config

import (
	"cmp"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adrg/xdg"

	"keywheel/xds/clock"
)

// Options is what Load reads from.
type Options struct {
	Environ    []string // as os.Environ gives it: "NAME=value"
	DotEnvPath string   // default ".env"; a file that does not exist is an empty one

	// KeysOptional lets a configuration without any key pass, for commands that only talk to a running control plane
	// and for the demo. Keys that are set must be good all the same.
	KeysOptional bool

	StateHome string                            // default: XDG_STATE_HOME of Environ, else the user's state directory
	WorkDir   string                            // what relative paths are relative to; default: the working directory
	ReadFile  func(string) ([]byte, error)      // reads .env, keywheel.yaml and the files of …_FILE; default: from the disk
	FileMode  func(string) (fs.FileMode, error) // who can read a file; default: the disk's, if files are read from it
	Now       func() time.Time                  // by which certificates are judged; default: the host's
}

// maxFile is the most that is read of a file, in bytes.
const maxFile = maxSettings + 1

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.DotEnvPath == "" {
		o.DotEnvPath = ".env"
	}
	if o.WorkDir == "" {
		o.WorkDir, _ = os.Getwd() // empty if it is gone; then paths must be absolute
	}
	if o.StateHome == "" {
		o.StateHome = xdg.StateHome
		for _, pair := range o.Environ {
			if dir, ok := strings.CutPrefix(pair, "XDG_STATE_HOME="); ok && filepath.IsAbs(dir) {
				o.StateHome = dir
				break
			}
		}
	}
	switch {
	case o.FileMode != nil:
	case o.ReadFile == nil:
		o.FileMode = fileMode
	default:
		o.FileMode = func(string) (fs.FileMode, error) { return 0o600, nil }
	}
	if o.ReadFile == nil {
		o.ReadFile = readFile
	}
	if o.Now == nil {
		o.Now = clock.Real().Now
	}
	return o
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func fileMode(path string) (fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

// loader gathers what is wrong while the settings are read.
type loader struct {
	opts     Options
	env      map[string]entry
	dotenv   map[string]entry
	file     document
	files    map[string]content
	secrets  []string // all that are set, to be kept out of messages
	problems Problems
	warnings []Warning
}

// Load reads and validates the settings. On an error the Config is nil and the error is a Problems, with ErrNoKeys in it
// if no key is set at all. The warnings are good in both cases. Neither holds a secret.
func Load(opts Options) (*Config, []Warning, error) {
	c, warnings, _, err := load(opts)
	return c, warnings, err
}

// load is Load, and says what it read, also on an error.
func load(opts Options) (*Config, []Warning, sources, error) {
	l := &loader{opts: opts.withDefaults(), env: map[string]entry{}, files: map[string]content{}}
	for _, pair := range opts.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if _, set := l.env[name]; !set { // as os.Getenv, the first counts
			l.env[name] = entry{value: value}
		}
	}
	if l.readSettings(); len(l.problems) > 0 { // all else would be said of settings that are not as they were meant
		return nil, nil, l.sources(), l.problems
	}
	l.collectSecrets()
	l.checkNames()
	l.checkFile()
	c := &Config{}
	l.loadKeys(c)
	l.loadPolicy(c)
	l.loadCallers(c)
	l.loadPlaces(c)
	l.loadUpstream(c) // after the addresses, which it must not point back to
	l.loadTokens(c)
	l.loadLogging(c)
	l.loadNotify(c)
	c.read = l.sources()
	if len(l.problems) > 0 {
		return nil, l.warnings, c.read, l.problems
	}
	return c, l.warnings, c.read, nil
}

// readSettings reads .env and keywheel.yaml.
func (l *loader) readSettings() {
	var bad *Problem
	if l.dotenv, bad = readDotEnv(l.opts.DotEnvPath, l.read); bad != nil {
		l.problems = append(l.problems, *bad)
	}
	if l.file, bad = l.readDocument(); bad != nil {
		l.problems = append(l.problems, *bad)
	}
}

// levels are what each place says, the one that wins first.
func (l *loader) levels() []map[string]entry {
	return []map[string]entry{l.env, l.dotenv, l.file.entries}
}

// names are all that are set to something, sorted, those of all places together.
func (l *loader) names() []string {
	var names []string
	for _, level := range l.levels() {
		for name, e := range level {
			if e.value != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// lookup returns the value of a setting that is not a secret, without blanks around it.
func (l *loader) lookup(name string) (entry, bool) {
	for _, level := range l.levels() {
		if e := level[name]; strings.TrimSpace(e.value) != "" {
			e.value = strings.TrimSpace(e.value)
			return e, true
		}
	}
	return entry{}, false
}

// lookupSecret returns the value of a secret, from its own variable or the file that its …_FILE names, without blanks
// around it. A secret that is set but empty or unreadable is a problem, and counts as not set.
func (l *loader) lookupSecret(name string) (entry, bool) {
	for _, level := range l.levels() {
		direct, file := level[name], level[name+fileSuffix]
		switch {
		case direct.value != "" && file.value != "":
			l.problem(name, direct, "it is set, and "+file.called(name+fileSuffix)+" too", "keep one of them")
			return entry{}, false
		case direct.value != "":
			return l.nonEmpty(name, direct, "it holds only blanks")
		case file.value != "":
			return l.secretFile(name+fileSuffix, file)
		}
	}
	return entry{}, false
}

func (l *loader) secretFile(name string, file entry) (entry, bool) {
	path := l.absolute(strings.TrimSpace(file.value))
	content, err := l.read(path)
	if err != nil {
		l.problem(name, file, "the file cannot be read: "+reason(err), "write the path of a readable file that holds the secret")
		return entry{}, false
	}
	return l.nonEmpty(name, entry{value: string(content), where: file.where, path: file.path}, "the file is empty")
}

func (l *loader) nonEmpty(name string, e entry, wrong string) (entry, bool) {
	if e.value = strings.TrimSpace(e.value); e.value == "" {
		l.problem(name, e, wrong, "write the secret, or leave it out")
		return entry{}, false
	}
	return e, true
}

// given says whether a setting is set, be it a good value or not.
func (l *loader) given(name string) bool {
	if isSecret(name) {
		names := l.names()
		return slices.Contains(names, name) || slices.Contains(names, name+fileSuffix)
	}
	_, set := l.lookup(name)
	return set
}

func (l *loader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.opts.WorkDir, path)
}

func (l *loader) problem(name string, e entry, wrong, fix string) {
	l.problems = append(l.problems, Problem{Name: e.called(name), Wrong: wrong, Fix: fix, Where: e.where})
}

func (l *loader) warn(name, text string) {
	l.warnings = append(l.warnings, Warning{Name: l.called(name), Text: text})
}

// called is what messages call a setting: as whoever set it did.
func (l *loader) called(name string) string {
	for _, level := range l.levels() {
		for _, n := range []string{name, name + fileSuffix} {
			if e := level[n]; e.value != "" {
				return e.called(name)
			}
		}
	}
	return name
}

// calledLike is what messages call a setting beside another: by its path, set or not, if the other is from keywheel.yaml.
func (l *loader) calledLike(name, other string) string {
	called := l.called(name)
	if called != name || l.called(other) == other {
		return called
	}
	return cmp.Or(pathOf(fileFields, func(f field) bool { return f.setting == name }), name)
}

// checkNames refuses names that look like ours and are not.
func (l *loader) checkNames() {
	for _, name := range l.names() {
		e, inEnv := l.env[name]
		if !inEnv || e.value == "" {
			e = l.dotenv[name]
		}
		if !ownName.MatchString(name) || known(name) || e.where == "" && fromKubernetes(name, e.value) {
			continue
		}
		if l.unshowable(name) {
			l.problem(ownName.FindString(name)+"…", e, "there is no such setting", "remove it")
			continue
		}
		l.problem(name, e, "there is no such setting", "did you mean "+nearest(name)+"?")
	}
}
