package keywheel_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestChangedFilesAreOfTheSDKsVersion: the module is compiled with files of the SDK that are changed here. With another
// version somebody has to look what has changed in them there; filter/_sdk/README.md says how.
func TestChangedFilesAreOfTheSDKsVersion(t *testing.T) {
	const module = "github.com/proxy-wasm/proxy-wasm-go-sdk"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	version, folder, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if want := strings.TrimSpace(string(read(t, "filter/_sdk/VERSION"))); version != want {
		t.Errorf("go.mod has %s %s, but filter/_sdk is of %s; see filter/_sdk/README.md", module, version, want)
	}
	files, err := filepath.Glob("filter/_sdk/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("filter/_sdk has no files: %v", err)
	}
	for _, f := range files {
		if original := filepath.Join(folder, "proxywasm", "internal", filepath.Base(f)); len(read(t, original)) == 0 {
			t.Errorf("%s is in the place of nothing: there is no %s", f, original)
		}
	}
}
