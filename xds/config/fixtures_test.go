package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/testca"
	"keywheel/xds/config"
)

var update = flag.Bool("update", false, "write the .want files anew")

const (
	home    = "/home/me"
	workDir = "/home/me/keywheel"
)

// options reads the fixture as .env or keywheel.yaml, and all else from testdata as if it were the working directory.
func options(fixture string, environ ...string) config.Options {
	dotEnv, file := fixture, ""
	if filepath.Ext(fixture) == ".yaml" {
		dotEnv, file = "", fixture
	}
	return config.Options{
		Environ: environ, WorkDir: workDir, StateHome: home + "/.local/state", Now: func() time.Time { return june },
		FileMode: func(path string) (fs.FileMode, error) {
			if filepath.Base(path) == "open-key.pem" {
				return 0o644, nil
			}
			return 0o600, nil
		},
		ReadFile: func(path string) ([]byte, error) {
			switch path {
			case ".env":
				return os.ReadFile(dotEnv)
			case workDir + "/keywheel.yaml":
				return os.ReadFile(file)
			}
			rel, err := filepath.Rel(workDir, path)
			if err != nil {
				return nil, err
			}
			if content, made := certificates()[rel]; made {
				return content, nil
			}
			return os.ReadFile(filepath.Join("testdata", rel))
		},
	}
}

// june is when certificates are judged.
var june = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// certificates are files of fixtures that are made anew each time, by their paths in the working directory.
var certificates = sync.OnceValue(func() map[string][]byte {
	ca, err := testca.NewCA("private")
	if err != nil {
		panic(err)
	}
	files := map[string][]byte{"tls/ca.pem": ca.PEM, "tls/broken.pem": []byte("-----BEGIN PRIVATE KEY-----\nZ3NrX0NBTkFSWQ==\n-----END PRIVATE KEY-----\n")}
	for name, until := range map[string]time.Time{"": {}, "open-": {}, "short-": june.AddDate(0, 0, 7)} {
		pair, err := ca.Issue(testca.Leaf{Hosts: []string{"keywheel.example", "192.0.2.7"}, Until: until})
		if err != nil {
			panic(err)
		}
		files["tls/"+name+"cert.pem"], files["tls/"+name+"key.pem"] = pair.Certificate, pair.Key
	}
	return files
})

// fixtures lists the .env and keywheel.yaml files of a kind, good or bad. None at all is a broken test.
func fixtures(t testing.TB, kind string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"testdata/" + kind + "-*.env", "testdata/" + kind + "-*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no fixtures %s: %v", pattern, err)
		}
		all = append(all, paths...)
	}
	return all
}

func TestGoodFixtures(t *testing.T) {
	for _, path := range fixtures(t, "good") {
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
	for _, path := range fixtures(t, "bad") {
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
	golden := strings.TrimSuffix(path, filepath.Ext(path)) + ".want"
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
		fmt.Fprintf(&b, "key %s %q label %q priority %d limits %d tokens %d requests org %s tier %s thresholds %v",
			k.ID, k.Secret.Reveal(), k.Label, k.Priority, k.LimitTokens, k.LimitRequests, k.Org, k.Tier, k.Thresholds)
		fmt.Fprintf(&b, " models %q disabled %v by rank %v from %s\n", k.Models, k.Disabled, k.LabelByRank, k.Source)
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
	if !c.ProxyToken.IsZero() {
		fmt.Fprintf(&b, "proxy token: %s\n", c.ProxyToken.Reveal())
	}
	for _, k := range c.MasterKeys {
		fmt.Fprintf(&b, "master key: %q\n", k.Reveal())
	}
	if c.CallerHeader != "" || c.UseKeyHeader {
		fmt.Fprintf(&b, "caller header: %s use key header: %v\n", c.CallerHeader, c.UseKeyHeader)
	}
	if c.TLS != nil {
		fmt.Fprintf(&b, "TLS: certificate %s for %s key %s authorities %s\n", c.TLS.CertFile, c.TLS.Identity.Names(), c.TLS.KeyFile, c.TLS.CAFile)
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
