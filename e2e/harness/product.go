package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Product is what is tested: the binary and the filter.
type Product struct {
	Bin  string // absolute path of keywheel
	Wasm string // absolute path of the filter
}

var built struct {
	once sync.Once
	Product
	err error
}

// Build builds the product, once for all tests of a package. Where KEYWHEEL_BIN and KEYWHEEL_WASM name files that were
// built before, those are used.
func Build(t testing.TB) Product {
	t.Helper()
	root := Root(t)
	built.once.Do(func() { built.Product, built.err = build(root) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.Product
}

func build(root string) (Product, error) {
	p := Product{Bin: fromRoot(root, os.Getenv("KEYWHEEL_BIN")), Wasm: fromRoot(root, os.Getenv("KEYWHEEL_WASM"))}
	if p.Bin == "" {
		path, err := goBuild(root, "keywheel", nil, "./xds")
		if err != nil {
			return p, err
		}
		p.Bin = path
	}
	if p.Wasm == "" {
		path, err := goBuild(root, "keywheel.wasm", []string{"GOOS=wasip1", "GOARCH=wasm"},
			"-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "./filter")
		if err != nil {
			return p, err
		}
		p.Wasm = path
	}
	for _, path := range []string{p.Bin, p.Wasm} {
		if _, err := os.Stat(path); err != nil {
			return p, fmt.Errorf("the product was to be built already: %w", err)
		}
	}
	return p, nil
}

// fromRoot makes a path absolute; the empty one stays empty.
func fromRoot(root, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

func goBuild(root, name string, env []string, args ...string) (string, error) {
	dir, err := scratchDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", out}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return out, nil
}
