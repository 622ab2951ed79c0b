// Package e2e tests the shipped binary and filter with a real Envoy against a simulated Groq, one file per story.
//
// Each test says what it checks. None depends on how long something takes: they wait for states, with deadlines.
package e2e

import (
	"testing"

	"keywheel/e2e/browser"
	"keywheel/e2e/harness"
)

func TestMain(m *testing.M) {
	defer browser.Stop()
	harness.Main(m)
}
