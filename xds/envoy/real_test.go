package envoy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"keywheel"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/envoy/envoytest"
)

// upstreamOf returns where a test server is.
func upstreamOf(t *testing.T, s *httptest.Server) config.Upstream {
	t.Helper()
	scheme, addr, _ := strings.Cut(s.URL, "://")
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return config.Upstream{Host: a.Addr().String(), Port: int(a.Port()), TLS: scheme == "https"}
}

// realEnvoy configures a real Envoy with envoy.yaml, adapted to set, in front of an idle module. It returns the base URL for
// clients. There is no control plane.
func realEnvoy(t *testing.T, set envoy.Settings) (c envoy.Config, base string) {
	t.Helper()
	c = envoy.Config{
		Binary: envoytest.Binary(t), ConfigPath: filepath.Join(t.TempDir(), "envoy.json"), Concurrency: 1, AdminAddr: envoytest.FreePort(t),
	}
	set.ListenAddr, set.AdminAddr = envoytest.FreePort(t), c.AdminAddr
	set.WasmPath = envoytest.IdleModule(t)
	if set.ControlPlane == "" {
		set.ControlPlane = "unix:" + filepath.Join(t.TempDir(), "nobody.sock")
	}
	if set.CABundle == "" {
		bundle, err := envoy.FindCABundle(os.Getenv, nil)
		if err != nil {
			t.Fatal(err)
		}
		set.CABundle = bundle
	}
	text, err := envoy.Configure(keywheel.EnvoyYAML, set)
	if err != nil {
		t.Fatal(err)
	}
	c.Bootstrap = text
	c.Ports = []envoy.Port{{Setting: "KEYWHEEL_LISTEN_ADDR", Addr: set.ListenAddr}, {Setting: "KEYWHEEL_ENVOY_ADMIN_ADDR", Addr: c.AdminAddr}}
	return c, "http://" + set.ListenAddr
}

var startedPID = regexp.MustCompile(`msg="Envoy started" pid=(\d+)`)

func TestARealEnvoyIsStartedAgainAndStopsWithoutCuttingACall(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		if strings.HasSuffix(r.URL.Path, "/long") {
			close(started)
			<-finish
		}
		_, _ = io.WriteString(w, "last")
	}))
	defer up.Close()
	c, base := realEnvoy(t, envoy.Settings{Upstream: upstreamOf(t, up)})
	s := supervise(t, c)
	s.serve(t)
	pid, err := strconv.Atoi(startedPID.FindStringSubmatch(s.log.String())[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy serves again", func() bool {
		res, err := http.Get(base + "/v1/models")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	res, err := http.Get(base + "/v1/long")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-started
	s.stop()
	eventually(t, "new calls are refused", func() bool {
		other := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := other.Get(base + "/v1/models")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	close(finish)
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "first last" {
		t.Errorf("the call that ran got %q, %v", body, err)
	}
	if err := s.ended(t); err != nil {
		t.Error(err)
	}
	if strings.Contains(s.log.String(), "cut") && strings.Contains(s.log.String(), "did not end") {
		t.Errorf("log:\n%s", s.log)
	}
}

func TestAWrongConfigurationIsSaid(t *testing.T) {
	c, _ := realEnvoy(t, envoy.Settings{})
	c.Bootstrap = []byte(strings.ReplaceAll(string(c.Bootstrap), "idle.wasm", "gone.wasm"))
	err := supervise(t, c).ended(t)
	if err == nil || !strings.Contains(err.Error(), "gone.wasm") {
		t.Error(err)
	}
}

// superviseUntilKilled is the whole life of a process that TestEnvoyEndsWithItsSupervisor kills.
func superviseUntilKilled(binary string) {
	s := envoy.NewSupervisor(envoy.Config{
		Binary: binary, ConfigPath: os.Getenv("FAKE_PARENT_CONFIG") + ".copy", AdminAddr: os.Getenv("FAKE_PARENT_ADMIN"),
		Bootstrap: must(os.ReadFile(os.Getenv("FAKE_PARENT_CONFIG"))),
	})
	go func() {
		<-s.Ready()
		fmt.Fprintln(os.Stdout, "serving")
	}()
	panic(s.Run(context.Background()))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEnvoyEndsWithItsSupervisor(t *testing.T) {
	c, base := realEnvoy(t, envoy.Settings{})
	if err := os.WriteFile(c.ConfigPath, c.Bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(must(os.Executable()))
	parent.Env = append(os.Environ(), "FAKE_PARENT="+c.Binary, "FAKE_PARENT_CONFIG="+c.ConfigPath, "FAKE_PARENT_ADMIN="+c.AdminAddr)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "Envoy is gone", func() bool {
		res, err := http.Get(base)
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
}
