package envoy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keywheel/xds/envoy"
	"keywheel/xds/envoy/envoytest"
	"keywheel/xds/logging/loggingtest"
)

// TestMain lets the test binary play Envoy and the process that starts it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FAKE_ENVOY"); dir != "" {
		fakeEnvoy(dir, os.Getenv("FAKE_ADMIN"))
	}
	if binary := os.Getenv("FAKE_PARENT"); binary != "" {
		superviseUntilKilled(binary)
	}
	m.Run()
}

// fakeEnvoy does what a Supervisor sees of Envoy. Files in dir steer it and tell what it saw.
func fakeEnvoy(dir, admin string) {
	file := func(name string) string { return filepath.Join(dir, name) }
	note := func(name, content string) {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			panic(err)
		}
	}
	exists := func(name string) bool { _, err := os.Stat(file(name)); return err == nil }
	note("environ", strings.Join(os.Environ(), "\n"))
	note("args", strings.Join(os.Args[1:], " "))
	if exists("fail") {
		fmt.Fprintln(os.Stderr, "[t][critical][main] error initializing configuration: no such thing")
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /healthcheck/fail", func(http.ResponseWriter, *http.Request) { note("unhealthy", "") })
	http.HandleFunc("POST /drain_listeners", func(http.ResponseWriter, *http.Request) { note("drained", "") })
	http.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		active := 0
		if exists("active") {
			active = 2
		}
		fmt.Fprintf(w, "http.admin.downstream_rq_active: 1\nhttp.keywheel.downstream_rq_active: %d\n", active)
		note("counted", "")
	})
	go func() { panic(http.ListenAndServe(admin, nil)) }()
	note("pid", fmt.Sprint(os.Getpid()))
	for range term {
		note("terminated", "")
		if !exists("stubborn") {
			os.Exit(0)
		}
	}
}

// supervised is a Supervisor under test, and what it runs in.
type supervised struct {
	*envoy.Supervisor
	dir  string
	log  *loggingtest.Buffer
	stop context.CancelFunc
	done chan error
}

// quick is a configuration whose waits are short.
func quick(t *testing.T) envoy.Config {
	return envoy.Config{
		ConfigPath: filepath.Join(t.TempDir(), "envoy.json"), AdminAddr: envoytest.FreePort(t), Bootstrap: []byte("{}"),
		RestartMin: time.Millisecond, RestartMax: 10 * time.Millisecond, Quiet: time.Millisecond,
	}
}

// supervise runs c, with the pretended Envoy if it names none, until the test ends.
func supervise(t *testing.T, c envoy.Config, steer ...string) *supervised {
	t.Helper()
	s := &supervised{dir: t.TempDir(), log: &loggingtest.Buffer{}, done: make(chan error, 1)}
	for _, name := range steer {
		s.set(t, name)
	}
	if c.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c.Binary = filepath.Join(s.dir, "envoy")
		script := fmt.Sprintf("#!/bin/sh\nFAKE_ENVOY='%s' FAKE_ADMIN='%s' exec '%s' \"$@\"\n", s.dir, c.AdminAddr, self)
		if err := os.WriteFile(c.Binary, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Supervisor = envoy.NewSupervisor(c)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		s.done <- s.Run(ctx)
		close(s.done)
	}()
	t.Cleanup(func() {
		cancel()
		s.Hurry()
		s.Hurry()
		_ = s.ended(t)
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

func (s *supervised) set(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *supervised) remove(name string) { _ = os.Remove(filepath.Join(s.dir, name)) }

func (s *supervised) saw(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

func (s *supervised) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// serve waits until Envoy serves for the first time.
func (s *supervised) serve(t *testing.T) {
	t.Helper()
	select {
	case <-s.Ready():
	case err := <-s.done:
		t.Fatalf("ended before it served: %v\n%s", err, s.log)
	case <-time.After(time.Minute):
		t.Fatalf("does not serve\n%s", s.log)
	}
}

// ended waits until Run returns.
func (s *supervised) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("does not end\n%s", s.log)
		return nil
	}
}

// eventually waits until is holds.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}
