package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/config"
)

// load reads dotEnv, the content of a .env file, and environ.
func load(dotEnv string, environ ...string) (*config.Config, []config.Warning, error) {
	return config.Load(config.Options{
		Environ: environ, WorkDir: workDir, StateHome: home + "/.local/state",
		ReadFile: func(path string) ([]byte, error) {
			if path == ".env" {
				return []byte(dotEnv), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
}

func mustLoad(t *testing.T, dotEnv string, environ ...string) *config.Config {
	t.Helper()
	c, _, err := load(dotEnv, environ...)
	if err != nil {
		t.Fatalf("refused:\n%v", err)
	}
	return c
}

func TestEnvironmentOverDotEnv(t *testing.T) {
	const dotEnv = "GROQ_API_KEY_1=gsk_file\nKEYWHEEL_HISTORY_DAYS=10\nKEYWHEEL_STRATEGY=balanced\nGROQ_API_KEY_2_FILE=/not/read\n"
	c := mustLoad(t, dotEnv, "GROQ_API_KEY_1=gsk_env", "KEYWHEEL_HISTORY_DAYS=20", "KEYWHEEL_STRATEGY=", "GROQ_API_KEY_2=gsk_second", "KEYWHEEL_HISTORY_DAYS=30")
	if got := c.Keys[0].Secret.Reveal(); got != "gsk_env" {
		t.Errorf("key 1 is %s, want the environment's", got)
	}
	if c.HistoryDays != 20 {
		t.Errorf("history of %d days, want the environment's first, 20", c.HistoryDays)
	}
	if c.Strategy != config.Balanced {
		t.Errorf("strategy %s; an empty variable must not hide .env", c.Strategy)
	}
	if got := c.Keys[1].Secret.Reveal(); got != "gsk_second" {
		t.Errorf("key 2 is %s, want the environment's", got)
	}
}

func TestNumberlessKey(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		want    string // id=secret
		warned  bool
	}{
		"alone":                    {[]string{"GROQ_API_KEY=gsk_a"}, "1=gsk_a", false},
		"beside number 2":          {[]string{"GROQ_API_KEY=gsk_a", "GROQ_API_KEY_2=gsk_b"}, "1=gsk_a 2=gsk_b", false},
		"the same as number 1":     {[]string{"GROQ_API_KEY=gsk_a", "GROQ_API_KEY_1=gsk_a"}, "1=gsk_a", false},
		"different from number 1":  {[]string{"GROQ_API_KEY=gsk_a", "GROQ_API_KEY_1=gsk_b"}, "1=gsk_b", true},
		"gaps, ordered by numbers": {[]string{"GROQ_API_KEY_10=gsk_a", "GROQ_API_KEY_7=gsk_b"}, "7=gsk_b 10=gsk_a", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, warnings, err := load("", tc.environ...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range c.Keys {
				got = append(got, k.ID+"="+k.Secret.Reveal())
			}
			if strings.Join(got, " ") != tc.want || (len(warnings) > 0) != tc.warned {
				t.Errorf("keys %v, warnings %v; want %s", got, warnings, tc.want)
			}
		})
	}
}

func TestNoKeys(t *testing.T) {
	_, _, err := load("", "GROQ_API_KEY=", "OTHER=1")
	if !errors.Is(err, config.ErrNoKeys) {
		t.Fatalf("error %v, want ErrNoKeys", err)
	}
	for _, name := range []string{"GROQ_API_KEY", "GROQ_API_KEY_1", "GROQ_API_KEY_2", "_FILE", ".env", "set but empty: GROQ_API_KEY"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if _, _, err := load("", "GROQ_API_KEY_1=changeme"); err == nil || errors.Is(err, config.ErrNoKeys) {
		t.Errorf("a malformed key gives %v, want a refusal of its own", err)
	}
	c, _, err := config.Load(config.Options{KeysOptional: true, DotEnvPath: filepath.Join(t.TempDir(), ".env")})
	if err != nil || len(c.Keys) != 0 {
		t.Errorf("with keys optional: %v, %v", c, err)
	}
}

func TestTrueKeysAreNoPlaceholders(t *testing.T) {
	for _, value := range []string{
		"gsk_yourAbCdEfGhIjKlMnOpQrStUvWxYz0123456789exampleXXXabc",
		"gsk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
		"test-key-1", "gsk_1",
	} {
		if _, _, err := load("", "GROQ_API_KEY_1="+value); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestStateHome(t *testing.T) {
	dotEnv := filepath.Join(t.TempDir(), ".env")
	c, _, err := config.Load(config.Options{Environ: []string{"GROQ_API_KEY=gsk_a", "XDG_STATE_HOME=/state"}, DotEnvPath: dotEnv})
	if err != nil || c.StorePath != "/state/keywheel/keywheel.db" || c.StoreDir() != "/state/keywheel" {
		t.Errorf("store %+v, error %v", c, err)
	}
	_, _, err = config.Load(config.Options{Environ: []string{"GROQ_API_KEY=gsk_a"}, StateHome: ".local/state", DotEnvPath: dotEnv})
	if err == nil || !strings.Contains(err.Error(), "KEYWHEEL_STORE: there is no home directory") {
		t.Errorf("without a home: %v", err)
	}
}

func TestDotEnvFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "settings.env")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts := config.Options{DotEnvPath: path}

	write("\xef\xbb\xbfGROQ_API_KEY_1=gsk_after_byte_order_mark\r\nKEYWHEEL_HISTORY_DAYS=9\r\n")
	c, _, err := config.Load(opts)
	if err != nil || c.Keys[0].Secret.Reveal() != "gsk_after_byte_order_mark" || c.HistoryDays != 9 {
		t.Errorf("as Windows writes it: %+v, %v", c, err)
	}
	write(strings.Repeat("#", 1<<20+1))
	if _, _, err := config.Load(opts); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
	opts.DotEnvPath = dir
	if _, _, err := config.Load(opts); err == nil || err.Error() != dir+": it cannot be read: is a directory; make it readable, or remove it" {
		t.Errorf("a directory: %v", err)
	}
}

func TestKubernetesServiceVariables(t *testing.T) {
	environ := []string{
		"GROQ_API_KEY=gsk_a", "KEYWHEEL_SERVICE_HOST=10.0.0.1", "KEYWHEEL_SERVICE_PORT=8080", "KEYWHEEL_SERVICE_PORT_HTTP=8080",
		"KEYWHEEL_PORT=tcp://10.0.0.1:8080", "KEYWHEEL_PORT_8080_TCP=tcp://10.0.0.1:8080", "KEYWHEEL_PORT_8080_TCP_ADDR=10.0.0.1",
		"KEYWHEEL_XDS_SERVICE_HOST=10.0.0.2", "KEYWHEEL_XDS_PORT_18000_TCP_PROTO=tcp",
	}
	mustLoad(t, "", environ...)
	if _, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_ADMIN_PORT=8080"); err == nil || !strings.Contains(err.Error(), "did you mean KEYWHEEL_ADMIN_ADDR?") {
		t.Errorf("a port by itself: %v", err)
	}
	if _, _, err := load("KEYWHEEL_SERVICE_HOST=10.0.0.1", "GROQ_API_KEY=gsk_a"); err == nil {
		t.Error("in .env, where Kubernetes writes nothing, the name is accepted")
	}
}

func TestEverySettingIsKnown(t *testing.T) {
	// The names of the settings table; a secret's also as a file.
	for name, isSecret := range map[string]bool{
		"GROQ_API_KEY": true, "GROQ_API_KEY_1": true, "GROQ_API_KEY_12": true, "GROQ_KEY_1_PRIORITY": false, "GROQ_KEY_1_DAILY_LIMIT": false,
		"GROQ_KEY_1_DAILY_REQUESTS": false, "GROQ_KEY_1_LABEL": false, "GROQ_KEY_1_ORG": false, "GROQ_KEY_1_TIER": false, "GROQ_KEY_1_THRESHOLDS": false,
		"KEYWHEEL_UPSTREAM_URL": false, "KEYWHEEL_STRATEGY": false, "KEYWHEEL_REQUIRED_TOKENS": false, "KEYWHEEL_THRESHOLDS": false,
		"KEYWHEEL_STORE": false, "KEYWHEEL_REPORT_INTERVAL": false, "KEYWHEEL_HISTORY_DAYS": false, "KEYWHEEL_LISTEN_ADDR": false,
		"KEYWHEEL_ENVOY_ADMIN_ADDR": false, "KEYWHEEL_ADMIN_ADDR": false, "KEYWHEEL_XDS_ADDR": false, "KEYWHEEL_PUSH_INTERVAL": false,
		"KEYWHEEL_ENVOY_CONCURRENCY": false, "KEYWHEEL_WASM": false, "KEYWHEEL_ADMIN_TOKEN": true, "KEYWHEEL_ADMIN_READ_TOKEN": true,
		"KEYWHEEL_MASTER_KEY": true, "KEYWHEEL_TLS_CERT": false, "KEYWHEEL_TLS_KEY": false, "KEYWHEEL_TLS_CA": false, "KEYWHEEL_XDS_INSECURE": false,
		"KEYWHEEL_LOG_LEVEL": false, "KEYWHEEL_LOG_FORMAT": false, "KEYWHEEL_WEBHOOK_URL": true, "KEYWHEEL_WEBHOOK_SECRET": true, "KEYWHEEL_NOTIFY_URLS": true,
		"KEYWHEEL_NOTIFY_ROUTES": false, "KEYWHEEL_CONFIG": false, "GROQ_KEY_1_MODELS": false, "GROQ_KEY_1_DISABLED": false,
		"KEYWHEEL_CALLER_HEADER": false, "KEYWHEEL_USE_KEY_HEADER": false,
	} {
		for suffix, want := range map[string]bool{"": true, "_FILE": isSecret} {
			_, _, err := load("", name+suffix+"=!")
			if known := err == nil || !strings.Contains(err.Error(), "no such setting"); known != want {
				t.Errorf("%s is known: %v, want %v", name+suffix, known, want)
			}
		}
	}
}

func TestSocketOfRun(t *testing.T) {
	c := mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_STORE=file:/"+strings.Repeat("d", 100)+"/keywheel.db")
	_, err := c.RunXDSAddr()
	if err == nil || !strings.HasPrefix(err.Error(), "KEYWHEEL_XDS_ADDR: the socket beside the store") {
		t.Errorf("a path too long for a socket: %v", err)
	}
	c.XDSAddr = config.Address{Unix: "/run/x.sock"}
	if a, err := c.RunXDSAddr(); err != nil || a.String() != "unix:/run/x.sock" || a.Network() != "unix" || a.Listen() != "/run/x.sock" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestAddresses(t *testing.T) {
	for value, want := range map[string]struct {
		listen, dial string
		local        bool
	}{
		"127.0.0.1:1":         {"127.0.0.1:1", "127.0.0.1:1", true},
		"localhost:1":         {"127.0.0.1:1", "127.0.0.1:1", true},
		":1":                  {"0.0.0.0:1", "127.0.0.1:1", false},
		"0.0.0.0:1":           {"0.0.0.0:1", "127.0.0.1:1", false},
		"[::]:1":              {"[::]:1", "[::1]:1", false},
		"[::1]:1":             {"[::1]:1", "[::1]:1", true},
		"[::ffff:127.0.0.1]:": {},
		"192.0.2.1:0":         {"192.0.2.1:0", "192.0.2.1:0", false},
	} {
		c, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_ADMIN_ADDR="+value)
		if want.listen == "" {
			if err == nil {
				t.Errorf("%s: accepted", value)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if a := c.AdminAddr; a.Listen() != want.listen || a.Dial() != want.dial || a.Local() != want.local || a.Network() != "tcp" {
			t.Errorf("%s: listens on %s, reached at %s, local %v", value, a.Listen(), a.Dial(), a.Local())
		}
	}
}

func TestUpstreams(t *testing.T) {
	for value, want := range map[string]config.Upstream{
		"https://api.groq.com/openai/v1/":   {Host: "api.groq.com", Port: 443, TLS: true},
		"https://API.groq.com:443":          {Host: "api.groq.com", Port: 443, TLS: true},
		"http://127.0.0.1:9000/openai/v1":   {Host: "127.0.0.1", Port: 9000},
		"http://[::1]:9000":                 {Host: "::1", Port: 9000},
		"http://localhost":                  {Host: "localhost", Port: 80},
		"https://192.0.2.1:8443/some/where": {Host: "192.0.2.1", Port: 8443, TLS: true},
	} {
		c := mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_UPSTREAM_URL="+value)
		if c.Upstream != want {
			t.Errorf("%s: %+v, want %+v", value, c.Upstream, want)
		}
		again := mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_UPSTREAM_URL="+c.Upstream.URL())
		if again.Upstream != want {
			t.Errorf("%s written as %s is read as %+v", value, c.Upstream.URL(), again.Upstream)
		}
	}
}

func TestOwnListenerUnderOtherNames(t *testing.T) {
	for listen, upstream := range map[string]string{
		"127.0.0.1:10000": "https://127.0.0.1:10000", "0.0.0.0:10000": "http://127.0.0.9:10000", "[::]:10000": "http://localhost:10000",
		"[::1]:10000": "http://localhost:10000", "192.0.2.1:443": "https://192.0.2.1",
	} {
		_, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_LISTEN_ADDR="+listen, "KEYWHEEL_UPSTREAM_URL="+upstream)
		if err == nil || !strings.Contains(err.Error(), "Keywheel's own listener (KEYWHEEL_LISTEN_ADDR)") {
			t.Errorf("%s behind %s: %v", upstream, listen, err)
		}
	}
	mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_UPSTREAM_URL=http://127.0.0.1:10001")
}

func TestForDemo(t *testing.T) {
	c := mustLoad(t, "", append(everybody(), "GROQ_API_KEY_9=gsk_true", "KEYWHEEL_HISTORY_DAYS=9")...)
	upstream := config.Upstream{Host: "127.0.0.1", Port: 4000}
	demo, err := c.ForDemo(upstream, "/tmp/demo")
	if err != nil {
		t.Fatal(err)
	}
	if demo.Upstream != upstream || demo.StorePath != "/tmp/demo/keywheel.db" || demo.HistoryDays != 9 || len(demo.Keys) != 3 {
		t.Errorf("%+v", demo)
	}
	for n, k := range demo.Keys {
		if k.ID != fmt.Sprint(n+1) || k.Priority != n+1 || k.LimitTokens != 600 || k.Secret.Reveal() == "gsk_true" || k.Label == "" {
			t.Errorf("key %+v", k)
		}
	}
	if n := demo.Notify; n.Telegram != nil || n.Email != nil || n.Webhook != nil || n.Services != nil || n.Routes != nil {
		t.Errorf("the demo would tell %+v", n)
	}
	if len(c.Keys) != 1 || c.Keys[0].Secret.Reveal() != "gsk_true" || c.Notify.Telegram == nil || len(c.Notify.Routes) == 0 {
		t.Error("the configuration itself has changed")
	}
	if _, err := c.ForDemo(config.Upstream{Host: "api.groq.com", Port: 443, TLS: true}, "/tmp"); err == nil {
		t.Error("a demo against Groq itself is accepted")
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	c := mustLoad(t, "", append(everybody(), "GROQ_API_KEY_1=gsk_never_shown", "KEYWHEEL_ADMIN_TOKEN=also-never-shown-anywhere")...)
	n := c.Notify
	for _, text := range []string{
		fmt.Sprint(*c), fmt.Sprintf("%+v %#v", c, *c), fmt.Sprintf("%v %x", c.Keys, c.AdminToken),
		fmt.Sprintf("%+v %+v %+v %+v %#v %x", n.Telegram, n.Email, n.Webhook, n.Services, n.Email.Server, n.Services),
	} {
		if strings.Contains(text, "never") || strings.Contains(text, fmt.Sprintf("%x", "never")) {
			t.Errorf("shown: %s", text)
		}
	}
	if c.Keys[0].Secret.Hash() != secret.New("gsk_never_shown").Hash() {
		t.Error("the secret is another")
	}
	if !slices.IsSorted(c.Thresholds) {
		t.Error("thresholds are not sorted")
	}
}
