package app_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/xds/app"
	"keywheel/xds/config"
)

// configured are the options of `keywheel envoy-config` with these settings beside an upstream that needs no authorities.
func configured(t *testing.T, settings ...string) app.Options {
	t.Helper()
	cfg, _, err := config.Load(config.Options{
		Environ: append(settings, "KEYWHEEL_UPSTREAM_URL=http://127.0.0.1:1"), StateHome: t.TempDir(), WorkDir: t.TempDir(), KeysOptional: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return app.Options{Config: cfg, Stdout: io.Discard, Stderr: io.Discard}
}

// What is written to a file is what would be printed, and takes the place of what was there.
func TestEnvoyConfigIsWrittenToAFile(t *testing.T) {
	module := filepath.Join(t.TempDir(), "keywheel.wasm")
	if err := os.WriteFile(module, []byte("a module"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := configured(t, "KEYWHEEL_WASM="+module, "KEYWHEEL_XDS_ADDR=unix:/run/keywheel/xds.sock")
	var printed bytes.Buffer
	o.Stdout = &printed
	if err := app.EnvoyConfig(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(printed.String(), module) || !strings.Contains(printed.String(), "/run/keywheel/xds.sock") {
		t.Errorf("the settings are not in it:\n%s", &printed)
	}
	o.Stdout, o.EnvoyConfigOutput = io.Discard, filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(o.EnvoyConfigOutput, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := app.EnvoyConfig(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(o.EnvoyConfigOutput)
	if err != nil || !bytes.Equal(written, printed.Bytes()) {
		t.Errorf("the file differs from what is printed (%v):\n%s", err, written)
	}
	if info, err := os.Stat(o.EnvoyConfigOutput); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("an Envoy of another user cannot read it: %v, %v", info, err)
	}
	o.EnvoyConfigOutput = filepath.Join(t.TempDir(), "nowhere", "envoy.json")
	if err := app.EnvoyConfig(context.Background(), o); err == nil || !strings.Contains(err.Error(), "--output") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// A directory is for the module in the binary; this test's has none, and says so.
func TestModuleOfTheBinaryGoesIntoADirectory(t *testing.T) {
	for settings, want := range map[string]string{
		"KEYWHEEL_WASM=" + t.TempDir():                                "built without the filter's module",
		"KEYWHEEL_WASM=" + filepath.Join(t.TempDir(), "no", "module"): "KEYWHEEL_WASM: there is no ",
	} {
		if err := app.EnvoyConfig(context.Background(), configured(t, settings)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", settings, err, want)
		}
	}
}
