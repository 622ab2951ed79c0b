package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/sinks"
)

// edited is a stack whose settings are in files that are edited while it runs: key 1's secret in a file of its own, key
// 2's in .env, the rest in keywheel.yaml.
type edited struct {
	*harness.Stack
	dir     string
	told    int           // how often the log has said that settings are in force
	slowest time.Duration // from an edit until calls went by it
}

// The files of settings, relative to where Keywheel runs.
const (
	yamlFile   = "keywheel.yaml"
	envFile    = ".env"
	secretFile = "secrets/groq-1"
)

// inForce is what the log says of an edit that was taken, and refusedEdit of one that was not.
const (
	inForce     = "The settings were edited and are in force"
	refusedEdit = "The settings were edited and are refused; the last good ones stay in force:"
)

func startEdited(t *testing.T) *edited {
	t.Helper()
	harness.EnvoyBinary(t)
	keys := harness.Keys(3, 0)
	e := &edited{Stack: &harness.Stack{Keys: keys}}
	e.Groq = harness.StartGroq(t, fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}, keys)
	e.Keywheel = harness.NewKeywheel(t, harness.KeywheelOptions{Upstream: e.Groq.URL(), Settings: map[string]string{"KEYWHEEL_MASTER_KEY": masterKey}})
	e.dir = e.Keywheel.Dir
	for _, dir := range []string{"secrets", "secrets/v1"} {
		if err := os.Mkdir(filepath.Join(e.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	e.write(t, yamlFile, "keys:\n  1: {secret_file: "+secretFile+"}\n")
	e.write(t, envFile, "GROQ_API_KEY_2="+keys[1].Secret+"\n")
	e.mount(t, "v1", keys[0].Secret)
	e.H1, e.H2 = harness.NewClient(t, e.Keywheel.Listen, false), harness.NewClient(t, e.Keywheel.Listen, true)
	e.Keywheel.Start(t, "serve")
	e.Envoy = harness.NewEnvoy(t, e.Keywheel.EnvoyConfig(t))
	e.Envoy.Start(t)
	e.Envoy.WaitAssigned(t)
	e.Keywheel.WaitGranted(t, 0)
	waitServed(t, e.Stack, "1", keys[0].Secret)
	return e
}

// write writes a file in place, as an editor may.
func (e *edited) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts another file in the place of one, as careful editors do.
func (e *edited) replace(t *testing.T, name, text string) {
	t.Helper()
	e.write(t, name+".new", text)
	if err := os.Rename(filepath.Join(e.dir, name+".new"), filepath.Join(e.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// mount puts key 1's secret where Kubernetes would: the file is a link into a directory, which is a link that is moved to
// another version.
func (e *edited) mount(t *testing.T, version, secret string) {
	t.Helper()
	secrets := filepath.Join(e.dir, "secrets")
	if err := os.MkdirAll(filepath.Join(secrets, version), 0o700); err != nil {
		t.Fatal(err)
	}
	e.write(t, "secrets/"+version+"/groq-1", secret+"\n")
	err := os.Symlink(version, filepath.Join(secrets, "..data.new"))
	if err == nil {
		err = os.Rename(filepath.Join(secrets, "..data.new"), filepath.Join(secrets, "..data"))
	}
	if err == nil {
		if err = os.Symlink("..data/groq-1", filepath.Join(secrets, "groq-1")); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serves wants calls to go by an edit that was just made: with this key's secret. No call fails meanwhile.
func (e *edited) serves(t *testing.T, id, secret string) {
	t.Helper()
	begun := time.Now()
	waitServed(t, e.Stack, id, secret)
	e.slowest = max(e.slowest, time.Since(begun))
	e.taken(t)
}

// taken waits until the log says once more that settings are in force.
func (e *edited) taken(t *testing.T) {
	t.Helper()
	e.told++
	harness.Eventually(t, "the edit is taken", func() error {
		if n := strings.Count(e.Keywheel.Log(), inForce); n != e.told {
			return fmt.Errorf("the log has said so %d times, want %d", n, e.told)
		}
		return nil
	})
}

// newSecret is a secret that the simulated Groq accepts.
func (e *edited) newSecret(id string) string {
	s := harness.Keys(1, 0)[0].Secret
	e.Groq.AddKey(fakegroq.Key{Secret: s, Name: id})
	return s
}

// The settings' files are edited in all the ways in which files are, while Keywheel runs: calls go by it soon, and the
// audit has each.
func TestSettingsAreEditedWhileItRuns(t *testing.T) {
	t.Parallel()
	e := startEdited(t)
	one, two, three := e.Keys[0].Secret, e.Keys[1].Secret, e.Keys[2].Secret
	const first, second = "keys:\n  1: {secret_file: " + secretFile + ", priority: %d, disabled: %t}\n", "  2: {priority: %d, label: Second}\n"

	e.replace(t, yamlFile, fmt.Sprintf(first+second, 5, false, 3)) // in the place of the file
	e.serves(t, "2", two)
	e.write(t, yamlFile, fmt.Sprintf(first+second, 1, false, 3)) // into the file
	e.serves(t, "1", one)
	one = e.newSecret("1")
	e.mount(t, "v2", one) // by moving a link
	e.serves(t, "1", one)
	one = e.newSecret("1")
	e.write(t, "secrets/v2/groq-1", one) // into the file behind the links
	e.serves(t, "1", one)
	e.replace(t, envFile, "GROQ_API_KEY_2="+two+"\nGROQ_KEY_2_PRIORITY=1\nGROQ_KEY_1_PRIORITY=2\n") // .env wins over keywheel.yaml
	e.serves(t, "2", two)
	two = e.newSecret("2")
	e.write(t, envFile, "GROQ_API_KEY_2="+two+"\nGROQ_KEY_2_PRIORITY=1\nGROQ_KEY_1_PRIORITY=2\n")
	e.serves(t, "2", two)
	e.write(t, envFile, "GROQ_API_KEY_2="+two+"\nGROQ_KEY_2_DISABLED=true\nGROQ_API_KEY_3="+three+"\nGROQ_KEY_3_PRIORITY=1\n")
	e.serves(t, "1", one)
	e.replace(t, yamlFile, fmt.Sprintf(first, 1, true))
	e.serves(t, "3", three)
	e.replace(t, yamlFile, fmt.Sprintf(first, 1, false))
	e.serves(t, "1", one)
	if err := os.Remove(filepath.Join(e.dir, envFile)); err != nil { // and with it keys 2 and 3
		t.Fatal(err)
	}
	e.taken(t)
	if keys := e.Keywheel.Keys(t); len(keys) != 1 {
		t.Errorf("keys that are in no file any more are still there: %+v", keys)
	}
	t.Logf("%d edits; calls went by them after %s at most", e.told, e.slowest.Round(time.Millisecond))
	e.assertEdits(t, slices.Repeat([]string{"file settings done"}, e.told))
	if err := e.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	harness.AssertNoSecret(t, []string{one, two, three, e.Keys[0].Secret, e.Keys[1].Secret}, e.shows(t)...)
}

// assertEdits wants the audit to have these entries, oldest first, and no other.
func (e *edited) assertEdits(t *testing.T, want []string) {
	t.Helper()
	entries, err := adminOf(t, e.Keywheel).Audits(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range slices.Backward(entries) {
		got = append(got, a.Who+" "+a.What+" "+a.Outcome)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit has %q, want %q", got, want)
	}
}

// shows is all that is shown, logged and kept, but for the settings' own files.
func (e *edited) shows(t *testing.T) []harness.Blob {
	t.Helper()
	blobs := []harness.Blob{{Name: "Keywheel's log", Data: e.Keywheel.Log()}, {Name: "Envoy's log", Data: e.Envoy.Log() + "\n"}}
	for _, page := range operatorPages {
		blobs = append(blobs, harness.Blob{Name: "Keywheel's " + page, Data: e.Keywheel.Page(t, page)})
	}
	for _, page := range envoyPages {
		blobs = append(blobs, harness.Blob{Name: "Envoy's " + page, Data: e.Envoy.AdminGet(t, page)})
	}
	own := []string{"the file .env", "the file keywheel.yaml", "the file groq-1", "the file keywheel.token"}
	return append(blobs, slices.DeleteFunc(files(t, e.dir), func(b harness.Blob) bool { return slices.Contains(own, b.Name) })...)
}

// Edits that are no good keep the last good settings in force, say why and what to write, and never what a secret is;
// good ones heal. What needs a restart is named.
func TestBadEditsOfSettings(t *testing.T) {
	t.Parallel()
	e := startEdited(t)
	one, two := e.Keys[0].Secret, e.Keys[1].Secret
	yaml, env := "keys:\n  1: {secret_file: "+secretFile+"}\n", "GROQ_API_KEY_2="+two+"\n"
	var audit []string
	for _, bad := range []struct {
		file, text string
		says       []string
	}{
		{envFile, env + "GROQ_KEY_1_PRIORTY=3\n", []string{"GROQ_KEY_1_PRIORTY: there is no such setting; did you mean GROQ_KEY_1_PRIORITY? (.env:2)"}},
		{envFile, env + "GROQ_KEY_2_DAILY_LIMIT=many\n", []string{"GROQ_KEY_2_DAILY_LIMIT: ", "(.env:2)"}},
		{envFile, env + "GROQ_KEY_2_LABEL=" + two + "\n", []string{"GROQ_KEY_2_LABEL: ", "(.env:2)"}},
		{envFile, env + two + "\n", []string{".env:2: this line is not a setting; write NAME=value"}},
		{yamlFile, yaml + "keys: [\n", []string{"keywheel.yaml:", "examples/keywheel.yaml"}},
		{yamlFile, yaml + "  2: {secret: " + two + ", labl: x}\n", []string{"keys[2].labl: there is no such setting; did you mean keys[2].label?", "(keywheel.yaml:3)"}},
		{yamlFile, yaml + "strategy: " + two + "\n", []string{"strategy: ", "(keywheel.yaml:3)"}},
		{secretFile, two, []string{"the same"}},
		{secretFile, "", []string{"keys[1].secret_file: the file is empty; write the secret, or leave it out"}},
		{secretFile, "your key here", []string{"keys[1].secret"}},
	} {
		good, err := os.ReadFile(filepath.Join(e.dir, bad.file))
		if err != nil {
			t.Fatal(err)
		}
		before := len(e.Keywheel.Log())
		e.replace(t, bad.file, bad.text)
		harness.Eventually(t, "the edit is refused", func() error {
			_, said, _ := strings.Cut(e.Keywheel.Log()[before:], refusedEdit)
			for _, text := range bad.says {
				if !strings.Contains(said, text) {
					return fmt.Errorf("of %s it does not say %q but %s", bad.file, text, said)
				}
			}
			return nil
		})
		if a := e.H1.Do(t, harness.Call{}); a.Status != 200 || e.Attempts(t, a.Tag)[0].Secret != one {
			t.Errorf("%q: a client got %s", bad.text, a)
		}
		e.replace(t, bad.file, string(good))
		e.taken(t)
		audit = append(audit, "file settings refused", "file settings done")
	}
	e.assertEdits(t, audit)
	e.assertRestartNamed(t, env)
	harness.AssertNoSecret(t, []string{one, two}, e.shows(t)...)
}

// assertRestartNamed edits what takes effect at a restart only, with something that does at once.
func (e *edited) assertRestartNamed(t *testing.T, env string) {
	t.Helper()
	e.replace(t, envFile, env+"KEYWHEEL_HISTORY_DAYS=7\nKEYWHEEL_LOG_LEVEL=debug\nKEYWHEEL_ADMIN_READ_TOKEN=aReadToken5vLq0Zb7dW1n\nGROQ_KEY_2_PRIORITY=1\nGROQ_KEY_1_PRIORITY=2\n")
	e.serves(t, "2", e.Keys[1].Secret)
	e.Keywheel.WaitLog(t, "These settings take effect at the next start: KEYWHEEL_HISTORY_DAYS, KEYWHEEL_ADMIN_READ_TOKEN, KEYWHEEL_LOG_LEVEL")
	e.replace(t, envFile, env)
	e.serves(t, "1", e.Keys[0].Secret)
}

// Who is told changes while Keywheel runs: nobody, a chat, another chat with the same bot, nobody again.
func TestReceiversAreEdited(t *testing.T) {
	t.Parallel()
	e := startEdited(t)
	chats := []*sinks.HTTP{sinks.StartTelegram(t, botToken), sinks.StartTelegram(t, botToken)}
	env := "GROQ_API_KEY_2=" + e.Keys[1].Secret + "\n"
	telegram := func(chat *sinks.HTTP) string {
		return env + "TELEGRAM_BOT_TOKEN=" + botToken + "\nTELEGRAM_CHAT_ID=-1001\nTELEGRAM_API_URL=" + chat.URL + "\nKEYWHEEL_NOTIFY_ROUTES=\"key_cleared=log,telegram\"\n"
	}
	clearKey := func() {
		t.Helper()
		e.Keywheel.Clear(t, "2")
		harness.Eventually(t, "the event is told or not", func() error {
			for _, n := range e.Keywheel.Notifications(t) {
				if n.State != "sent" {
					return fmt.Errorf("%+v", n)
				}
			}
			return nil
		})
	}
	got := func() string { return fmt.Sprint(len(chats[0].Got()), len(chats[1].Got())) }
	for _, step := range []struct{ env, got string }{
		{env + "# nobody\n", "0 0"},
		{telegram(chats[0]), "1 0"},
		{telegram(chats[1]), "1 1"},
		{env, "1 1"},
		{telegram(chats[0]), "2 1"},
	} {
		e.replace(t, envFile, step.env)
		if step.got != "0 0" { // else nothing is another
			e.taken(t)
		}
		clearKey()
		if got() != step.got {
			t.Errorf("the chats got %s messages, want %s", got(), step.got)
		}
	}
	stdout, stderr, exit := e.Keywheel.Output(t, "notify", "test")
	if stdout != "✅ telegram\n" || exit != 0 {
		t.Errorf("exit code %d, %s%s", exit, stdout, stderr)
	}
	for _, chat := range chats {
		for _, m := range chat.Got() {
			if m.To != "-1001" || m.Text == "" {
				t.Errorf("%+v", m)
			}
			harness.AssertNoSecret(t, e.Secrets(), harness.Blob{Name: "a message", Data: m.Text})
		}
	}
	harness.AssertNoSecret(t, append(e.Secrets()[1:], botToken), e.shows(t)...)
}
