package config

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adrg/xdg"

	"keywheel/shared/secret"
)

// Options is what Load reads from.
type Options struct {
	Environ    []string // as os.Environ gives it: "NAME=value"
	DotEnvPath string   // default ".env"; a file that does not exist is an empty one

	// KeysOptional lets a configuration without any key pass, for commands that only talk to a running control plane
	// and for the demo. Keys that are set must be good all the same.
	KeysOptional bool

	StateHome string                       // default: XDG_STATE_HOME of Environ, else the user's state directory
	WorkDir   string                       // what relative paths are relative to; default: the working directory
	ReadFile  func(string) ([]byte, error) // reads .env and the files of …_FILE; default: from the disk
}

// maxFile is the most that is read of a file, in bytes.
const maxFile = maxDotEnv + 1

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
	if o.ReadFile == nil {
		o.ReadFile = readFile
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

// loader gathers what is wrong while the settings are read.
type loader struct {
	opts     Options
	env      map[string]entry
	dotenv   map[string]entry
	secrets  []string // all that are set, to be kept out of messages
	problems Problems
	warnings []Warning
}

// Load reads and validates the settings. On an error the Config is nil and the error is a Problems, with ErrNoKeys in it
// if no key is set at all. The warnings are good in both cases. Neither holds a secret.
func Load(opts Options) (*Config, []Warning, error) {
	l := &loader{opts: opts.withDefaults(), env: map[string]entry{}}
	for _, pair := range opts.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if _, set := l.env[name]; !set { // as os.Getenv, the first counts
			l.env[name] = entry{value: value}
		}
	}
	dotenv, bad := readDotEnv(l.opts.DotEnvPath, l.opts.ReadFile)
	if bad != nil { // all else would be said of settings that are not as they were meant
		return nil, nil, Problems{*bad}
	}
	l.dotenv = dotenv
	l.collectSecrets()
	l.checkNames()
	c := &Config{}
	l.loadKeys(c)
	l.loadPolicy(c)
	l.loadPlaces(c)
	l.loadUpstream(c) // after the addresses, which it must not point back to
	l.loadTokens(c)
	l.loadLogging(c)
	l.loadNotify(c)
	l.warnFuture()
	if len(l.problems) > 0 {
		return nil, l.warnings, l.problems
	}
	return c, l.warnings, nil
}

// names are all that are set to something, sorted, those of the environment and of .env together.
func (l *loader) names() []string {
	var names []string
	for _, level := range []map[string]entry{l.env, l.dotenv} {
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
	for _, level := range []map[string]entry{l.env, l.dotenv} {
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
	for _, level := range []map[string]entry{l.env, l.dotenv} {
		direct, file := level[name], level[name+fileSuffix]
		switch {
		case direct.value != "" && file.value != "":
			l.problem(name, direct, "it is set, and "+name+fileSuffix+" too", "keep one of them")
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
	content, err := l.opts.ReadFile(path)
	if err != nil {
		l.problem(name, file, "the file cannot be read: "+reason(err), "write the path of a readable file that holds the secret")
		return entry{}, false
	}
	return l.nonEmpty(name, entry{value: string(content), where: file.where}, "the file is empty")
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
	l.problems = append(l.problems, Problem{Name: name, Wrong: wrong, Fix: fix, Where: e.where})
}

func (l *loader) warn(name, text string) {
	l.warnings = append(l.warnings, Warning{Name: name, Text: text})
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

// warnFuture tells of settings that are known and do nothing.
func (l *loader) warnFuture() {
	for _, s := range settings {
		if !s.future {
			continue
		}
		for _, name := range []string{s.name, s.name + fileSuffix} {
			if _, set := l.lookup(name); set && (name == s.name || s.secret) {
				l.warn(name, "it has no effect yet")
			}
		}
	}
}

// loadPolicy reads what holds for all keys.
func (l *loader) loadPolicy(c *Config) {
	c.Strategy = choice(l, "KEYWHEEL_STRATEGY", Priority, strategies)
	c.RequiredTokens = l.count("KEYWHEEL_REQUIRED_TOKENS", "estimated", maxCount)
	c.ReportInterval = l.duration("KEYWHEEL_REPORT_INTERVAL", time.Second, 100*time.Millisecond, time.Minute)
	c.PushInterval = l.duration("KEYWHEEL_PUSH_INTERVAL", time.Second, 50*time.Millisecond, time.Minute)
	c.HistoryDays = l.number("KEYWHEEL_HISTORY_DAYS", 35, 2, 3650)
	c.EnvoyConcurrency = int(l.count("KEYWHEEL_ENVOY_CONCURRENCY", "cores", 1024))
}

// loadLogging reads how log lines are written.
func (l *loader) loadLogging(c *Config) {
	c.LogLevel = choice(l, "KEYWHEEL_LOG_LEVEL", slog.LevelInfo, logLevels)
	c.LogFormat = choice(l, "KEYWHEEL_LOG_FORMAT", LogText, logFormats)
}

// minToken is the shortest admin token that is not warned of.
const minToken = 16

// loadTokens reads the tokens of the admin API.
func (l *loader) loadTokens(c *Config) {
	c.AdminToken = l.token("KEYWHEEL_ADMIN_TOKEN")
	c.AdminReadToken = l.token("KEYWHEEL_ADMIN_READ_TOKEN")
	if !c.AdminToken.IsZero() && c.AdminToken.Equal(c.AdminReadToken) {
		l.problem("KEYWHEEL_ADMIN_READ_TOKEN", entry{}, "it is the same as KEYWHEEL_ADMIN_TOKEN", "write another one, or leave it out")
	}
}

func (l *loader) token(name string) secret.Key {
	e, set := l.lookupSecret(name)
	if !set {
		return secret.Key{}
	}
	if wrong := unprintable(e.value); wrong != "" {
		l.problem(name, e, wrong, "write a token of letters, digits and signs")
		return secret.Key{}
	}
	if len(e.value) < minToken {
		l.warn(name, fmt.Sprintf("it has fewer than %d characters and can be guessed", minToken))
	}
	return secret.New(e.value)
}
