// Package monitoring_test runs the tests of this example, which are a module of their own.
package monitoring_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestExample reads rules and dashboard by Prometheus's and Grafana's own code, tries the alerts, and looks for every
// metric in what the control plane exposes.
func TestExample(t *testing.T) {
	for _, files := range []string{"*", "../../tools/monitoring/*", "../docker-compose/prometheus.yml", "../../xds/metrics/testdata/metrics.txt"} {
		names, err := filepath.Glob(files)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", files, err)
		}
		for _, name := range names { // so that go test knows what it depends on, and runs it anew when that changes
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	test := exec.Command("go", "test", "-count=1", "./...") // what that reads lies outside of its module: nothing may be cached
	test.Dir = "../../tools/monitoring"
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
