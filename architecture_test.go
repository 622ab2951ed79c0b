package keywheel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// packages returns what go list says of patterns and everything that they pull in, built for the host or for Envoy.
func packages(t *testing.T, wasm bool, patterns ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Imports"}, patterns...)...)
	if wasm {
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", patterns, err, stderr.Bytes())
	}
	var found []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
}

// within says whether path is one of roots or below it.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// ours returns those of list that are within roots of this module, and fails if a root has none: a rule about nothing
// is a rule that was left behind by a move.
func ours(t *testing.T, list []goPackage, roots ...string) []goPackage {
	t.Helper()
	var found []goPackage
	for _, root := range roots {
		before := len(found)
		for _, p := range list {
			if within(p.ImportPath, "keywheel/"+root) {
				found = append(found, p)
			}
		}
		if len(found) == before {
			t.Errorf("no package in %s: correct the rule", root)
		}
	}
	return found
}

// heavy are packages that cost too much in every Envoy worker. See RATIONALE.md.
var heavy = []string{
	"encoding/json", "encoding/xml", "encoding/gob", "net", "regexp", "text/template", "html", "log/slog", "crypto/tls", "database/sql",
	"google.golang.org", "github.com/envoyproxy", "github.com/golang/protobuf",
}

// TestWhatEnvoyLoadsIsSmall looks at everything that is linked into the Wasm module.
func TestWhatEnvoyLoadsIsSmall(t *testing.T) {
	outside := []string{"github.com/tidwall", "github.com/proxy-wasm/proxy-wasm-go-sdk"}
	for _, p := range packages(t, true, "./shared/...", "./filter/...") {
		if within(p.ImportPath, "github.com/tidwall/pretty") || p.Standard {
			continue // gjson's printer brings encoding/json; that is counted in
		}
		if !within(p.ImportPath, outside...) && !within(p.ImportPath, "keywheel/shared", "keywheel/filter") {
			t.Errorf("%s is linked into the filter", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if within(imported, heavy...) {
				t.Errorf("%s imports %s: too heavy for the filter", p.ImportPath, imported)
			}
		}
	}
}

// small is the standard library that the leaf packages may use.
var small = []string{
	"bytes", "cmp", "crypto/sha256", "encoding", "encoding/base64", "encoding/binary", "encoding/hex", "errors", "fmt", "hash/fnv", "io", "iter",
	"maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "sync", "sync/atomic", "time", "unicode", "unicode/utf16", "unicode/utf8", "unsafe",
}

// TestSharedIsLeaves holds the contract packages to the small standard library, gjson and each other.
func TestSharedIsLeaves(t *testing.T) {
	for _, p := range ours(t, packages(t, false, "./shared/..."), "shared") {
		for _, imported := range p.Imports {
			if !slices.Contains(small, imported) && !within(imported, "keywheel/shared", "github.com/tidwall/gjson") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// TestOnlyTheRimCallsTheHost keeps the filter's other packages pure: bytes and now in, values out.
func TestOnlyTheRimCallsTheHost(t *testing.T) {
	for _, p := range ours(t, packages(t, true, "./filter/..."), "filter") {
		if within(p.ImportPath, "keywheel/filter/plugin", "keywheel/filter/shareddata") || p.ImportPath == "keywheel/filter" {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, "github.com/proxy-wasm") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// TestDependenciesPointOneWay: shared <- filter, shared <- xds; the tests' simulated Groq enters the product only as
// the demo.
func TestDependenciesPointOneWay(t *testing.T) {
	all := packages(t, false, "./xds/...", "./shared/...")
	for _, p := range ours(t, all, "xds", "shared") {
		for _, imported := range p.Imports {
			switch {
			case within(imported, "keywheel/filter"),
				within(p.ImportPath, "keywheel/shared") && within(imported, "keywheel/xds"),
				within(imported, "keywheel/e2e") && (imported != "keywheel/e2e/fakegroq" || !within(p.ImportPath, "keywheel/xds/app", "keywheel/xds/cli")):
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// TestTheAccountKnowsNoEnvoy: nothing that the account's packages pull in speaks gRPC, protobuf or Envoy's types.
func TestTheAccountKnowsNoEnvoy(t *testing.T) {
	for _, root := range []string{"xds/ledger", "xds/threshold", "xds/roster"} {
		t.Run(root, func(t *testing.T) {
			list := packages(t, false, "./"+root+"/...")
			ours(t, list, root)
			for _, p := range list {
				if within(p.ImportPath, "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/envoyproxy") {
					t.Errorf("%s pulls in %s", root, p.ImportPath)
				}
			}
		})
	}
}

// TestOnlyThreePackagesSpeakEnvoy keeps go-control-plane's types behind snapshot, server and envoy.
func TestOnlyThreePackagesSpeakEnvoy(t *testing.T) {
	list := packages(t, false, "./xds/...")
	speakers := ours(t, list, "xds/snapshot", "xds/server", "xds/envoy")
	for _, p := range ours(t, list, "xds") {
		if slices.ContainsFunc(speakers, func(s goPackage) bool { return s.ImportPath == p.ImportPath }) {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, "github.com/envoyproxy/go-control-plane") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}
