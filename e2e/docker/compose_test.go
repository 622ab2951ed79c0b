package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/e2e/harness"
)

// remove takes a container away, with its volumes, whatever its state, and shows its log if the test failed.
func (e *engine) remove(t testing.TB, container string) {
	if t.Failed() {
		out, _ := e.run(context.Background(), "", nil, "docker", "logs", container)
		t.Logf("--- the container wrote ---\n%s", out)
	}
	if out, err := e.run(context.Background(), "", nil, "docker", "rm", "--force", "--volumes", container); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// wantState is an error while something is in another state than wanted.
func wantState(is, want string) error {
	if is != want {
		return fmt.Errorf("it is %q, not %q", is, want)
	}
	return nil
}

// project is the example's compose file, started from a folder of the test's own: what a user puts beside it is there.
type project struct {
	*engine
	dir     string
	name    string
	command []string // of Docker Compose, with what it always takes
}

// newProject puts .env and what else the user writes into a folder. Files beside compose.yaml are taken in by name.
func newProject(t testing.TB, e *engine, files map[string]string, use ...string) *project {
	t.Helper()
	p := &project{engine: e, dir: t.TempDir(), command: []string{"docker", "compose"}}
	if standalone := os.Getenv("KEYWHEEL_COMPOSE"); standalone != "" {
		p.command = []string{standalone}
	} else if out, err := e.run(t.Context(), "", nil, "docker", "compose", "version"); err != nil {
		lacking(t, "no Docker Compose: %s", out)
	}
	example := filepath.Join(harness.Root(t), "examples", "docker-compose")
	p.name = strings.ToLower("kw" + filepath.Base(filepath.Dir(p.dir)))
	p.command = append(p.command, "--ansi", "never", "--progress", "plain", "--project-name", p.name, "--project-directory", p.dir,
		"--file", filepath.Join(example, "compose.yaml"))
	for _, file := range use {
		p.command = append(p.command, "--file", filepath.Join(example, file))
	}
	for path, content := range files {
		path = filepath.Join(p.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { // the containers' user reads secrets and the authority
			t.Fatal(err)
		}
	}
	if _, has := files["override.yaml"]; has {
		p.command = append(p.command, "--file", filepath.Join(p.dir, "override.yaml"))
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.try(context.Background(), "logs", "--no-color", "--timestamps")
			t.Logf("--- the containers wrote ---\n%s", out)
		}
		if out, err := p.try(context.Background(), "--profile", "*", "down", "--volumes", "--timeout", "10"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return p
}

// try runs a command of Docker Compose.
func (p *project) try(ctx context.Context, args ...string) (string, error) {
	return p.run(ctx, p.dir, nil, p.command[0], append(p.command[1:len(p.command):len(p.command)], args...)...)
}

// compose runs a command of Docker Compose that has to succeed.
func (p *project) compose(t testing.TB, args ...string) string {
	t.Helper()
	out, err := p.try(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// container is the ID of a service's container, also of one that has ended.
func (p *project) container(t testing.TB, service string) string {
	t.Helper()
	return strings.TrimSpace(p.compose(t, "ps", "--all", "--quiet", service))
}

// dotenv writes settings as a .env file.
func dotenv(settings map[string]string) string {
	var lines strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&lines, "%s=%q\n", name, value)
	}
	return lines.String()
}
