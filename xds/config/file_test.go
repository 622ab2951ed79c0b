package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/config"
)

// loadAll reads the contents of .env and keywheel.yaml, and environ. There is a file named secret.
func loadAll(dotEnv, file string, environ ...string) (*config.Config, []config.Warning, error) {
	read := fileOf(dotEnv)
	return config.Load(config.Options{
		Environ: environ, WorkDir: workDir, StateHome: home,
		ReadFile: func(path string) ([]byte, error) {
			if path == workDir+"/keywheel.yaml" {
				return []byte(file), nil
			}
			return read(path)
		},
	})
}

func TestFileIsUnderTheOthers(t *testing.T) {
	const file = `
keys:
  1: {secret: gsk_file_1, label: From the file, daily_limit: 5, thresholds: [50]}
  2: {secret_file: not/read, priority: 9}
  3: {label: Described here}
  4: {secret: gsk_file_4}
strategy: balanced
store: {history_days: 10}
log: {format: json, level: debug}
notify: {routes: {summary: [log]}}
`
	c, warnings, err := loadAll("GROQ_API_KEY_2=gsk_dotenv_2\nKEYWHEEL_HISTORY_DAYS=20\nKEYWHEEL_LOG_LEVEL=\nGROQ_KEY_1_DAILY_LIMIT=6\n", file,
		"GROQ_API_KEY=gsk_env_1", "GROQ_KEY_1_LABEL=Mine", "GROQ_API_KEY_3=gsk_env_3", "KEYWHEEL_STRATEGY=priority", "KEYWHEEL_NOTIFY_ROUTES=rotated=log")
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", err, warnings)
	}
	var got []string
	for _, k := range c.Keys {
		got = append(got, fmt.Sprint(k.ID, " ", k.Secret.Reveal(), " ", k.Label, " ", k.LimitTokens, " ", k.Thresholds, " ", k.Source))
	}
	want := []string{
		"1 gsk_env_1 Mine 6 [50] environment", "3 gsk_env_3 Described here 0 [75 90 100] environment", "4 gsk_file_4 Emergency 0 [75 90 100] file",
		"2 gsk_dotenv_2 Emergency 0 [75 90 100] environment",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got)\n%s", diff)
	}
	if c.Strategy != config.Priority || c.HistoryDays != 20 || c.LogFormat != config.LogJSON || c.LogLevel.String() != "DEBUG" || len(c.Notify.Routes) != 1 ||
		c.Notify.Routes[0].Event != "rotated" {
		t.Errorf("%+v", c)
	}
}

func TestKeysWithoutASecret(t *testing.T) {
	const file = "keys:\n  1: {secret: gsk_a}\n  2: {label: b}\n  3:\n"
	_, _, err := loadAll("", file)
	const tail = "it has no secret; write secret_file: and the path of a file that holds it, or set GROQ_API_KEY_"
	if want := "keys[2]: " + tail + "2, or remove the key (keywheel.yaml:3)\nkeys[3]: " + tail + "3, or remove the key (keywheel.yaml:4)"; err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
	// A command that only talks to a running control plane has not the secrets that this one had.
	read := fileOf("")
	c, warnings, err := config.Load(config.Options{WorkDir: workDir, StateHome: home, KeysOptional: true, ReadFile: func(path string) ([]byte, error) {
		if strings.HasSuffix(path, ".yaml") {
			return []byte(file), nil
		}
		return read(path)
	}})
	if err != nil || len(c.Keys) != 1 || len(warnings) != 2 || warnings[0].String() != "keys[2]: it has no effect, as it has no secret" {
		t.Errorf("%v, %v, %v", c, warnings, err)
	}
}

func TestAnotherFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/settings.yaml", "keys: {1: {secret: gsk_named}}\n")
	write(t, dir+"/keywheel.yaml", "keys: {1: {secret: gsk_usual}}\n")
	opts := config.Options{WorkDir: dir, StateHome: dir, DotEnvPath: dir + "/.env"}
	for _, tc := range []struct{ environ, dotEnv, want string }{
		{"", "", "gsk_usual"},
		{"KEYWHEEL_CONFIG=settings.yaml", "", "gsk_named"},
		{"KEYWHEEL_CONFIG=" + dir + "/settings.yaml", "", "gsk_named"},
		{"", "KEYWHEEL_CONFIG=settings.yaml", "gsk_named"},
		{"KEYWHEEL_CONFIG=", "KEYWHEEL_CONFIG=settings.yaml", "gsk_named"},
	} {
		write(t, dir+"/.env", tc.dotEnv)
		opts.Environ = []string{tc.environ}
		c, _, err := config.Load(opts)
		if err != nil || c.Keys[0].Secret.Reveal() != tc.want {
			t.Errorf("%q and %q: %v, %v", tc.environ, tc.dotEnv, c, err)
		}
	}
	for name, want := range map[string]string{
		"nowhere.yaml":      "KEYWHEEL_CONFIG: the file cannot be read: no such file or directory; make it readable, or leave it out",
		".":                 "KEYWHEEL_CONFIG: the file cannot be read: is a directory; make it readable, or leave it out",
		"gsk_pasted_by_man": "KEYWHEEL_CONFIG: it looks like a key; write the path of a file of settings",
	} {
		opts.Environ = []string{"KEYWHEEL_CONFIG=" + name}
		if _, _, err := config.Load(opts); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	write(t, dir+"/settings.yaml", strings.Repeat("#", 1<<20+1))
	opts.Environ = []string{"KEYWHEEL_CONFIG=settings.yaml"}
	if _, _, err := config.Load(opts); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileThatOthersCanRead(t *testing.T) {
	for _, tc := range []struct {
		file   string
		mode   os.FileMode
		warned bool
	}{
		{"keys: {1: {secret: gsk_a}}", 0o600, false},
		{"keys: {1: {secret: gsk_a}}", 0o640, false},
		{"keys: {1: {secret: gsk_a}}", 0o644, true},
		{"keys: {1: {secret_file: key}}", 0o644, false},
		{"keys: {1: {secret_file: key}}\nstore: {master_key: abcdefghijklmnopqrstuvwxyz0123456789}", 0o604, true},
	} {
		dir := t.TempDir()
		write(t, dir+"/key", "gsk_a")
		write(t, dir+"/keywheel.yaml", tc.file)
		if err := os.Chmod(dir+"/keywheel.yaml", tc.mode); err != nil {
			t.Fatal(err)
		}
		_, warnings, err := config.Load(config.Options{WorkDir: dir, StateHome: dir, DotEnvPath: dir + "/.env"})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(warnings)
		if strings.Contains(text, "keywheel.yaml: every user of this machine can read the secrets in it") != tc.warned {
			t.Errorf("%s with mode %v: %s", tc.file, tc.mode, text)
		}
	}
}

func TestDemoHasKeysOfItsOwn(t *testing.T) {
	c, _, err := loadAll("", "keys: {1: {secret: gsk_true, label: Mine, models: [a], disabled: true}, 7: {secret: gsk_true_too}}")
	if err != nil {
		t.Fatal(err)
	}
	demo, err := c.ForDemo(config.Upstream{Host: "127.0.0.1", Port: 4000}, "/tmp/demo")
	if err != nil || len(demo.Keys) != 3 {
		t.Fatalf("%+v, %v", demo, err)
	}
	for _, k := range demo.Keys {
		if strings.Contains(k.Secret.Reveal(), "true") || k.Label == "Mine" || !k.LabelByRank || k.Models != nil || k.Disabled || k.Source != config.SourceEnvironment {
			t.Errorf("key %+v", k)
		}
	}
}

// forms are settings as the environment and as keywheel.yaml have them.
var forms = []struct{ name, path, flow string }{ // flow: how a value is written, with %s in it
	{"GROQ_API_KEY_1", "keys: {1: {secret: %s}}", "%q"}, {"GROQ_API_KEY_2_FILE", "keys: {2: {secret_file: %s}}", "%q"},
	{"GROQ_KEY_1_LABEL", "keys: {1: {label: %s}}", "%q"}, {"GROQ_KEY_1_PRIORITY", "keys: {1: {priority: %s}}", "%q"},
	{"GROQ_KEY_2_DAILY_LIMIT", "keys: {2: {daily_limit: %s}}", "%q"}, {"GROQ_KEY_2_THRESHOLDS", "keys: {2: {thresholds: %s}}", "[%s]"},
	{"GROQ_KEY_1_MODELS", "keys: {1: {models: %s}}", "[%s]"}, {"GROQ_KEY_2_DISABLED", "keys: {2: {disabled: %s}}", "%q"},
	{"KEYWHEEL_STRATEGY", "strategy: %s", "%q"}, {"KEYWHEEL_THRESHOLDS", "thresholds: %s", "[%s]"},
	{"KEYWHEEL_UPSTREAM_URL", "upstream_url: %s", "%q"}, {"KEYWHEEL_STORE", "store: {location: %s}", "%q"},
	{"KEYWHEEL_XDS_ADDR", "xds: {addr: %s}", "%q"}, {"KEYWHEEL_LISTEN_ADDR", "envoy: {listen_addr: %s}", "%q"},
	{"KEYWHEEL_MASTER_KEY", "store: {master_key: %s}", "%q"}, {"KEYWHEEL_ADMIN_TOKEN", "admin: {token: %s}", "%q"},
	{"KEYWHEEL_LOG_LEVEL", "log: {level: %s}", "%q"}, {"TELEGRAM_CHAT_ID", "notify: {telegram: {chats: %s}}", "[%s]"},
	{"KEYWHEEL_WEBHOOK_SECRET", "notify: {webhook: {secret: %s}}", "%q"}, {"SMTP_URL", "notify: {email: {server: %s}}", "%q"},
	{"KEYWHEEL_NOTIFY_ROUTES", "notify: {routes: {summary: %s}}", "[%s]"},
}

// What is judged is judged alike, wherever it is written.
func TestFileAndEnvironmentAgree(t *testing.T) {
	values := []string{
		"1", "0", "75,90", "true", "no", "log,email", "balanced", "debug", "gsk_one", "gsk_two", "secret", "127.0.0.1:8080", "0.0.0.0:18000", "unix:/run/x",
		"https://api.groq.com", "http://127.0.0.1:10000", "file:x.db", "smtp://localhost", "a-value-of-thirty-two-characters", "llama-3,openai/x", "-100123", "none", "",
	}
	rapid.Check(t, func(t *rapid.T) {
		var environ, lines []string
		groups := map[string]bool{}
		for range rapid.IntRange(1, 5).Draw(t, "settings") {
			form := rapid.SampledFrom(forms).Draw(t, "form")
			group, _, _ := strings.Cut(form.path, ":")
			if groups[group] { // each is written as a whole
				continue
			}
			groups[group] = true
			value := rapid.SampledFrom(values).Draw(t, "value")
			written := value
			if form.name == "KEYWHEEL_NOTIFY_ROUTES" {
				written = "summary=" + value
				if value == "" {
					written = "summary=none"
				}
			}
			environ = append(environ, form.name+"="+written)
			lines = append(lines, fmt.Sprintf(form.path, fmt.Sprintf(form.flow, value)))
		}
		asEnv, envWarnings, envErr := loadAll("", "", append(environ, "GROQ_API_KEY_9=gsk_nine")...)
		asFile, fileWarnings, fileErr := loadAll("", strings.Join(lines, "\n"), "GROQ_API_KEY_9=gsk_nine")
		if strings.Contains(fmt.Sprint(fileErr), "it has no secret") || strings.Contains(fmt.Sprint(envWarnings), "it has no effect, as GROQ_API_KEY") {
			t.Skip("a key that is only described, which a file may not have")
		}
		var envProblems, fileProblems config.Problems
		errors.As(envErr, &envProblems)
		errors.As(fileErr, &fileProblems)
		if len(envProblems) != len(fileProblems) || len(envWarnings) != len(fileWarnings) {
			t.Fatalf("%v and %v\n%v\n%v\n%v\n%v", environ, lines, envErr, fileErr, envWarnings, fileWarnings)
		}
		for i, p := range envProblems {
			if p.Fix != fileProblems[i].Fix && !strings.Contains(p.Fix, "KEYWHEEL_") {
				t.Fatalf("%v\n%v", p, fileProblems[i])
			}
		}
		if asEnv == nil || asFile == nil {
			return
		}
		sources := strings.NewReplacer(" from file", "", " from environment", "")
		if diff := cmp.Diff(sources.Replace(dump(asEnv, nil)), sources.Replace(dump(asFile, nil))); diff != "" {
			t.Fatalf("%v and %v (-environment +file)\n%s", environ, lines, diff)
		}
	})
}

func FuzzFile(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		for _, path := range fixtures(f, kind) {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if filepath.Ext(path) == ".yaml" {
				f.Add(strings.ReplaceAll(string(content), "gsk_good", planted), "GROQ_API_KEY_1", planted)
			}
		}
	}
	f.Add("keys: {1: {secret: "+planted+", "+planted+": 1}}", "KEYWHEEL_CONFIG", "secret")
	f.Add(planted+": &"+planted+" [*"+planted+"]", "KEYWHEEL_CONFIG", planted)
	f.Add("keys: {"+planted+": 1, 1: !"+planted+" x}", "A", "")
	f.Fuzz(func(t *testing.T, file, name, value string) {
		read := fileOf("")
		check(t, config.Options{Environ: []string{name + "=" + value}, WorkDir: workDir, StateHome: home, ReadFile: func(path string) ([]byte, error) {
			if path == workDir+"/keywheel.yaml" {
				return []byte(file), nil
			}
			return read(path)
		}})
	})
}

