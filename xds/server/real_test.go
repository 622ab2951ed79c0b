package server_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keywheel"
	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/envoy/envoytest"
	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/server"
	"keywheel/xds/snapshot"
)

// controlPlane is the whole life of a process that serves xDS until it is killed.
func controlPlane(addr string) {
	generation, err := strconv.ParseInt(os.Getenv("TEST_GENERATION"), 10, 64)
	if err != nil {
		panic(err)
	}
	a := newAccount()
	a.change(generation)
	p := snapshot.NewPublisher(snapshot.Config{
		Source: a, Token: func() secret.Key { return secret.New("CANARY_token") }, WasmPath: os.Getenv("TEST_WASM"), Interval: time.Second,
		Secrets: func() map[protocol.CredentialID]secret.Key {
			return map[protocol.CredentialID]secret.Key{"1.1": secret.New("gsk_CANARY_1")}
		},
	})
	l, err := server.Listen(addr, false)
	if err != nil {
		panic(err)
	}
	s := server.New(server.Config{
		Cache: p.Cache(), Observer: a, Reports: http.NotFoundHandler(), Redact: p.Redact,
		Refresh: func(ctx context.Context) error { _, err := p.Refresh(ctx); return err },
	})
	fmt.Fprintln(os.Stdout, "serving")
	panic(s.Serve(l))
}

// startControlPlane starts a control plane, and returns what kills it.
func startControlPlane(t *testing.T, addr, module string, generation int) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "TEST_CONTROL_PLANE="+addr, "TEST_WASM="+module, "TEST_GENERATION="+strconv.Itoa(generation))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return kill
}

// proxy is a real Envoy with an idle module.
type proxy struct{ base, admin string }

func startProxy(t *testing.T, controlPlane, module string, log io.Writer) proxy {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(up.Close)
	at, err := netip.ParseAddrPort(strings.TrimPrefix(up.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	listen, admin := envoytest.FreePort(t), envoytest.FreePort(t)
	bootstrap, err := envoy.Configure(keywheel.EnvoyYAML, envoy.Settings{
		ListenAddr: listen, AdminAddr: admin, ControlPlane: controlPlane, WasmPath: module,
		Upstream: config.Upstream{Host: at.Addr().String(), Port: int(at.Port())},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := envoy.NewSupervisor(envoy.Config{
		Binary: envoytest.Binary(t), Bootstrap: bootstrap, ConfigPath: filepath.Join(t.TempDir(), "envoy.json"), AdminAddr: admin, Concurrency: 2,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case <-s.Ready():
	case <-time.After(time.Minute):
		t.Fatal("Envoy does not serve")
	}
	return proxy{"http://" + listen, "http://" + admin}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
	return string(body)
}

// reaches waits until a statistic of both roles' configuration has this value.
func (p proxy) reaches(t *testing.T, stat string, want int) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		stats := get(t, p.admin+"/stats?filter=extension_config_discovery")
		if strings.Count(stats, fmt.Sprintf(".%s: %d\n", stat, want)) == 2 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s never was %d:\n%s", stat, want, stats)
		}
	}
}

func TestARealEnvoyShowsNoSecretAndServesOnWithoutTheControlPlane(t *testing.T) {
	binary := envoytest.Binary(t)
	t.Setenv("ENVOY", binary)
	addr, module := socket(t), envoytest.IdleModule(t)
	var log loggingtest.Buffer
	p := startProxy(t, addr, module, &log)
	if got := get(t, p.base+"/v1/models"); got != "ok" {
		t.Errorf("before there is a control plane: %s", got)
	}

	kill := startControlPlane(t, addr, module, 1)
	p.reaches(t, "config_reload", 1)
	dump := get(t, p.admin+"/config_dump")
	if strings.Count(dump, "[redacted]") < 5 || !strings.Contains(dump, "EcdsConfigDump") {
		t.Errorf("config_dump has %d times [redacted]", strings.Count(dump, "[redacted]"))
	}
	for _, page := range []string{"/config_dump?include_eds", "/stats", "/clusters", "/server_info", "/listeners", "/init_dump"} {
		body := get(t, p.admin+page)
		for _, form := range []string{"CANARY", base64.StdEncoding.EncodeToString([]byte("gsk_CANARY_1")), base64.StdEncoding.EncodeToString([]byte("CANARY_token"))} {
			if strings.Contains(body, form) {
				t.Errorf("%s shows a secret", page)
			}
		}
	}

	kill()
	for range 200 {
		if got := get(t, p.base+"/v1/models"); got != "ok" {
			t.Fatalf("without the control plane: %s", got)
		}
	}

	kill = startControlPlane(t, addr, module, 1) // over the dead one's socket
	p.reaches(t, "update_success", 2)
	p.reaches(t, "config_reload", 1) // the same content is no new configuration
	kill()
	startControlPlane(t, addr, module, 2)
	p.reaches(t, "config_reload", 2)
	p.reaches(t, "update_rejected", 0)
	if strings.Contains(log.String(), "CANARY") {
		t.Errorf("Envoy's log shows a secret:\n%s", log.String())
	}
}

func TestARealEnvoyRefusesWhatItCannotLoad(t *testing.T) {
	t.Setenv("ENVOY", envoytest.Binary(t))
	r := serve(t, socket(t), func(c *server.Config) { c.RetryAfter = nil })
	var log loggingtest.Buffer
	p := startProxy(t, r.addr, envoytest.IdleModule(t), &log) // the server names /x.wasm
	p.reaches(t, "update_rejected", 1)
	r.hears(t, "rejected by keywheel: Invalid path: /x.wasm")
	if got := get(t, p.base+"/v1/models"); got != "ok" {
		t.Errorf("after a refusal: %s", got)
	}
	if strings.Contains(log.String(), "CANARY") {
		t.Errorf("Envoy's log shows a secret:\n%s", log.String())
	}
}
