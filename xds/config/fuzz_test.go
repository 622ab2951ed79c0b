package config_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keywheel/xds/config"
)

const planted = "gsk_Pl4ntedS3cretThatMustNotShow"

// leaks says whether a message repeats the planted secret, or the half of it by which it is known for one.
func leaks(text string) bool { return strings.Contains(text, planted[:16]) }

func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, opts config.Options) {
	t.Helper()
	c, warnings, err := config.Load(opts)
	if (c == nil) == (err == nil) {
		t.Fatalf("config %v and error %v", c, err)
	}
	if err != nil && (leaks(err.Error()) || err.Error() == "") {
		t.Fatalf("the error: %v", err)
	}
	for _, w := range warnings {
		if leaks(w.String()) {
			t.Fatalf("a warning: %s", w)
		}
	}
	if c == nil {
		return
	}
	for i, k := range c.Keys {
		if k.Secret.IsZero() || k.Label == "" || k.Org == "" || len(k.Thresholds) == 0 || k.Priority < 1 {
			t.Fatalf("key %d: %+v", i, k)
		}
	}
	if c.Upstream.Host == "" || c.ReportInterval <= 0 || c.PushInterval <= 0 || c.StorePath == "" || c.ListenAddr.IsZero() {
		t.Fatalf("incomplete: %+v", c)
	}
}

func fileOf(dotEnv string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		switch path {
		case ".env":
			return []byte(dotEnv), nil
		case workDir + "/secret":
			return []byte(planted + "\n"), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
}

func FuzzLoad(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		for _, path := range fixtures(f, kind) {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(strings.ReplaceAll(string(content), "gsk_good", planted), "GROQ_API_KEY_1", planted)
		}
	}
	f.Add("A=\""+planted, "KEYWHEEL_LOG_LEVEL", planted)
	f.Fuzz(func(t *testing.T, dotEnv, name, value string) {
		check(t, config.Options{Environ: []string{name + "=" + value}, WorkDir: workDir, StateHome: home, ReadFile: fileOf(dotEnv)})
	})
}

// Wherever the secret stands, whole or in other text, no message shows it.
func TestSecretInAnyPlace(t *testing.T) {
	names := []string{
		"GROQ_API_KEY", "GROQ_API_KEY_1", "GROQ_API_KEY_2", "GROQ_API_KEY_2_FILE", "GROQ_KEY_1_PRIORITY", "GROQ_KEY_1_DAILY_LIMIT", "GROQ_KEY_1_LABEL",
		"GROQ_KEY_1_ORG", "GROQ_KEY_1_TIER", "GROQ_KEY_1_THRESHOLDS", "KEYWHEEL_UPSTREAM_URL", "GROQ_BASE_URL", "KEYWHEEL_STRATEGY", "KEYWHEEL_THRESHOLDS",
		"KEYWHEEL_STORE", "KEYWHEEL_REPORT_INTERVAL", "KEYWHEEL_LISTEN_ADDR", "KEYWHEEL_XDS_ADDR", "KEYWHEEL_WASM", "KEYWHEEL_ADMIN_TOKEN",
		"KEYWHEEL_ADMIN_TOKEN_FILE", "KEYWHEEL_LOG_LEVEL", "KEYWHEEL_CONFIG", "KEYWHEEL_MASTER_KEY", "GROQ_KEY_1_MODELS", "KEYWHEEL_UNKNOWN", "KEYWHEEL_" + planted, "SMTP_URL", "ALERT_EMAIL_FROM",
		"ALERT_EMAIL_TO", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "TELEGRAM_API_URL", "KEYWHEEL_WEBHOOK_URL", "KEYWHEEL_WEBHOOK_SECRET", "KEYWHEEL_NOTIFY_URLS",
		"KEYWHEEL_NOTIFY_ROUTES",
	}
	values := []string{planted, planted + " ", " " + planted, "https://" + planted, "https://u:" + planted + "@h/", "unix:/" + planted, "file:" + planted,
		"secret", "127.0.0.1:" + planted, planted + ":1", "1", "", "\"" + planted, "x\n" + planted}
	rapid.Check(t, func(t *rapid.T) {
		var environ []string
		var dotEnv strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "settings") {
			pair := rapid.SampledFrom(names).Draw(t, "name") + "=" + rapid.SampledFrom(values).Draw(t, "value")
			if rapid.Bool().Draw(t, "in .env") {
				dotEnv.WriteString(pair + "\n")
			} else {
				environ = append(environ, pair)
			}
		}
		check(t, config.Options{Environ: environ, WorkDir: workDir, StateHome: home, ReadFile: fileOf(dotEnv.String())})
	})
}

// What is secret in a URL is kept out of messages wherever else it stands, as it is written in the URL and as it is meant.
func TestSecretPartsInAnyPlace(t *testing.T) {
	holders := []string{
		"SMTP_URL=smtps://user:p%40ss-Planted@mail.example.org", "KEYWHEEL_WEBHOOK_URL=https://u:p%40ss-Planted@example.org",
		"KEYWHEEL_NOTIFY_URLS=ntfy://x discord://p%40ss-Planted@1", "KEYWHEEL_NOTIFY_URLS=ntfy://x,matrix://u:p%40ss-Planted@h/?rooms=@y",
	}
	tokens := []string{
		"KEYWHEEL_WEBHOOK_URL=https://hooks.example.org/in/p%40ss-Planted-and-long", "KEYWHEEL_WEBHOOK_URL=https://example.org/?key=p%40ss-Planted-and-long&a=b",
		"KEYWHEEL_NOTIFY_URLS=notifiarr://p%40ss-Planted-and-long", "KEYWHEEL_NOTIFY_URLS=ntfy://x slack://hook:p%40ss-Planted-and-long@webhook",
	}
	names := []string{
		"GROQ_KEY_1_PRIORITY", "GROQ_KEY_1_LABEL", "GROQ_KEY_1_TIER", "KEYWHEEL_STRATEGY", "KEYWHEEL_THRESHOLDS", "KEYWHEEL_STORE", "KEYWHEEL_LISTEN_ADDR",
		"KEYWHEEL_XDS_ADDR", "KEYWHEEL_LOG_LEVEL", "ALERT_EMAIL_FROM", "ALERT_EMAIL_TO", "TELEGRAM_CHAT_ID", "TELEGRAM_API_URL", "KEYWHEEL_NOTIFY_ROUTES",
	}
	rapid.Check(t, func(t *rapid.T) {
		part, in := "p@ss-Planted", holders
		if rapid.Bool().Draw(t, "long") {
			part, in = "p@ss-Planted-and-long", tokens
		}
		if rapid.Bool().Draw(t, "as written") {
			part = strings.ReplaceAll(part, "@", "%40")
		}
		value := rapid.SampledFrom([]string{"", "x", "summary=", "threshold.", "@", "-1,"}).Draw(t, "before") + part +
			rapid.SampledFrom([]string{"", "x", "=log", ",y"}).Draw(t, "after")
		name := rapid.SampledFrom(names).Draw(t, "name")
		holder := rapid.SampledFrom(in).Draw(t, "holder")
		_, warnings, err := load("", "GROQ_API_KEY=gsk_a", holder, name+"="+value)
		if text := strings.ToLower(fmt.Sprint(err, warnings)); strings.Contains(text, "planted") {
			t.Fatalf("%s and %s=%s: %s", holder, name, value, text)
		}
	})
}
