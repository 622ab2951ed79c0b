package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/config"
)

var update = flag.Bool("update", false, "write the .want files anew")

const (
	home    = "/home/me"
	workDir = "/home/me/keywheel"
)

// options reads dotEnv as .env, and all else from testdata as if it were the working directory.
func options(dotEnv string, environ ...string) config.Options {
	return config.Options{
		Environ: environ, WorkDir: workDir, StateHome: home + "/.local/state",
		ReadFile: func(path string) ([]byte, error) {
			if path == ".env" {
				return os.ReadFile(dotEnv)
			}
			rel, err := filepath.Rel(workDir, path)
			if err != nil {
				return nil, err
			}
			return os.ReadFile(filepath.Join("testdata", rel))
		},
	}
}

// fixtures lists the .env files of a kind. None at all is a broken test.
func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	return paths
}

func TestGoodFixtures(t *testing.T) {
	for _, path := range fixtures(t, "good-*.env") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, warnings, err := config.Load(options(path))
			if err != nil {
				t.Fatalf("refused:\n%v", err)
			}
			compare(t, path, dump(c, warnings))
		})
	}
}

func TestBadFixtures(t *testing.T) {
	for _, path := range fixtures(t, "bad-*.env") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, _, err := config.Load(options(path))
			if err == nil || c != nil {
				t.Fatalf("accepted: %v, %v", c, err)
			}
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is a %T", err)
			}
			compare(t, path, err.Error()+"\n")
		})
	}
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	golden := strings.TrimSuffix(path, ".env") + ".want"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// dump writes everything that can be set, secrets too: a fixture's are made up.
func dump(c *config.Config, warnings []config.Warning) string {
	var b strings.Builder
	for _, k := range c.Keys {
		fmt.Fprintf(&b, "key %s %q label %q priority %d limits %d tokens %d requests org %s tier %s thresholds %v\n",
			k.ID, k.Secret.Reveal(), k.Label, k.Priority, k.LimitTokens, k.LimitRequests, k.Org, k.Tier, k.Thresholds)
	}
	run, err := c.RunXDSAddr()
	if err != nil {
		run = config.Address{}
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"upstream", c.Upstream.URL()}, {"strategy", c.Strategy}, {"required tokens", c.RequiredTokens}, {"thresholds", c.Thresholds},
		{"report interval", c.ReportInterval}, {"push interval", c.PushInterval}, {"history days", c.HistoryDays},
		{"store", c.StorePath}, {"listen", c.ListenAddr}, {"envoy admin", c.EnvoyAdminAddr}, {"admin", c.AdminAddr},
		{"xds of run", run}, {"xds of serve", c.ServeXDSAddr()}, {"xds insecure", c.XDSInsecure},
		{"concurrency", c.EnvoyConcurrency}, {"wasm", c.WasmPath},
		{"admin token", c.AdminToken.Reveal()}, {"admin read token", c.AdminReadToken.Reveal()},
		{"log level", c.LogLevel}, {"log format", c.LogFormat},
	} {
		fmt.Fprintf(&b, "%s: %v\n", line.name, line.value)
	}
	dumpNotify(&b, c.Notify)
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func dumpNotify(b *strings.Builder, n config.Notify) {
	if t := n.Telegram; t != nil {
		fmt.Fprintf(b, "telegram: %q to %q by %s\n", t.Token.Reveal(), t.Chats, t.URL)
	}
	if m := n.Email; m != nil {
		fmt.Fprintf(b, "e-mail: from %s to %q\n", m.From, m.To)
		fmt.Fprintf(b, "mail server: %s port %d implicit TLS %v TLS %s user %q password %q\n",
			m.Server.Host, m.Server.Port, m.Server.ImplicitTLS, m.Server.TLS, m.Server.User, m.Server.Password.Reveal())
	}
	if w := n.Webhook; w != nil {
		fmt.Fprintf(b, "webhook: %q secret %q\n", w.URL.Reveal(), w.Secret.Reveal())
	}
	for _, s := range n.Services {
		fmt.Fprintf(b, "service %s: %q\n", s.Name, s.URL.Reveal())
	}
	for _, r := range n.Routes {
		fmt.Fprintf(b, "route of %s %q: %q\n", r.Event, r.Level, r.Receivers)
	}
}
