package notify

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/event"
)

const storyWarning = `⚠️ API Key Quota Warning

Provider: Groq
Key ID: 1
Usage: 75.0%
Remaining: 3,600 tokens
Resets at: 2025-11-19T00:00:00Z

Action: Monitor usage or add backup keys`

const storyCritical = `CRITICAL: API Key Quota Nearly Exhausted

Provider: Groq
Key ID: 1
Usage: 90.0%
Remaining: 1,440 tokens
Resets at: 2025-11-19T00:00:00Z

⚡ Immediate Action Required:
- Add backup keys for groq
- Monitor usage closely
- Consider rate limiting

System will auto-switch to next available key when exhausted.`

// crossing is a threshold of the story's key 1.
func crossing(percent int, level event.Level, used int64) event.Event {
	return event.Event{
		At: time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC), Kind: event.Threshold, Level: level, Key: "1", Keys: 3, Window: "2025-11-18",
		Percent: percent, Used: used, Limit: 14400, Remaining: 14400 - used, Unit: event.Tokens,
	}
}

func TestStory(t *testing.T) {
	alone := crossing(90, event.Critical, 12960)
	alone.Keys = 1
	for _, c := range []struct {
		name          string
		event         event.Event
		subject, body string
	}{
		{"75 %", crossing(75, event.Warning, 10800), "⚠️ WARNING: Groq Key 1 at 75%", storyWarning},
		{"90 %", crossing(90, event.Critical, 12960), "🚨 CRITICAL: Groq Key 1 at 90%", storyCritical},
		{
			"75 % of a jump to 95 %", crossing(75, event.Warning, 13680), "⚠️ WARNING: Groq Key 1 at 75%",
			strings.NewReplacer("75.0%", "95.0%", "3,600", "720").Replace(storyWarning),
		},
		{
			"90 % of a jump to 95 %", crossing(90, event.Critical, 13680), "🚨 CRITICAL: Groq Key 1 at 90%",
			strings.NewReplacer("90.0%", "95.0%", "1,440", "720").Replace(storyCritical),
		},
		{
			"no other key", alone, "🚨 CRITICAL: Groq Key 1 at 90%",
			strings.Replace(storyCritical, "System will auto-switch to next available key when exhausted.", "No other key is configured.", 1),
		},
	} {
		got := write(&c.event)
		if diff := cmp.Diff(text{c.subject, c.body}, got, cmp.AllowUnexported(text{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestForecastText(t *testing.T) {
	e := event.Event{
		Kind: event.Forecast, Level: event.Info, Key: "1", Keys: 3, Window: "2025-11-18", Used: 10800, Limit: 14400, Remaining: 3600,
		Rate: 1800, Until: time.Date(2025, 11, 18, 13, 0, 0, 0, time.UTC),
	}
	if got := write(&e); got.subject != "ℹ️ At current rate, Key 1 will exhaust by 13:00 UTC" || !strings.Contains(got.body, "Rate: 1,800 tokens an hour") {
		t.Errorf("got %+v", got)
	}
}

// Each kind of event has words of its own: those of a test message would be wrong for it.
func TestEveryKindHasWords(t *testing.T) {
	seen := map[string]event.Kind{}
	for _, kind := range event.Kinds() {
		e := event.Event{Kind: kind, Level: event.Warning, Key: "1", From: "1", To: "2", Keys: 3, Window: "2025-11-18", Node: "n", Detail: "d", Text: "t", Unit: event.Tokens, Percent: 75}
		got := write(&e)
		if got.subject == "" || got.body == "" {
			t.Errorf("%s has no words", kind)
		}
		if other, twice := seen[got.body]; twice {
			t.Errorf("%s and %s have the same words", kind, other)
		}
		seen[got.body] = kind
	}
}

func TestTextsAboutEnvoysAndTheAccount(t *testing.T) {
	for _, c := range []struct {
		event event.Event
		want  text
	}{
		{
			event.Event{Kind: event.Panicked, Level: event.Warning, Node: "edge", Detail: "2 so far"},
			text{"⚠️ WARNING: The filter of an Envoy met a bug", "Bug in the Filter\n\nEnvoy: edge\nDetail: 2 so far\n\n" +
				"Each one costs the call that meets it. Please report what Envoy's log says of it."},
		},
		{
			event.Event{Kind: event.Voided, Level: event.Warning, Node: "edge", Detail: "019a-b", Used: 12300, By: "admin"},
			text{"⚠️ WARNING: What an Envoy counted was taken out of the account", "Envoy Voided\n\nEnvoy: edge\nProcess: 019a-b\nTokens: 12,300\nBy: admin\n\n" +
				"Its reports are refused, so what it goes on to spend is not counted. Start it again."},
		},
		{
			event.Event{Kind: event.Restored, Level: event.Warning, By: "shell"},
			text{"⚠️ WARNING: A backup was put in the place of the account", "Backup Restored\n\nBy: shell\n\n" +
				"What living Envoys counted since the backup comes back with their usage reports. What others counted is lost."},
		},
		{
			event.Event{Kind: event.Restored, Level: event.Warning, Node: "edge", Detail: "it seems so"},
			text{"⚠️ WARNING: The account is older than what an Envoy knows of it", "Older Account\n\nEnvoy: edge\nReason: it seems so\n\n" +
				"What living Envoys counted since comes back with their usage reports. What others counted is lost."},
		},
	} {
		if diff := cmp.Diff(c.want, write(&c.event), cmp.AllowUnexported(text{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.event.Kind, diff)
		}
	}
}

// hostile draws texts that people and Groq could send.
func hostile(t *rapid.T, name string) string {
	return rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{
			"<b>bold</b>", "a\r\nBcc: all@example.com", strings.Repeat("x", 5000), "\u202eright to left\u202c", "שלום", "*_`[x](http://e.example)`_*",
			"@everyone", "<!channel>", "line\u2028line", "\x00\x1b[31m", "🧨" + strings.Repeat("🧨", 3000), "\xff\xfe", "\u0085next", "",
		}),
		rapid.StringOfN(rapid.RuneFrom([]rune("<>&\"'\r\n\t \u202e\u2066🧨a")), 0, 6000, -1),
	).Draw(t, name)
}

func TestHostileTextsKeepTheForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := crossing(90, event.Critical, 12960)
		e.Label = hostile(t, "label")
		lines := len(strings.Split(storyCritical, "\n"))
		n := event.Notification{Seq: 1, ID: "a", Message: "a", Event: e}
		m := pack([]event.Notification{n}, 4096).message
		if got := strings.Split(m.Text, "\n"); len(got) != lines || !strings.HasPrefix(got[3], "Key ID: 1") {
			t.Fatalf("%d lines, want %d: %q", len(got), lines, m.Text)
		}
		e = event.Event{Kind: event.Rejected, Level: event.Warning, Node: hostile(t, "node"), Detail: hostile(t, "detail"), Window: "2025-11-18"}
		n.Event = e
		for _, m := range []Message{m, pack([]event.Notification{n}, 4096).message} {
			if strings.ContainsFunc(m.Subject, unicode.IsControl) || !utf8.ValidString(m.Subject) || !utf8.ValidString(m.Text) || units(m.Text) > 4096 {
				t.Fatalf("subject %q, text of %d units: %q", m.Subject, units(m.Text), m.Text)
			}
			for _, r := range m.Text {
				if r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
					t.Fatalf("%U in %q", r, m.Text)
				}
			}
		}
	})
}
