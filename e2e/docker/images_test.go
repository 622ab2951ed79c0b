package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/harness"
)

// made are the images that the tests made, which are taken away in the end.
var made []string

// tagged is the name of an image that the tests make.
func tagged(name string) string {
	ref := "keywheel-e2e-" + name
	if !slices.Contains(made, ref) {
		made = append(made, ref)
	}
	return ref
}

// public is the image that a file of the repository names for a variable, as pattern finds it.
func public(t testing.TB, file, pattern string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern).FindSubmatch(content)
	if match == nil {
		t.Fatalf("%s names no image: %s", file, pattern)
	}
	return string(match[1])
}

// exampleImage is the image that the example names for a variable.
func exampleImage(t testing.TB, variable string) string {
	t.Helper()
	return public(t, "examples/docker-compose/compose.yaml", `\$\{`+variable+`:-([^}]+)\}`)
}

// obtained are the images that were looked for already, by the public one's name.
var obtained = map[string]string{}

// obtain returns an image: the public one if it is there or can be pulled, else a stand-in that fill makes.
func (e *engine) obtain(t testing.TB, ref, name string, fill func(*rootfs), changes ...string) (image string, standIn bool) {
	t.Helper()
	if image := obtained[ref]; image != "" {
		return image, image != ref
	}
	defer func() { obtained[ref] = image }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := e.run(ctx, "", nil, "docker", "image", "inspect", ref); err == nil {
		return ref, false
	}
	out, err := e.run(ctx, "", nil, "docker", "pull", "--quiet", ref)
	if err == nil {
		return ref, false
	}
	begun := time.Now()
	image = tagged(name)
	e.importImage(t, image, fill, changes...)
	t.Logf("%s cannot be pulled (%s): a stand-in of %s MB, made in %s", ref, lastLine(out),
		megabytes(e.docker(t, "image", "inspect", "--format", "{{.Size}}", image)), since(begun))
	return image, true
}

// importImage makes an image of one layer.
func (e *engine) importImage(t testing.TB, image string, fill func(*rootfs), changes ...string) {
	t.Helper()
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	cmd := exec.CommandContext(t.Context(), "docker", append(args, "-", image)...)
	cmd.Env = append(os.Environ(), e.env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	in, out := io.Pipe()
	cmd.Stdin = in
	go func() {
		files := newRootfs(out)
		fill(files)
		_ = out.CloseWithError(files.close())
	}()
	if err := cmd.Run(); err != nil {
		t.Fatalf("making %s: %v\n%s", image, err, &said)
	}
}

// authorities is this machine's bundle of certificate authorities; images have theirs in the same place.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// envoyImage is an image with Envoy and, for its health check, bash.
func (e *engine) envoyImage(t testing.TB) string {
	t.Helper()
	image, _ := e.obtain(t, exampleImage(t, "ENVOY_IMAGE"), "envoy", func(r *rootfs) {
		r.program(harness.EnvoyBinary(t), "/usr/local/bin/envoy")
		r.program("bash", "/bin/bash")
		r.file(authorities, authorities)
		r.dir("/tmp", 0o1777)
	}, `ENTRYPOINT ["/usr/local/bin/envoy"]`)
	return image
}

// mailImage is an image with a mailbox that speaks as Mailpit does.
func (e *engine) mailImage(t testing.TB) string {
	t.Helper()
	image, _ := e.obtain(t, exampleImage(t, "MAIL_IMAGE"), "mail", func(r *rootfs) {
		program := filepath.Join(t.TempDir(), "mailsink")
		build := exec.Command("go", "build", "-o", program, "./e2e/docker/mailsink")
		build.Dir, build.Env = harness.Root(t), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			r.failed(fmt.Errorf("%w: %s", err, out))
			return
		}
		r.file(program, "/mailpit")
		r.dir("/tmp", 0o1777)
	}, `ENTRYPOINT ["/mailpit"]`)
	return image
}

var built struct {
	sync.Once
	image, out string
	err        error
}

// keywheelImage is the image that `make images` builds, or the one that KEYWHEEL_E2E_IMAGE names, which was built before.
func (e *engine) keywheelImage(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.image = os.Getenv("KEYWHEEL_E2E_IMAGE"); built.image != "" {
			return
		}
		golang, flags := e.golangImage(t)
		begun := time.Now()
		built.image = tagged("keywheel")
		built.out, built.err = e.run(context.Background(), harness.Root(t), nil, "make", "images", "IMAGE="+built.image, "VERSION=0.0.0-e2e",
			"DOCKER_BUILD_FLAGS="+strings.Join(append(flags, "--build-arg", "GOLANG_IMAGE="+golang), " "))
		t.Logf("`make images` took %s", since(begun))
	})
	if built.err != nil {
		t.Fatalf("%v\n%s", built.err, built.out)
	}
	return built.image
}

func since(begun time.Time) time.Duration { return time.Since(begun).Round(10 * time.Millisecond) }

func megabytes(bytes string) string {
	return bytes[:max(0, len(bytes)-6)]
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
