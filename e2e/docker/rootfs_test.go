package docker

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// rootfs writes the files of an image, each once, as files of root.
type rootfs struct {
	tar  *tar.Writer
	has  map[string]bool
	errs []error
}

func newRootfs(w io.Writer) *rootfs { return &rootfs{tar: tar.NewWriter(w), has: map[string]bool{}} }

// close ends the image and says what went wrong before.
func (r *rootfs) close() error { return errors.Join(append(r.errs, r.tar.Close())...) }

func (r *rootfs) failed(err error) bool {
	if err != nil {
		r.errs = append(r.errs, err)
	}
	return err != nil
}

// dir makes an empty directory.
func (r *rootfs) dir(path string, mode int64) {
	r.failed(r.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.Trim(path, "/") + "/", Mode: mode}))
}

// file copies one file of this machine to a path in the image. Links are followed.
func (r *rootfs) file(from, to string) {
	to = strings.TrimPrefix(to, "/")
	if r.has[to] {
		return
	}
	r.has[to] = true
	f, err := os.Open(from)
	if r.failed(err) {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if r.failed(err) {
		return
	}
	mode := int64(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	header := tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: mode, Size: info.Size(), ModTime: info.ModTime()} // Go drops what is old from its cache
	if r.failed(r.tar.WriteHeader(&header)) {
		return
	}
	_, err = io.Copy(r.tar, f)
	r.failed(err)
}

// tree copies a folder, but what skip names.
func (r *rootfs) tree(from, to string, skip func(path string, entry fs.DirEntry) bool) {
	r.failed(filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case skip(path, entry) && entry.IsDir():
			return filepath.SkipDir
		case entry.IsDir() || skip(path, entry):
			return nil
		}
		r.file(path, filepath.Join(to, strings.TrimPrefix(path, from)))
		return nil
	}))
}

// library finds the paths in what ldd prints.
var library = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// program copies a program of this machine, found on the PATH unless it is a path, and the libraries that it needs.
func (r *rootfs) program(name, to string) {
	path, err := exec.LookPath(name)
	if r.failed(err) {
		return
	}
	r.file(path, to)
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		r.failed(fmt.Errorf("ldd %s: %w: %s", path, err, out))
		return
	}
	for _, match := range library.FindAllStringSubmatch(string(out), -1) {
		r.file(match[1], match[1])
	}
}
