package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"keywheel/xds/envoy"
)

// EnvoyBinary is the Envoy to test with. Without one the test is skipped, unless CI=true or REQUIRE_ENVOY=1: then it fails.
func EnvoyBinary(t testing.TB) string {
	t.Helper()
	path, err := findEnvoy(t)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true" || os.Getenv("REQUIRE_ENVOY") == "1":
		t.Fatalf("no Envoy to test with: %v", err)
	default:
		t.Skipf("no Envoy to test with: %v", err)
	}
	return ""
}

var found struct {
	once sync.Once
	path string
	err  error
}

// findEnvoy looks once, where `keywheel run` looks too. That may download the pinned Envoy.
func findEnvoy(t testing.TB) (string, error) {
	found.once.Do(func() {
		found.path, _, found.err = envoy.Find(t.Context(), envoy.Options{Progress: progress{t}})
	})
	return found.path, found.err
}

type progress struct{ t testing.TB }

func (p progress) Write(b []byte) (int, error) {
	p.t.Logf("%s", b)
	return len(b), nil
}

// Envoy is one Envoy that the test itself starts. Its bootstrap stays the same however often it is stopped and started.
type Envoy struct {
	*Process // the newest; nil before Start

	Bootstrap   Bootstrap
	Text        string // the configuration as YAML, in place of Bootstrap; empty: Bootstrap
	Admin       string // host:port
	Concurrency int    // worker threads
	LogLevel    string // empty: warning
	Env         map[string]string
	dir         string
	epoch       int // of hot restarts
}

// NewEnvoy prepares an Envoy. Nothing runs yet.
func NewEnvoy(t testing.TB, b Bootstrap) *Envoy {
	t.Helper()
	admin, err := b.adminAddr()
	if err != nil {
		t.Fatal(err)
	}
	return &Envoy{Bootstrap: b, Admin: admin, Concurrency: 2, dir: tempDir(t)}
}

// NewEnvoyFile prepares an Envoy that reads a configuration as it stands, whose admin interface listens on admin.
func NewEnvoyFile(t testing.TB, f *File, admin string) *Envoy {
	t.Helper()
	return &Envoy{Text: f.Text, Admin: admin, Concurrency: 2, dir: tempDir(t)}
}

// EnvoyConfig is the bootstrap that `keywheel envoy-config` prints for the same settings.
func (k *Keywheel) EnvoyConfig(t testing.TB) Bootstrap {
	t.Helper()
	stdout, stderr, exit := k.Output(t, "envoy-config")
	if exit != 0 {
		t.Fatalf("keywheel envoy-config: exit code %d\n%s", exit, stderr)
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(stdout), &tree); err != nil {
		t.Fatalf("keywheel envoy-config: %v in\n%s", err, stdout)
	}
	return Bootstrap(withProtoNames(tree).(map[string]any))
}

// Start runs Envoy and returns once it serves. Whether it has its keys is another question: WaitAssigned.
func (e *Envoy) Start(t testing.TB) {
	t.Helper()
	e.Launch(t)
	Eventually(t, "envoy serves", func() error {
		if err := e.alive(); err != nil {
			t.Fatal(err)
		}
		return expectOK(t.Context(), "http://"+e.Admin+"/ready")
	})
}

// Launch runs Envoy and returns at once.
func (e *Envoy) Launch(t testing.TB) {
	t.Helper()
	e.epoch = 0
	e.run(t, "--use-dynamic-base-id", "--base-id-path", filepath.Join(e.dir, "base-id"))
}

