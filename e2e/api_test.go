package e2e

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/harness"
	"keywheel/e2e/sinks"
)

// The admin API describes itself by a valid document and is as that says: a property-based tester that reads it, and has
// the admin token, gets no 500 and no answer that the document does not have. Afterwards Keywheel still serves.
func TestTheAPIIsAsItsDocumentSays(t *testing.T) {
	t.Parallel()
	python := needPython(t, "schemathesis", "openapi_spec_validator")
	hook := sinks.StartWebhook(t, webhookSecret)
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(3, 600), Args: []string{"--now", "2025-11-18T08:00:00Z"},
		Settings: map[string]string{
			"KEYWHEEL_MASTER_KEY": rand.Text() + rand.Text(), "KEYWHEEL_WEBHOOK_URL": hook.URL + "/hook", "KEYWHEEL_WEBHOOK_SECRET": webhookSecret,
		},
	})
	for range 20 {
		s.H1.Do(t, harness.Call{}) // so that there is something to tell
	}
	document := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(document, []byte(s.Keywheel.Page(t, "/api/openapi.json")), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(harness.Context(t), python, "-m", "openapi_spec_validator", document).CombinedOutput(); err != nil {
		t.Errorf("the document is not valid: %v\n%s", err, said)
	}

	said, err := schemathesis(t, s, python)
	harness.AssertNoSecret(t, append(s.Secrets(), s.Keywheel.Token(t)), harness.Blob{Name: "the tester's output", Data: said},
		harness.Blob{Name: "the log", Data: s.Keywheel.Log()}, harness.Blob{Name: "the audit", Data: s.Keywheel.Page(t, "/api/v1/audit?limit=1000")})
	if t.Failed() {
		return
	}
	if _, summary, ok := strings.Cut(said, " SUMMARY ="); ok && err == nil {
		said = summary
	}
	t.Log(said)
	if err != nil {
		t.Errorf("the API is not as its document says: %v", err)
	}
	var ready struct{ Ready bool }
	if s.Keywheel.API(t, "/readyz", &ready); !ready.Ready || strings.Contains(s.Keywheel.Log(), "panic") {
		t.Errorf("Keywheel is ready: %v; its log:\n%s", ready.Ready, s.Keywheel.Log())
	}
}

// schemathesis tests the API and returns what it says: above all its seed, by which the same can be tried again.
func schemathesis(t *testing.T, s *harness.Stack, python string) (string, error) {
	t.Helper()
	seed := os.Getenv("SCHEMATHESIS_SEED")
	if seed == "" {
		random := make([]byte, 4)
		_, _ = rand.Read(random) // never fails, by its documentation
		seed = strconv.FormatUint(uint64(binary.BigEndian.Uint32(random)), 10)
	}
	config, err := filepath.Abs(filepath.Join("testdata", "schemathesis.toml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // it takes one
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-m", "schemathesis.cli", "--config-file", config, "--no-color",
		"run", "--seed", seed, "http://"+s.Keywheel.Admin+"/api/openapi.json")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "PYTHONUTF8=1", "KEYWHEEL_ADMIN_TOKEN=" + s.Keywheel.Token(t)}
	said, err := cmd.CombinedOutput()
	return string(said), err
}
