package docker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/e2e/harness"
)

// Who copies .env.example and puts no key in is told so at once, by name, and nothing is left running that would serve.
func TestNewcomerWithoutAKey(t *testing.T) {
	e := needEngine(t)
	example, err := os.ReadFile(filepath.Join(harness.Root(t), "examples", "docker-compose", ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	p := newProject(t, e, map[string]string{".env": string(example) + "\n" + dotenv(map[string]string{
		"CONTROL_PLANE_IMAGE": e.keywheelImage(t), "ENVOY_IMAGE": e.envoyImage(t), "MAIL_IMAGE": e.mailImage(t),
		"ENVOY_PORT": port(harness.FreeAddr(t)), "ADMIN_PORT": port(harness.FreeAddr(t)), "MAIL_PORT": port(harness.FreeAddr(t)),
	})})
	out, err := p.try(t.Context(), "up")
	if err == nil {
		t.Errorf("`up` has nothing against it:\n%s", out)
	}
	for _, want := range []string{"no Groq key is set", "set but empty: GROQ_API_KEY_1", `service "check" didn't complete successfully: exit 2`} {
		if !strings.Contains(out, want) {
			t.Errorf("`up` does not say %q:\n%s", want, out)
		}
	}
	for _, service := range []string{"envoy-config", "keywheel", "envoy"} {
		if state := e.docker(t, "inspect", "--format", "{{.State.Status}}", p.container(t, service)); state != "created" {
			t.Errorf("%s is %s", service, state)
		}
	}
}
