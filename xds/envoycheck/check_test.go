package envoycheck_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keywheel"
	"keywheel/xds/config"
	"keywheel/xds/envoy"
	"keywheel/xds/envoycheck"
)

// good are files in which nothing is wrong, by name.
func good(t testing.TB) map[string]string {
	t.Helper()
	files := map[string]string{"envoy.yaml": string(keywheel.EnvoyYAML)}
	paths, err := filepath.Glob("testdata/good-*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "good-"), ".yaml")] = string(text)
	}
	asJSON, err := envoy.Configure(keywheel.EnvoyYAML, envoy.Settings{}) // as `keywheel envoy-config` writes it, in camelCase
	if err != nil {
		t.Fatal(err)
	}
	files["as JSON"] = string(asJSON)
	atHome, err := envoy.Configure(keywheel.EnvoyYAML, envoy.Settings{Upstream: config.Upstream{Host: "127.0.0.1", Port: 8000}})
	if err != nil {
		t.Fatal(err)
	}
	files["to this machine, in clear text"] = string(atHome)
	return files
}

// said are the codes of a report's findings.
func said(r envoycheck.Report) []string {
	codes := []string{}
	for _, f := range r.Findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestNothingIsSaidOfAGoodFile(t *testing.T) {
	for name, text := range good(t) {
		r := envoycheck.Check([]byte(text))
		for _, f := range r.Findings {
			t.Errorf("%s:%d: %s: %s: %s", name, f.Line, f.Code, f.Place, f.Wrong)
		}
		if r.GroqRoutes == 0 || r.Routes <= r.GroqRoutes || r.Clusters < 2 || r.Listeners == 0 || len(r.NotLookedAt) != 0 {
			t.Errorf("%s: looked at %+v", name, r)
		}
	}
}

// TestEachMistakeAloneIsFound plants each mistake in a good file, and wants its code and no other.
func TestEachMistakeAloneIsFound(t *testing.T) {
	files := good(t)
	for _, p := range mistakes {
		t.Run(p.name(), func(t *testing.T) {
			text := p.plant(t, files)
			r := envoycheck.Check([]byte(text))
			r.Findings = slices.DeleteFunc(r.Findings, func(f envoycheck.Finding) bool { return f.Code == p.also })
			if got := said(r); !slices.Equal(got, []string{p.code}) {
				t.Fatalf("found %v\n%+v", got, r.Findings)
			}
			f := r.Findings[0]
			if f.Place == "" || len(f.Wrong) < 30 || !strings.HasSuffix(f.Wrong, ".") || f.Line < 0 || f.Line > strings.Count(text, "\n")+1 {
				t.Errorf("%+v", f)
			}
			if f.Write == "" && f.Code != "not-yaml" && f.Code != "not-a-bootstrap" {
				t.Error("it does not say what to write")
			}
			if p.says != "" && !strings.Contains(f.Wrong, p.says) {
				t.Errorf("%q does not say %q", f.Wrong, p.says)
			}
		})
	}
}

func TestEveryCodeHasAPlantedMistake(t *testing.T) {
	planted := map[string]bool{"envoy-too-old": true} // about no file: see the command
	for _, p := range mistakes {
		planted[p.code] = true
	}
	for _, code := range envoycheck.Codes() {
		if !planted[code] {
			t.Errorf("nothing plants %s", code)
		}
		delete(planted, code)
	}
	for code := range planted {
		t.Errorf("%s is planted and no code", code)
	}
}

// TestTheRepositorysOwnFilesHaveNoError looks at every Envoy configuration that users are given.
func TestTheRepositorysOwnFilesHaveNoError(t *testing.T) {
	paths := []string{"../../envoy.yaml"}
	err := filepath.WalkDir("../../examples", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r := envoycheck.Check(text)
		if slices.Contains(said(r), "not-a-bootstrap") && path != paths[0] {
			continue // a file of something else
		}
		for _, f := range r.Findings {
			if f.Severity == envoycheck.Error {
				t.Errorf("%s:%d: %s: %s", path, f.Line, f.Code, f.Wrong)
			}
		}
	}
}

func TestAFindingNamesItsLine(t *testing.T) {
	text := strings.Replace(string(keywheel.EnvoyYAML), "num_retries: 5", "num_retries: 0", 1)
	before, _, _ := strings.Cut(text, "num_retries: 0")
	r := envoycheck.Check([]byte(text))
	if len(r.Findings) != 1 || r.Findings[0].Line != strings.Count(before, "\n")+1 || r.Findings[0].Place != `listener "keywheel" › route "groq"` {
		t.Errorf("%+v", r.Findings)
	}
}

func TestNoKeyOfTheFileIsShown(t *testing.T) {
	const canary = "gsk_CANARYCANARYCANARY42"
	text := strings.ReplaceAll(string(keywheel.EnvoyYAML), "cluster: groq", "cluster: "+canary)
	if shown := fmt.Sprintf("%+v", envoycheck.Check([]byte(text))); strings.Contains(shown, canary) {
		t.Error(shown)
	}
}
