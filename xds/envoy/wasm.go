package envoy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteWasm writes the filter's module into dir, which it makes if need be, and returns the file's absolute path. The
// name holds the content's hash, so that a new version never replaces one under a running Envoy. Envoy may run as
// another user, so everybody may read the file; it holds no secret.
func WriteWasm(dir string, module []byte) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(module)
	path := filepath.Join(dir, "keywheel-"+hex.EncodeToString(sum[:6])+".wasm")
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, module) {
		return path, nil
	}
	return path, putWasm(path, module)
}

// WriteWasmFile writes the filter's module to path, where there must be no other one: a running Envoy may use it. As with
// WriteWasm everybody may read it.
func WriteWasmFile(path string, module []byte) error {
	there, err := os.ReadFile(path)
	switch {
	case err == nil && len(module) > 0 && bytes.Equal(there, module):
		return nil
	case err == nil:
		return fmt.Errorf("%s is another module, which an Envoy may be using: give this one a name of its own", path)
	}
	return putWasm(path, module)
}

// putWasm makes path hold the module.
func putWasm(path string, module []byte) error {
	if len(module) == 0 {
		return errors.New("this binary carries no Wasm module; build it by `make build`, or name a module by KEYWHEEL_WASM")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // see WriteWasm
		return fmt.Errorf("the directory for the Wasm module: %w", err)
	}
	if err := WriteFile(path, module, 0o644); err != nil {
		return fmt.Errorf("writing the Wasm module: %w", err)
	}
	return nil
}

// WriteFile makes path hold content, whole or not at all. Who reads it never sees a part.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
