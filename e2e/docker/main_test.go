// Package docker runs the image and examples/docker-compose, as they are delivered, on a real Docker engine: `make
// e2e-docker`.
//
// The rules are:
//   - The engine is the machine's own. Where there is none, root starts one for the time of the tests, which leaves the
//     machine's firewall, bridges and images alone.
//   - Images are the public ones. Where they cannot be had, stand-ins take their place: the pinned Envoy, this machine's Go
//     and a mailbox of the tests' own, each on a file system of the few files that it needs.
//   - The simulated Groq runs in the test, and is reached through the containers' network as a Groq elsewhere would be.
package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/browser"
	"keywheel/e2e/harness"
)

// asked is set by `make e2e-docker`: these tests take minutes, and change what an engine has.
const asked = "KEYWHEEL_E2E_DOCKER"

func TestMain(m *testing.M) {
	defer stopEngine()
	defer browser.Stop()
	harness.Main(m)
}

// patience is how long one command of Docker's may take: the longest builds an image.
const patience = 15 * time.Minute

// lacking ends a test for which something is missing: it skips, but with CI=true it fails.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// run runs a command to its end, with the engine's address in its environment, and returns all that it wrote.
func (e *engine) run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), e.env...), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// docker runs a command of Docker's that has to succeed, and returns what it wrote, without blanks around it.
func (e *engine) docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.run(t.Context(), "", nil, "docker", args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(out)
}
