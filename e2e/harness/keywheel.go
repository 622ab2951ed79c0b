package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Key is a Groq key that Keywheel is given.
type Key struct {
	ID            string
	Secret        string
	Priority      int    // 0: as Keywheel does by default
	LimitTokens   int64  // 0: none
	LimitRequests int64  // 0: none
	Org           string // empty: its own
}

// KeywheelOptions say how Keywheel is run.
type KeywheelOptions struct {
	Keys     []Key
	Upstream string            // KEYWHEEL_UPSTREAM_URL; empty: not set
	Settings map[string]string // further environment; an empty value takes a setting away
	Args     []string          // after the command
}

// Keywheel is the product's binary with one environment: its addresses and its store stay the same however often it is
// stopped and started.
type Keywheel struct {
	*Process // the newest; nil before Start

	Product    Product
	Dir        string // holds the store
	Listen     string // host:port of the listener that clients use
	EnvoyAdmin string // host:port
	Admin      string // host:port

	args   []string
	env    map[string]string
	stdout *os.File // of the next start; nil: its log
}

// NewKeywheel prepares the product with free ports and an empty store. Nothing runs yet.
func NewKeywheel(t testing.TB, opts KeywheelOptions) *Keywheel {
	t.Helper()
	k := &Keywheel{
		Product: Build(t), Dir: tempDir(t), args: opts.Args,
		Listen: FreeAddr(t), EnvoyAdmin: FreeAddr(t), Admin: FreeAddr(t),
	}
	k.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": k.Dir, "TMPDIR": k.Dir, "TZ": "UTC",
		"KEYWHEEL_LISTEN_ADDR":      k.Listen,
		"KEYWHEEL_ENVOY_ADMIN_ADDR": k.EnvoyAdmin,
		"KEYWHEEL_ADMIN_ADDR":       k.Admin,
		"KEYWHEEL_STORE":            "file:" + filepath.Join(k.Dir, "keywheel.db"),
		"KEYWHEEL_XDS_ADDR":         "unix:" + filepath.Join(k.Dir, "xds.sock"),
		"KEYWHEEL_WASM":             k.Product.Wasm,
		"KEYWHEEL_UPSTREAM_URL":     opts.Upstream,
		"KEYWHEEL_REPORT_INTERVAL":  "200ms",
		"KEYWHEEL_PUSH_INTERVAL":    "100ms",

		"KEYWHEEL_ENVOY_CONCURRENCY": "2",
	}
	for _, key := range opts.Keys {
		k.env["GROQ_API_KEY_"+key.ID] = key.Secret
		k.env["GROQ_KEY_"+key.ID+"_ORG"] = key.Org
		for name, n := range map[string]int64{"PRIORITY": int64(key.Priority), "DAILY_LIMIT": key.LimitTokens, "DAILY_REQUESTS": key.LimitRequests} {
			if n != 0 {
				k.env["GROQ_KEY_"+key.ID+"_"+name] = strconv.FormatInt(n, 10)
			}
		}
	}
	maps.Copy(k.env, opts.Settings)
	return k
}

// Set changes a setting for the next start; an empty value takes it away.
func (k *Keywheel) Set(name, value string) { k.env[name] = value }

// environ is the whole environment of the child.
func (k *Keywheel) environ() []string {
	var env []string
	for name, value := range k.env {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// Start runs `keywheel serve` or `keywheel run` and returns once /readyz says yes.
func (k *Keywheel) Start(t testing.TB, subcommand string) {
	t.Helper()
	k.Launch(t, subcommand)
	Eventually(t, "keywheel "+subcommand+" is ready", func() error {
		if err := k.alive(); err != nil {
			t.Fatal(err)
		}
		return expectOK(t.Context(), "http://"+k.Admin+"/readyz")
	})
}

// Launch runs a subcommand and returns at once.
func (k *Keywheel) Launch(t testing.TB, subcommand string) {
	t.Helper()
	if subcommand == "run" && k.env["ENVOY"] == "" {
		k.env["ENVOY"] = EnvoyBinary(t)
	}
	k.Process = start(t, command{
		name: "keywheel " + subcommand, path: k.Product.Bin, args: append([]string{subcommand}, k.args...), env: k.environ(), dir: k.Dir,
		stdout: k.stdout,
	})
}

// Interrupt asks Keywheel to end, by SIGINT, and returns its exit code.
func (k *Keywheel) Interrupt(t testing.TB) int {
	t.Helper()
	k.Signal(t, syscall.SIGINT)
	return k.Wait(t)
}

// Output runs a subcommand in the same environment to its end.
func (k *Keywheel) Output(t testing.TB, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.CommandContext(Context(t), k.Product.Bin, args...)
	cmd.Env, cmd.Dir = k.environ(), k.Dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exited := new(exec.ExitError); err != nil && !errors.As(err, &exited) {
		t.Fatalf("keywheel %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// expectOK is an error unless a GET is answered 200.
func expectOK(ctx context.Context, url string) error {
	status, body, err := get(ctx, url, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", url, status, body)
	}
	return err
}

// get asks once, on a connection of its own.
func get(ctx context.Context, url string, header http.Header) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	maps.Copy(req.Header, header)
	req.Close = true
	res, err := direct.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// direct knows no proxy.
var direct = &http.Transport{}
