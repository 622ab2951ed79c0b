package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/harness"
	"keywheel/e2e/sinks"
)

// Secrets of the people's own services.
const (
	botToken      = "123456789:AACANARYtelegramB0tT0ken5vLq0Zb7dW1n"
	webhookSecret = "CANARYwebhookSecret5vLq0Zb7dW1nRk8s"
)

// people are those who are told: a chat and a mailbox.
type people struct {
	telegram *sinks.HTTP
	mail     *sinks.Mail
}

func startPeople(t *testing.T) *people {
	t.Helper()
	return &people{telegram: sinks.StartTelegram(t, botToken), mail: sinks.StartMail(t, nil)}
}

// settings are what Keywheel must know to tell them.
func (p *people) settings() map[string]string {
	return map[string]string{
		"TELEGRAM_BOT_TOKEN": botToken, "TELEGRAM_CHAT_ID": "-1001", "TELEGRAM_API_URL": p.telegram.URL,
		"SMTP_URL": "smtp://" + p.mail.Addr, "ALERT_EMAIL_FROM": "keywheel@example.org", "ALERT_EMAIL_TO": "ops@example.org",
	}
}

func (p *people) dotEnv() string {
	var b strings.Builder
	for name, value := range p.settings() {
		fmt.Fprintf(&b, "%s=%s\n", name, value)
	}
	return b.String()
}

// The messages of the story.
const (
	storyWarning = `⚠️ API Key Quota Warning

Provider: Groq
Key ID: 1
Usage: 75.0%
Remaining: 3,600 tokens
Resets at: 2025-11-19T00:00:00Z

Action: Monitor usage or add backup keys`

	storyCritical = `CRITICAL: API Key Quota Nearly Exhausted

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

	storySubject = "🚨 CRITICAL: Groq Key 1 at 90%"
)

// assertTold looks at what the chat and the mailbox got of the day, byte by byte.
func (d *day) assertTold(t *testing.T) {
	t.Helper()
	var chat, mail []string
	for _, m := range d.told.telegram.Got() {
		chat = append(chat, m.To+"\n"+m.Text)
	}
	if diff := cmp.Diff([]string{"-1001\n" + storyWarning, "-1001\n" + storyCritical}, chat); diff != "" {
		t.Errorf("by Telegram (-want +got):\n%s", diff)
	}
	for _, l := range d.told.mail.Got() {
		mail = append(mail, l.From+" "+strings.Join(l.To, ",")+"\n"+l.Subject+"\n"+l.Text)
		if !strings.Contains(l.HTML, "Remaining: 1,440 tokens") || !strings.Contains(string(l.Raw), "Auto-Submitted: auto-generated") {
			t.Errorf("the letter is\n%s", l.Raw)
		}
	}
	if diff := cmp.Diff([]string{"keywheel@example.org ops@example.org\n" + storySubject + "\n" + storyCritical}, mail); diff != "" {
		t.Errorf("by e-mail (-want +got):\n%s", diff)
	}
	for _, n := range d.Keywheel.Notifications(t) {
		if n.State != "sent" || n.Attempts != 1 || n.Error != nil {
			t.Errorf("notification %+v", n)
		}
	}
	harness.AssertNoSecret(t, append(d.Secrets(), botToken), harness.Blob{Name: "the log", Data: d.Keywheel.Log()},
		harness.Blob{Name: "the notifications", Data: d.Keywheel.Page(t, "/api/v1/notifications")},
		harness.Blob{Name: "the events", Data: d.Keywheel.Page(t, "/api/v1/events")})
}

// assertSummary looks at what the day came to, at the end of work: by the API, and as text.
func (d *day) assertSummary(t *testing.T) {
	t.Helper()
	var s struct {
		Requests, Tokens               int64
		SuccessRate                    float64 `json:"success_rate"`
		AvgResponseMS                  int64   `json:"avg_response_ms"`
		Rotations, Rescues, Alerts     int64
		DowntimeSeconds                int64 `json:"downtime_seconds"`
		Limited, Absorbed, Failed, Cut int64
		RotationLog                    []struct{ From, To, Reason string } `json:"rotation_log"`
		Forecasts                      struct{ Hits, Misses int }
		Keys                           []struct {
			ID               string
			Requests, Tokens int64
			Percent          float64
		}
	}
	d.Keywheel.API(t, "/api/v1/summaries/2025-11-18", &s)
	least, most := d.least.Milliseconds()/450, d.most.Milliseconds()/450+1
	if s.AvgResponseMS < least || s.AvgResponseMS > most {
		t.Errorf("the average response took %d ms; Groq's silence alone is %d, and clients saw %d", s.AvgResponseMS, least, most)
	}
	t.Logf("average response time: %d ms; of that Groq's silence %d ms, and clients saw %d ms", s.AvgResponseMS, least, most)
	got := fmt.Sprintf("%d %d %v %d %d %d %d %v %v %v", s.Requests, s.Tokens, s.SuccessRate, s.Rotations, s.Rescues, s.Alerts, s.DowntimeSeconds,
		s.RotationLog, s.Keys, s.Forecasts)
	want := "450 24634 100 1 0 2 0 [{1 2 exhausted}] [{1 144 14400 100} {2 306 10234 71.1} {3 0 0 0}] {1 0}"
	if got != want {
		t.Errorf("the summary is\n%s, want\n%s", got, want)
	}
	stdout, stderr, exit := d.Keywheel.Output(t, "summary", "2025-11-18")
	if exit != 0 || stderr != "" {
		t.Errorf("keywheel summary: exit code %d, %s", exit, stderr)
	}
	average := fmt.Sprintf("Avg Response Time: %dms\n", s.AvgResponseMS)
	if !strings.Contains(stdout, average) {
		t.Errorf("the summary does not say %q", average)
	}
	assertGolden(t, "day_summary.golden", strings.Replace(stdout, average, "Avg Response Time: AVERAGE\n", 1))
}

// waitTold waits until a sink has so many messages.
func waitReceived[T any](t *testing.T, what string, n int, got func() []T) []T {
	t.Helper()
	var all []T
	harness.Eventually(t, what, func() error {
		if all = got(); len(all) < n {
			return fmt.Errorf("%d of %d came", len(all), n)
		}
		return nil
	})
	return all
}

// waitState waits until a receiver's newest notification is in a state.
func waitState(t *testing.T, k *harness.Keywheel, receiver, state string) harness.NotificationState {
	t.Helper()
	var found harness.NotificationState
	harness.Eventually(t, receiver+"'s notification is "+state, func() error {
		for _, n := range k.Notifications(t) {
			if n.Receiver != receiver {
				continue
			}
			if found = n; n.State != state {
				return fmt.Errorf("it is %s: %+v", n.State, n)
			}
			return nil
		}
		return errors.New("there is none")
	})
	return found
}
