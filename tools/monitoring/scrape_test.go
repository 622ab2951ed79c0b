package monitoring

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestScrape: what Prometheus is told to read is there, and the job is called as the rules have it.
func TestScrape(t *testing.T) {
	for file, target := range map[string]string{
		filepath.Join(example, "prometheus.yml"):                         "127.0.0.1:8080",
		filepath.Join(example, "..", "docker-compose", "prometheus.yml"): "keywheel:8080",
	} {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) { testScrape(t, file, target) })
	}
}

func testScrape(t *testing.T, file, target string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type job struct {
		Name   string `yaml:"job_name"`
		Static []struct {
			Targets []string `yaml:"targets"`
		} `yaml:"static_configs"`
	}
	var config struct {
		Global    map[string]string `yaml:"global"`
		RuleFiles []string          `yaml:"rule_files"`
		Scrape    []job             `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{rulesFile}, config.RuleFiles); diff != "" {
		t.Errorf("rule files (-want +got)\n%s", diff)
	}
	if len(config.Scrape) != 1 || config.Scrape[0].Name != "keywheel" || config.Scrape[0].Static[0].Targets[0] != target {
		t.Errorf("it scrapes %+v", config.Scrape)
	}
}
