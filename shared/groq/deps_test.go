package groq

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Every import is memory in every Envoy worker: the filter carries this package.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{join .Imports \" \"}}", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	allowed := []string{"bytes", "encoding/binary", "math/bits", "strconv", "strings", "time", "unicode/utf8"}
	imports := strings.Fields(string(out))
	if len(imports) == 0 {
		t.Fatal("go list names no imports")
	}
	for _, path := range imports {
		if !slices.Contains(allowed, path) {
			t.Errorf("%s is imported; allowed are %v", path, allowed)
		}
	}
}
