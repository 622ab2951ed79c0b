package docker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/harness"
)

// maxImage is how large the image may be, in bytes.
const maxImage = 60_000_000

// The image is small, says what it is, and names a user that is not root.
func TestImage(t *testing.T) {
	e := needEngine(t)
	var image struct {
		Size   int64
		Config struct {
			User       string
			Labels     map[string]string
			Entrypoint []string
			Volumes    map[string]struct{}
		}
	}
	ref := e.keywheelImage(t)
	described := e.docker(t, "image", "inspect", "--format", "{{json .}}", ref)
	if err := json.Unmarshal([]byte(described), &image); err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %d bytes", image.Size)
	if image.Size > maxImage {
		t.Errorf("the image has %d bytes, more than %d", image.Size, maxImage)
	}
	if image.Config.User != "65532:65532" {
		t.Errorf("it runs as %q", image.Config.User)
	}
	labels := map[string]string{}
	for name, value := range image.Config.Labels {
		labels[strings.TrimPrefix(name, "org.opencontainers.image.")] = value
	}
	for _, name := range []string{"description", "revision"} {
		if labels[name] == "" {
			t.Errorf("it has no label %s", name)
		}
		delete(labels, name)
	}
	want := map[string]string{"title": "Keywheel", "licenses": "Apache-2.0", "version": "0.0.0-e2e", "source": ""}
	if diff := cmp.Diff(want, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// It runs with a read-only root, without capabilities, as another than root, and is ready at once.
func TestImageRunsConfined(t *testing.T) {
	e := needEngine(t)
	image := e.keywheelImage(t)
	container := e.docker(t, "run", "--detach", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--user", "nonroot", "--env", "GROQ_API_KEY_1="+harness.Keys(1, 0)[0].Secret, image)
	t.Cleanup(func() { e.remove(t, container) })
	harness.Eventually(t, "the container is healthy", func() error {
		_, err := e.run(t.Context(), "", nil, "docker", "exec", container, "keywheel", "health")
		return err
	})
	started, err := time.Parse(time.RFC3339Nano, e.docker(t, "inspect", "--format", "{{.State.StartedAt}}", container))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(e.docker(t, "logs", "--timestamps", container)) {
		at, said, _ := strings.Cut(line, " ")
		if ready, err := time.Parse(time.RFC3339Nano, at); err == nil && strings.HasPrefix(said, "Keywheel 0.0.0-e2e") {
			t.Logf("it serves %s after its start", ready.Sub(started).Round(time.Millisecond))
		}
	}
	if out := e.docker(t, "exec", container, "keywheel", "status"); !strings.Contains(out, "Groq (1 key)") {
		t.Errorf("keywheel status in the container:\n%s", out)
	}
	harness.Eventually(t, "Docker says that it is healthy", func() error {
		return wantState(e.docker(t, "inspect", "--format", "{{.State.Health.Status}}", container), "healthy")
	})
	e.docker(t, "stop", container)
	if code := e.docker(t, "inspect", "--format", "{{.State.ExitCode}}", container); code != "0" {
		t.Errorf("stopped, it ends with exit code %s", code)
	}
}
