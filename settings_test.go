package keywheel_test

import (
	"regexp"
	"strings"
	"testing"

	"keywheel/xds/config"
)

// TestEnvExamples: every line of them is a setting that exists, with a value that is taken.
func TestEnvExamples(t *testing.T) {
	for _, name := range []string{".env.example", "examples/three-keys/keys.env"} {
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
	c, _, err := config.Load(config.Options{
		DotEnvPath: "example",
		StateHome:  t.TempDir(),
		ReadFile:   func(string) ([]byte, error) { return []byte(filled), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keys) != 3 {
		t.Errorf("%d keys, want 3", len(c.Keys))
	}

	_, _, err = config.Load(config.Options{
		DotEnvPath:   "example",
		StateHome:    t.TempDir(),
		KeysOptional: true,
		ReadFile:     func(string) ([]byte, error) { return []byte(example), nil },
	})
	if err != nil {
		t.Errorf("as it stands: %v", err)
	}
}