func (e *Envoy) run(t testing.TB, args ...string) {
	t.Helper()
	path, config := filepath.Join(e.dir, "envoy.yaml"), []byte(e.Text)
	if e.Text == "" {
		var err error
		path = filepath.Join(e.dir, "envoy.json")
		if config, err = json.Marshal(e.Bootstrap); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	level := e.LogLevel
	if level == "" {
		level = "warning"
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + e.dir}
	for name, value := range e.Env {
		env = append(env, name+"="+value)
	}
	e.Process = start(t, command{
		name: "envoy", path: EnvoyBinary(t), dir: e.dir, env: env,
		args: append([]string{"-c", path, "--concurrency", strconv.Itoa(e.Concurrency), "--log-level", level}, args...),
	})
}

// HotRestart has another Envoy process take over: it gets the listeners, and the one before, which is returned, drains
// and ends by itself within drain and a little. It returns once the new one serves.
func (e *Envoy) HotRestart(t testing.TB, drain time.Duration) (before *Process) {
	t.Helper()
	id, err := os.ReadFile(filepath.Join(e.dir, "base-id"))
	if err != nil {
		t.Fatal(err)
	}
	before = e.Process
	e.epoch++
	seconds := int(drain / time.Second)
	e.run(t, "--base-id", strings.TrimSpace(string(id)), "--restart-epoch", strconv.Itoa(e.epoch),
		"--drain-time-s", strconv.Itoa(seconds), "--parent-shutdown-time-s", strconv.Itoa(seconds+1))
	Eventually(t, "the next envoy serves", func() error {
		if err := e.alive(); err != nil {
			t.Fatal(err)
		}
		status, body, err := get(t.Context(), "http://"+e.Admin+"/server_info", nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("/server_info: %d, %w", status, errors.Join(err))
		}
		var info struct {
			State   string `json:"state"`
			Options struct {
				Epoch int `json:"restart_epoch"`
			} `json:"command_line_options"`
		}
		if err := json.Unmarshal(body, &info); err != nil {
			return err
		}
		if info.State != "LIVE" || info.Options.Epoch != e.epoch {
			return fmt.Errorf("epoch %d is %s", info.Options.Epoch, info.State)
		}
		return nil
	})
	return before
}

// Drain has Envoy let its listeners' connections go, gracefully.
func (e *Envoy) Drain(t testing.TB) {
	t.Helper()
	req, err := http.NewRequestWithContext(Context(t), http.MethodPost, "http://"+e.Admin+"/drain_listeners?graceful&skip_exit", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	res, err := direct.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("drain envoy: %s", res.Status)
	}
}

// AdminGet reads a page of Envoy's admin interface: "/stats", "/config_dump", "/clusters".
func (e *Envoy) AdminGet(t testing.TB, path string) string {
	t.Helper()
	return adminGet(t, e.Admin, path)
}

func adminGet(t testing.TB, addr, path string) string {
	t.Helper()
	status, body, err := get(t.Context(), "http://"+addr+path, nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("envoy's %s: %d, %v", path, status, err)
	}
	return string(body)
}

// Stats are Envoy's counters and gauges whose name matches, by name.
func (e *Envoy) Stats(t testing.TB, match string) map[string]int64 {
	t.Helper()
	stats, err := readStats(t, e.Admin+"/stats", match)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func readStats(t testing.TB, page, match string) (map[string]int64, error) {
	status, body, err := get(t.Context(), "http://"+page, nil)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("envoy's stats: %d, %w", status, errors.Join(err))
	}
	wanted, err := regexp.Compile(match)
	if err != nil {
		return nil, err
	}
	stats := map[string]int64{}
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if ok && err == nil && wanted.MatchString(name) {
			stats[name] = n
		}
	}
	return stats, nil
}

// Reloads is how many assignments the attempt, which gets the keys, has taken over.
func (e *Envoy) Reloads(t testing.TB) int64 {
	t.Helper()
	n, err := e.reloads(t)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Reloaded is an error until the attempt has taken over so many assignments.
func (e *Envoy) Reloaded(t testing.TB, want int64) error {
	n, err := e.reloads(t)
	if err == nil && n < want {
		err = fmt.Errorf("%d were taken over, not %d", n, want)
	}
	return err
}

func (e *Envoy) reloads(t testing.TB) (int64, error) {
	stats, err := readStats(t, e.Admin+"/stats?filter=config_reload$", `keywheel\.attempt\.config_reload$`)
	var sum int64
	for _, n := range stats {
		sum += n
	}
	return sum, err
}

// WaitAssigned returns once each role of the filter has a configuration that came by xDS, if it is to.
func (e *Envoy) WaitAssigned(t testing.TB) {
	t.Helper()
	waitAssigned(t, e.Process, e.Admin, len(objects(map[string]any(e.Bootstrap), "config_discovery")))
}

func waitAssigned(t testing.TB, p *Process, admin string, roles int) {
	t.Helper()
	Eventually(t, "all roles have their assignment", func() error {
		if err := p.alive(); err != nil {
			t.Fatal(err)
		}
		stats, err := readStats(t, admin+"/stats", `extension_config_discovery\..*keywheel\.(gate|attempt|gate_only)\.config_reload$`)
		if err != nil {
			return err
		}
		have := 0
		for _, n := range stats {
			if n > 0 {
				have++
			}
		}
		if have < roles {
			return fmt.Errorf("config_reload is %v", stats)
		}
		return nil
	})
}
