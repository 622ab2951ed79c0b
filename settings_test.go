package keywheel_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keywheel/e2e/testca"
	"keywheel/xds/config"
)

// TestEnvExamples: every line of them is a setting that exists, with a value that is taken.
func TestEnvExamples(t *testing.T) {
	for _, name := range []string{".env.example", "examples/plain-envoy/keys.env", "examples/mtls/keywheel.env", "examples/docker-compose/.env.example"} {
		t.Run(name, func(t *testing.T) { testEnvExample(t, string(read(t, name))) })
	}
}

func testEnvExample(t *testing.T, example string) {
	all := regexp.MustCompile(`(?m)^#([A-Z])`).ReplaceAllString(example, "$1") // nothing left out
	n := 0
	filled := regexp.MustCompile(`(?m)^([A-Z0-9_]+)=$`).ReplaceAllStringFunc(all, func(line string) string {
		n++
		return line + "gsk_" + strings.Repeat(string(rune('a'+n)), 4) + "0123456789ABCDEFGHIJ"
	})
	if n < 3 {
		t.Fatalf("%d secrets, want a few to be filled in", n)
	}
	c, err := loadExample(t, ".env", filled, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 3 {
		t.Errorf("%d keys, want 3", len(c.Keys))
	}
	if _, err = loadExample(t, ".env", example, true); err != nil {
		t.Errorf("as it stands: %v", err)
	}
}

// loadExample reads settings from a file of this name alone. Every file that they name holds a secret.
func loadExample(t *testing.T, name, content string, keysOptional bool) (*config.Config, error) {
	t.Helper()
	certificates := exampleCertificates(t)
	c, _, err := config.Load(config.Options{
		StateHome: t.TempDir(), WorkDir: t.TempDir(), KeysOptional: keysOptional,
		ReadFile: func(path string) ([]byte, error) {
			switch base := filepath.Base(path); {
			case base == name:
				return []byte(content), nil
			case base == "smtp":
				return []byte("smtps://keywheel%40example.org:password@smtp.example.org"), nil
			case base == "services":
				return []byte("slack://hook:TOKEN@webhook"), nil
			case base == "telegram":
				return []byte("123456789:the-token-from-BotFather"), nil
			case strings.HasPrefix(path, "/run/secrets/"):
				return []byte("gsk_0123456789ABCDEFGHIJ_of_" + base), nil
			case certificates[path] != nil:
				return certificates[path], nil
			}
			return nil, fs.ErrNotExist
		},
	})
	return c, err
}

// exampleCertificates are what the examples name, by path.
func exampleCertificates(t *testing.T) map[string][]byte {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(testca.Leaf{Hosts: []string{"keywheel.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	const dir = "/etc/keywheel/"
	return map[string][]byte{dir + "cert.pem": pair.Certificate, dir + "key.pem": pair.Key, dir + "ca.pem": ca.PEM}
}

// TestFileExample: the example of keywheel.yaml is taken as it stands, shows every field that editors know, and tells them
// where their schema is.
func TestFileExample(t *testing.T) {
	const path = "examples/keywheel.yaml"
	example := string(read(t, path))
	c, err := loadExample(t, "keywheel.yaml", example, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 3 || c.Notify.Telegram == nil || c.Notify.Email == nil || c.Notify.Webhook == nil || len(c.Notify.Routes) != 4 || c.TLS == nil || len(c.MasterKeys) != 1 {
		t.Errorf("it lacks something: %+v", c)
	}
	for _, field := range schemaFields(t) {
		if !regexp.MustCompile(`(?m)[\s{]` + field + `:`).MatchString(example) {
			t.Errorf("%s is not in it", field)
		}
	}
	first, _, _ := strings.Cut(example, "\n")
	relative, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=")
	if schema := filepath.Join(filepath.Dir(path), relative); !ok || string(read(t, schema)) != string(config.Schema) {
		t.Errorf("%q is not where the schema is", first)
	}
}

// schemaFields are the names of all fields that the schema has, sorted.
func schemaFields(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		object, _ := v.(map[string]any)
		for name, below := range object {
			if properties, ok := below.(map[string]any); ok && name == "properties" {
				for field := range properties {
					names[field] = true
				}
			}
			walk(below)
		}
	}
	var schema any
	if err := json.Unmarshal(config.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	walk(schema)
	if len(names) < 50 {
		t.Fatalf("%d fields", len(names))
	}
	return slices.Sorted(maps.Keys(names))
}
