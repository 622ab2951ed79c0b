//go:build !wasip1

package secret_test

import (
	"crypto/sha256"
	"testing"

	"keywheel/shared/secret"
)

func TestHash(t *testing.T) {
	k := secret.New(canary)
	if k.Hash() != sha256.Sum256([]byte(canary)) || k.Hash() == secret.New("gsk_other").Hash() {
		t.Error("Hash is not the secret's SHA-256")
	}
	if (secret.Key{}).Hash() != sha256.Sum256(nil) {
		t.Error("an empty Key has no hash")
	}
}
