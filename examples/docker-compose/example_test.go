// Package dockercompose_test looks at what of this example no engine looks at. e2e/docker runs it.
package dockercompose_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Each variable is in .env.example with its default, and nothing is there that the example does not know.
func TestVariables(t *testing.T) {
	compose, env := read(t, "compose.yaml"), read(t, ".env.example")
	defaults := map[string]string{}
	for _, match := range regexp.MustCompile(`\$\{(\w+_(?:IMAGE|PORT|CONCURRENCY)):-([^}]*)\}`).FindAllStringSubmatch(compose, -1) {
		if before, has := defaults[match[1]]; has && before != match[2] {
			t.Errorf("%s is %s and %s", match[1], before, match[2])
		}
		defaults[match[1]] = match[2]
	}
	if len(defaults) != 11 {
		t.Errorf("%d variables: %v", len(defaults), defaults)
	}
	for _, match := range regexp.MustCompile(`(?m)^#?(\w+_(?:IMAGE|PORT|CONCURRENCY))=(.*)$`).FindAllStringSubmatch(env, -1) {
		if want, has := defaults[match[1]]; !has || want != match[2] {
			t.Errorf(".env.example has %s=%s; in compose.yaml it is %q", match[1], match[2], want)
		}
		delete(defaults, match[1])
	}
	for name := range defaults {
		t.Errorf("%s is not in .env.example", name)
	}
}

// Every port is published on this machine's loopback alone, every image can be replaced, every container is confined, and
// every file that one sees is there.
func TestServices(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image       string
			Ports       []string
			Volumes     []any
			ReadOnly    bool     `json:"read_only"`
			CapDrop     []string `json:"cap_drop"`
			SecurityOpt []string `json:"security_opt"`
			User        string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 7 {
		t.Errorf("%d services", len(compose.Services))
	}
	for name, s := range compose.Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:${") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
		if !regexp.MustCompile(`^\$\{\w+_IMAGE:-\S+\}$`).MatchString(s.Image) {
			t.Errorf("%s has the image %s", name, s.Image)
		}
		if !s.ReadOnly || strings.Join(s.CapDrop, " ") != "ALL" || strings.Join(s.SecurityOpt, " ") != "no-new-privileges:true" ||
			s.User == "" || strings.HasPrefix(s.User, "0") {
			t.Errorf("%s may do more than it has to", name)
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(strings.TrimSpace(stringOf(volume)), ":")
			if _, err := os.Stat(source); strings.HasPrefix(source, ".") && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// stringOf is a volume in its short form; the long one names no file here.
func stringOf(volume any) string {
	text, _ := volume.(string)
	return text
}
