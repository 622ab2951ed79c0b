package admin_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/xds/admin"
)

func TestTokenIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), admin.TokenFile)
	if _, err := admin.LoadToken(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	made, err := admin.LoadOrCreateToken(path)
	if err != nil {
		t.Fatal(err)
	}
	random, err := base64.RawURLEncoding.DecodeString(made.Reveal())
	if err != nil || len(random) != 32 {
		t.Errorf("got %d random bytes, %v", len(random), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := admin.LoadOrCreateToken(path)
	if err != nil || again.Reveal() != made.Reveal() {
		t.Errorf("the second time another token: %v", err)
	}
	read, err := admin.LoadToken(path)
	if err != nil || read.Reveal() != made.Reveal() {
		t.Errorf("read another token: %v", err)
	}
}

func TestTokenFileBecomesPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), admin.TokenFile)
	if err := os.WriteFile(path, []byte("  a-token-by-hand-0123\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	token, err := admin.LoadOrCreateToken(path)
	if err != nil || token.Reveal() != "a-token-by-hand-0123" {
		t.Fatalf("got %q, %v", token.Reveal(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTokenFileThatHoldsNone(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "short": "0123456789", "blanks": "a token with blanks in it"} {
		path := filepath.Join(t.TempDir(), admin.TokenFile)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := admin.LoadOrCreateToken(path)
		if err == nil || !strings.Contains(err.Error(), path) || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenWithoutAPlace(t *testing.T) {
	_, err := admin.LoadOrCreateToken(filepath.Join(t.TempDir(), "nowhere", admin.TokenFile))
	if err == nil || !strings.Contains(err.Error(), "KEYWHEEL_ADMIN_TOKEN") {
		t.Errorf("got %v", err)
	}
}