// Wherever the secret stands in the file, as a value or a name, no message shows it.
func TestSecretInAnyPlaceOfTheFile(t *testing.T) {
	values := []string{planted, "[" + planted + "]", "{" + planted + ": 1}", "{1: " + planted + "}", "\"" + planted, "!" + planted + " x", "&" + planted + " x",
		"*" + planted, "https://u:" + planted + "@h/", "secret", "x", "{secret: " + planted + "}", "{1: {secret: " + planted + "}}", "{1: {label: x" + planted + "}}"}
	names := []string{"keys", "strategy", "thresholds", "notify", "store", "log", "xds", planted, "x", "GROQ_API_KEY_1", "{a: b}"}
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(1, 5).Draw(t, "lines") {
			lines = append(lines, rapid.SampledFrom(names).Draw(t, "name")+": "+rapid.SampledFrom(values).Draw(t, "value"))
		}
		file := strings.Join(lines, "\n")
		_, warnings, err := loadAll("", file, "GROQ_API_KEY_7="+planted)
		if leaks(fmt.Sprint(err, warnings)) {
			t.Fatalf("%s\n%v\n%v", file, err, warnings)
		}
	})
}

func TestFileThatIsNotThere(t *testing.T) {
	_, _, err := config.Load(config.Options{Environ: []string{"GROQ_API_KEY=gsk_a"}, WorkDir: workDir, StateHome: home, ReadFile: func(path string) ([]byte, error) {
		if filepath.Base(path) == "keywheel.yaml" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}
		return nil, fs.ErrNotExist
	}})
	if err == nil || err.Error() != "keywheel.yaml: it cannot be read: permission denied; make it readable, or leave it out" {
		t.Errorf("a file that may not be read: %v", err)
	}
}
