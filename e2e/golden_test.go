package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateGolden = flag.Bool("update", false, "write the golden files of testdata anew; then read them")

// assertGolden compares a text with a file of testdata.
func assertGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// madeUp are names for what differs from run to run and from machine to machine.
var madeUp = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "INCARNATION"},
	{regexp.MustCompile(`\bnode=\S+`), "node=HOST"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`Avg Response Time \d+ms`), "Avg Response Time AVERAGE"},
}

var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ `)

// logLines are the lines of a child's output that its logger wrote.
func logLines(output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		if !logLine.MatchString(line) {
			continue
		}
		for _, m := range madeUp {
			line = m.what.ReplaceAllString(line, m.name)
		}
		b.WriteString(line)
	}
	return b.String()
}
