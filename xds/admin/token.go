package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"keywheel/shared/secret"
)

// TokenFile is the name of the file, beside the store, that keeps the token made once.
const TokenFile = "keywheel.token"

const (
	tokenBytes     = 32 // of randomness
	minTokenLength = 16 // of a token that someone wrote into the file by hand
)

// LoadOrCreateToken returns the token in the file at path, making both if there is no file. The file's folder must exist.
// A file that others could read is made private first. The caller holds the store's lock, so that no other process
// makes a token at the same moment.
func LoadOrCreateToken(path string) (secret.Key, error) {
	token, err := LoadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // never fails, by its documentation
	text := base64.RawURLEncoding.EncodeToString(random)
	if err := writeToken(path, text); err != nil {
		return secret.Key{}, fmt.Errorf("making the admin token: %w; set KEYWHEEL_ADMIN_TOKEN to do without the file", err)
	}
	return secret.New(text), nil
}

// LoadToken returns the token in the file at path. Without a file the error is fs.ErrNotExist.
func LoadToken(path string) (secret.Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Key{}, fmt.Errorf("reading the admin token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return secret.Key{}, fmt.Errorf("others can read the admin token: %w; run chmod 600 on it", err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return secret.Key{}, fmt.Errorf("reading the admin token: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if len(text) < minTokenLength || strings.ContainsAny(text, " \t\r\n") {
		return secret.Key{}, fmt.Errorf("%s holds no token: want a line of %d characters or more; delete it for a new one to be made",
			path, minTokenLength)
	}
	return secret.New(text), nil
}

// writeToken writes a new file, whole or not at all.
func writeToken(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
