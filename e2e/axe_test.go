package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keywheel/e2e/browser"
	"keywheel/e2e/harness"
)

// axeFile is the accessibility checker, which `make node` installs.
func axeFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(harness.Root(t), "build", "node", "node_modules", "axe-core", "axe.min.js")
}

// needAxe skips the test where the checker is not there; with CI=true it fails it.
func needAxe(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(axeFile(t)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("axe-core is not there, run make node: %v", err)
		}
		t.Skipf("axe-core is not there, run make node: %v", err)
	}
}

// finding is something that axe has to say of a page.
type finding struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// assertAccessible has axe examine the page as it is now. What it finds serious, or worse, fails the test; the rest is
// said.
func assertAccessible(t *testing.T, v *browser.View, what string) {
	t.Helper()
	v.Await(`document.getAnimations().every((a) => a.playState !== 'running')`) // colours that change have no contrast of their own
	if !browser.Eval[bool](v, `typeof axe === 'object'`) {
		source, err := os.ReadFile(axeFile(t))
		if err != nil {
			t.Fatal(err)
		}
		browser.Eval[bool](v, string(source)+"; true")
	}
	got := browser.Eval[struct {
		Violations []finding
		Passes     int
	}](v, `axe.run().then((r) => ({violations: r.violations, passes: r.passes.length}))`)
	if got.Passes < 10 {
		t.Errorf("%s: axe has looked at %d things only", what, got.Passes)
	}
	for _, f := range got.Violations {
		var where []string
		for _, n := range f.Nodes {
			where = append(where, n.HTML+"\n  "+n.FailureSummary)
		}
		say := t.Logf
		if f.Impact == "serious" || f.Impact == "critical" {
			say = t.Errorf
		}
		say("%s: %s: %s (%s)\n%s", what, f.Impact, f.Help, f.ID, strings.Join(where, "\n"))
	}
}
