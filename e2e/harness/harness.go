// Package harness runs the shipped binary and a real Envoy against a simulated Groq, for tests and benchmarks.
//
// A [Stack] is all of it together: the simulated Groq that owns the truth, Keywheel as a child process, an Envoy that
// either Keywheel or the test started, and clients. Its parts stand alone as well, so that a test can stop, kill and
// start each of them.
//
// The rules are:
//   - Nothing waits for time to pass: a test waits for a state, with a deadline that only a failure reaches.
//   - The environment of every child is made here. Nothing of the user's own settings or keys is seen by it.
//   - What the children wrote is shown only when a test fails.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Deadline is how long something may take before its test fails. It is long because machines are slow, not because
// anything is expected to take so long.
const Deadline = 60 * time.Second

// pollInterval is how often a state that cannot be subscribed to is looked at.
const pollInterval = 20 * time.Millisecond

// Context ends with the test, or after Deadline.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Deadline)
	t.Cleanup(cancel)
	return ctx
}

// Eventually calls check until it returns nil. At the deadline the test fails with check's last error.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := eventually(t.Context(), check); err != nil {
		t.Fatalf("%s: not within %s: %v", what, Deadline, err)
	}
}

func eventually(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// tempDir makes a directory with a short path, which Unix sockets need, and removes it after the test.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kw") //nolint:usetesting // t.TempDir's path is too long for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// scratch is what lives as long as the test binary: what was built.
var scratch struct {
	sync.Mutex
	dir string
}

func scratchDir() (string, error) {
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir != "" {
		return scratch.dir, nil
	}
	dir, err := os.MkdirTemp("", "kwbuild")
	if err != nil {
		return "", fmt.Errorf("make a directory to build into: %w", err)
	}
	scratch.dir = dir
	return dir, nil
}

// Main runs the tests of a package that uses the harness, and removes what was built for them:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
func Main(m *testing.M) {
	m.Run() // go test takes the exit code from m
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir == "" {
		return
	}
	if err := os.RemoveAll(scratch.dir); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
	}
}

// Root is the repository's top folder, also from a module of its own below it.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if content, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(content, []byte("module keywheel\n")) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod of keywheel's above the test's folder")
		}
		dir = parent
	}
}

// endDeadline is how long a child may take to end at the test's end.
const endDeadline = 20 * time.Second

func waitClosed(done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), endDeadline) // the test's own context is over by then
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
