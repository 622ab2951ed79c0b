package docker

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keywheel/e2e/harness"
)

// golangImage is an image to build in, and what `docker build` needs with it.
func (e *engine) golangImage(t testing.TB) (image string, flags []string) {
	t.Helper()
	root := harness.Root(t)
	var places struct{ GOROOT, GOMODCACHE, GOCACHE string }
	out, err := goOutput(root, nil, "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE")
	if err == nil {
		err = json.Unmarshal(out, &places)
	}
	if err != nil {
		t.Fatal(err)
	}
	image, standIn := e.obtain(t, public(t, "Dockerfile", `ARG GOLANG_IMAGE=(\S+)`), "golang", func(r *rootfs) {
		for _, program := range []string{"bash", "make", "mkdir", "cp"} {
			r.program(program, "/bin/"+program)
		}
		r.file("/bin/bash", "/bin/sh")
		r.file(authorities, authorities)
		r.dir("/tmp", 0o1777)
		r.tree(places.GOROOT, "/usr/local/go", func(path string, entry fs.DirEntry) bool {
			top, _, _ := strings.Cut(strings.TrimPrefix(path, places.GOROOT+"/"), "/")
			return slices.Contains([]string{"api", "doc", "misc", "test"}, top) || entry.Name() == "testdata" || strings.HasSuffix(path, "_test.go")
		})
		r.modules(root, filepath.Join(places.GOMODCACHE, "cache", "download"), "/modules")
		r.compiled(root, places.GOCACHE, "/compiled")
	}, "ENV PATH=/usr/local/go/bin:/bin HOME=/root GOTOOLCHAIN=local GOPROXY=file:///modules GOSUMDB=off GOCACHE=/compiled")
	if standIn {
		return image, []string{"--network", "none"} // all is there
	}
	return image, nil
}

// modules copies what the product is built from, as a module proxy has it: the modules, and of those that they only name
// the requirements.
func (r *rootfs) modules(root, cache, to string) {
	listed, err := goOutput(root, nil, "mod", "download", "-json")
	if r.failed(err) {
		return
	}
	for list := json.NewDecoder(bytes.NewReader(listed)); ; {
		var module struct{ Info, GoMod, Zip string }
		if err := list.Decode(&module); errors.Is(err, io.EOF) {
			break
		} else if r.failed(err) {
			return
		}
		for _, path := range []string{module.Info, module.GoMod, module.Zip} {
			r.file(path, to+strings.TrimPrefix(path, cache))
		}
	}
	graph, err := goOutput(root, nil, "mod", "graph")
	r.failed(err)
	for module := range strings.FieldsSeq(string(graph)) {
		path, version, _ := strings.Cut(module, "@")
		path = "/" + upper.ReplaceAllStringFunc(path, func(c string) string { return "!" + strings.ToLower(c) }) + "/@v/" + version + ".mod"
		if _, err := os.Stat(cache + path); err == nil { // ourselves and Go have none
			r.file(cache+path, to+path)
		}
	}
}

// compiled copies what `make build` has compiled already, from the cache of this machine's Go into one of the image's. If Go
// takes none of it, it compiles all again; that takes a minute more, and nothing else.
func (r *rootfs) compiled(root, cache, to string) {
	for _, target := range [][]string{
		{"GOOS=wasip1", "GOARCH=wasm", "-buildmode=c-shared", "./filter"}, {"GOFLAGS=-tags=embedwasm", "CGO_ENABLED=0", "-buildmode=exe", "./xds"},
	} {
		packages, err := goOutput(root, target[:2], "list", "-buildvcs=false", "-trimpath", target[2], "-deps", "-export", "-f", "{{.BuildID}} {{.Export}}", target[3])
		if r.failed(err) {
			return
		}
		for line := range strings.Lines(string(packages)) {
			id, archive, _ := strings.Cut(strings.TrimSpace(line), " ")
			action, _, _ := strings.Cut(id, "/")
			hash, err := base64.RawURLEncoding.DecodeString(action) // of what it was compiled from: the beginning of the entry's name
			if err != nil || len(hash) == 0 || !strings.HasPrefix(archive, cache) {
				continue // unsafe and the like, which are not compiled
			}
			name := hex.EncodeToString(hash)
			entries, err := filepath.Glob(filepath.Join(cache, name[:2], name+"*-a"))
			if r.failed(err) {
				return
			}
			for _, path := range append(entries, archive) {
				r.file(path, to+strings.TrimPrefix(path, cache))
			}
		}
	}
}

// upper are the letters that file names of modules do not have.
var upper = regexp.MustCompile(`[A-Z]`)

// goOutput is what a go command prints.
func goOutput(dir string, env []string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		err = fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, ended.Stderr)
	}
	return out, err
}
