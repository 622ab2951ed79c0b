package envoycheck_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keywheel/xds/envoy"
	"keywheel/xds/envoy/envoytest"
)

// TestEnvoyItselfTakesTheseFiles has a real Envoy look at each good file and each mistake: only what is said to be refused may be.
func TestEnvoyItselfTakesTheseFiles(t *testing.T) {
	binary, module := envoytest.Binary(t), envoytest.IdleModule(t)
	bundle, err := envoy.FindCABundle(os.Getenv, nil)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/var/lib/keywheel/other.wasm", module, "/var/lib/keywheel/keywheel.wasm", module, "/etc/ssl/certs/ca-certificates.crt", bundle)
	validate := func(t *testing.T, text string) (said string, err error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(path, []byte(here.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
		return string(out), err
	}
	files := good(t)
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if said, err := validate(t, text); err != nil {
				t.Errorf("%v:\n%s", err, said)
			}
		})
	}
	for _, m := range mistakes {
		t.Run(m.name(), func(t *testing.T) {
			t.Parallel()
			said, err := validate(t, m.plant(t, files))
			if refused := err != nil; refused != m.refused {
				t.Errorf("refused: %v, want %v:\n%s", refused, m.refused, said)
			}
		})
	}
}
