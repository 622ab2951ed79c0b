package config

import (
	"encoding/json"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"keywheel/e2e/testca"
)

// schema is what this test understands of JSON schema.
type schema struct {
	Ref                  string `json:"$ref"`
	Description          string
	Type                 any
	Enum                 []string
	Default              any
	Examples             []any
	Properties           map[string]schema
	PatternProperties    map[string]schema
	AdditionalProperties any
	PropertyNames        struct{ Pattern string }
	Definitions          map[string]schema
}

func readSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal(Schema, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// follow gives what a reference names in the place of it, with the annotations that stand beside it.
func (s schema) follow(root schema) schema {
	if s.Ref == "" {
		return s
	}
	to := root.Definitions[strings.TrimPrefix(s.Ref, "#/definitions/")]
	if s.Description != "" {
		to.Description = s.Description
	}
	to.Default, to.Examples = s.Default, s.Examples
	return to
}

// leaves calls f with each field that has a value, its path and its schema, and fails if fields and schema part.
func leaves(t *testing.T, root schema, f func(path []string, of field, s schema)) {
	t.Helper()
	var walk func(path []string, fields []field, s schema)
	walk = func(path []string, fields []field, s schema) {
		var names []string
		for _, of := range fields {
			names = append(names, of.name)
		}
		slices.Sort(names)
		if known := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(known, names) {
			t.Errorf("%v has %v in the schema, and %v is read", path, known, names)
		}
		if s.AdditionalProperties != false || s.Type != "object" {
			t.Errorf("%v: the schema takes what is not read", path)
		}
		for _, of := range fields {
			at, below := append(slices.Clone(path), of.name), s.Properties[of.name].follow(root)
			if below.Description == "" {
				t.Errorf("%v is not described", at)
			}
			switch of.kind {
			case group:
				walk(at, of.fields, below)
			case numbered:
				if len(below.PatternProperties) != 1 || below.AdditionalProperties != false {
					t.Errorf("%v takes names that are not read", at)
				}
				for pattern, key := range below.PatternProperties {
					if !strings.Contains(keyName.String(), strings.Trim(pattern, "^$")) {
						t.Errorf("%v: %s is not how keys are numbered", at, pattern)
					}
					walk(append(at, "1"), of.fields, key.follow(root))
				}
			case leaf, routed:
				f(at, of, below)
			}
		}
	}
	walk(nil, fileFields, root)
}

// settingsOf is a keywheel.yaml (JSON is YAML) with values at paths.
func settingsOf(t *testing.T, values map[string]any) []byte {
	t.Helper()
	root := map[string]any{}
	for path, value := range values {
		names, at := strings.Split(path, "/"), root
		for _, name := range names[:len(names)-1] {
			below, _ := at[name].(map[string]any)
			if below == nil {
				below = map[string]any{}
				at[name] = below
			}
			at = below
		}
		at[names[len(names)-1]] = value
	}
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func loadFile(t *testing.T, content []byte) (*Config, error) {
	t.Helper()
	certificates := examplePEM(t)
	c, _, err := Load(Options{StateHome: "/state", WorkDir: "/home/me", ReadFile: func(path string) ([]byte, error) {
		switch {
		case strings.HasPrefix(path, "/run/secrets/smtp"):
			return []byte("smtps://mail.example.org"), nil
		case strings.HasPrefix(path, "/run/secrets/telegram"):
			return []byte("123456789:from-a-file"), nil
		case strings.HasPrefix(path, "/run/secrets/webhook-url"):
			return []byte("https://hooks.example.org"), nil
		case strings.HasPrefix(path, "/run/secrets/services"):
			return []byte("ntfy://ntfy.sh/from-a-file"), nil
		case strings.HasPrefix(path, "/run/secrets/"):
			return []byte("a-secret-from-the-file" + strings.ReplaceAll(path, "/", "-")), nil
		case strings.HasPrefix(path, "/etc/keywheel/"):
			return certificates[path], nil
		case path == "/home/me/keywheel.yaml":
			return content, nil
		}
		return nil, fs.ErrNotExist
	}})
	if c != nil {
		c.read = nil
	}
	return c, err
}

// examplePEM are the files that the schema's examples of certificates name.
func examplePEM(t *testing.T) map[string][]byte {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(testca.Leaf{Hosts: []string{"keywheel.example"}})
	if err != nil {
		t.Fatal(err)
	}
	const dir = "/etc/keywheel/"
	return map[string][]byte{dir + "cert.pem": pair.Certificate, dir + "key.pem": pair.Key, dir + "ca.pem": ca.PEM}
}

// TestSchemaIsWhatIsRead holds the schema to the fields: editors offer what is taken, and nothing else.
func TestSchemaIsWhatIsRead(t *testing.T) {
	root, key := readSchema(t), "keys/1/secret"
	base, err := loadFile(t, settingsOf(t, map[string]any{key: "gsk_good"}))
	if err != nil {
		t.Fatal(err)
	}
	words := map[string][]string{
		"strategy": allWords(strategies), "keys/1/tier": allWords(tiers), "log/level": allWords(logLevels), "log/format": allWords(logFormats),
	}
	direct, byFile := map[string]any{}, map[string]any{} // every example; secrets as such, and by files
	leaves(t, root, func(at []string, of field, s schema) {
		path := strings.Join(at, "/")
		if !slices.Equal(s.Enum, words[path]) {
			t.Errorf("%s is one of %q in the schema, and of %q", path, s.Enum, words[path])
		}
		if _, list := s.Type.([]any); list != (of.separator != "") && of.kind != routed {
			t.Errorf("%s is a list in one place only", path)
		}
		if s.Default == nil && len(s.Examples) == 0 {
			t.Errorf("%s has neither a default nor an example", path)
		}
		if s.Default != nil {
			c, err := loadFile(t, settingsOf(t, map[string]any{key: "gsk_good", path: s.Default}))
			if err != nil || !reflect.DeepEqual(c, base) {
				t.Errorf("%s: %v is not the default: %v", path, s.Default, err)
			}
			direct[path] = s.Default
		}
		for _, example := range s.Examples {
			direct[path] = example
		}
		isFile := strings.HasSuffix(of.setting, fileSuffix)
		if !isSecret(of.of(1)) {
			byFile[path] = direct[path]
		}
		if isFile {
			delete(direct, path)
		}
	})
	for name, values := range map[string]map[string]any{"directly": direct, "by files": byFile} {
		c, err := loadFile(t, settingsOf(t, values))
		if err != nil {
			t.Errorf("the examples, secrets %s: %v", name, err)
			continue
		}
		if c.Notify.Telegram == nil || c.Notify.Email == nil || c.Notify.Webhook == nil || len(c.Notify.Services) == 0 || len(c.MasterKeys) != 1 || len(c.Keys[0].Models) != 2 {
			t.Errorf("the examples, secrets %s, lack something: %+v", name, c)
		}
	}
}

func allWords[T any](words []word[T]) []string {
	var texts []string
	for _, w := range words {
		texts = append(texts, w.text)
	}
	return texts
}

func TestSchemaKnowsTheEvents(t *testing.T) {
	pattern := readSchema(t).Properties["notify"].Properties["routes"].PropertyNames.Pattern
	want := "^(" + strings.Join(routedEvents(), "|") + `)(\.(` + strings.Join(levelWords(), "|") + "))?$"
	if pattern != want {
		t.Errorf("routes are named by\n%s, want\n%s", pattern, want)
	}
}

// TestFileSaysAllThatTheEnvironmentCan: each setting has its field, but those of the environment alone.
func TestFileSaysAllThatTheEnvironmentCan(t *testing.T) {
	alone := []string{configSetting, "GROQ_BASE_URL"} // where the file is; what clients share with us
	names := []string{"GROQ_API_KEY_#"}
	for _, s := range settings {
		names = append(names, s.name)
	}
	for _, f := range keyFields {
		names = append(names, "GROQ_KEY_#_"+f)
	}
	for _, name := range names {
		path := pathOf(fileFields, func(f field) bool { return f.setting == name })
		if (path == "") != slices.Contains(alone, name) {
			t.Errorf("%s is %q in keywheel.yaml", name, path)
		}
		if path != "" && isSecret(strings.ReplaceAll(name, "#", "1")) && pathOf(fileFields, func(f field) bool { return f.setting == name+fileSuffix }) != path+"_file" {
			t.Errorf("%s cannot be a file", path)
		}
	}
}
