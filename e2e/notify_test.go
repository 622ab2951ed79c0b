package e2e

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/sinks"
	"keywheel/e2e/testca"
)

// Each call of a stack of steps crosses one threshold.
const (
	stepTokens = 500
	stepLimit  = 20 * stepTokens
	stepNeed   = 5*stepTokens + 1 // with the last of the levels a key is used up
	stepLevels = "5,10,15,20,25,30,35,40,45,50,55,60,65,70,75"
)

// startSteps runs a control plane and an Envoy, with keys of which every call crosses one of 15 thresholds, each of
// which is told to everybody that settings name.
func startSteps(t *testing.T, keys int, settings map[string]string) *harness.Stack {
	t.Helper()
	all := map[string]string{
		"KEYWHEEL_THRESHOLDS": stepLevels, "KEYWHEEL_REQUIRED_TOKENS": strconv.Itoa(stepNeed), "KEYWHEEL_REPORT_INTERVAL": "100ms",
	}
	for name, value := range settings {
		all[name] = value
	}
	return harness.Start(t, harness.Options{
		Keys: harness.Keys(keys, stepLimit), Groq: fakegroq.Options{TokensFor: fakegroq.FixedTokens(stepTokens/2, stepTokens/2)},
		Settings: all, Args: []string{"--now", "2025-11-18T09:00:00Z"},
	})
}

func step(t *testing.T, s *harness.Stack) {
	t.Helper()
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Fatalf("the call got %s", a)
	}
}

// killer kills the control plane once, from wherever it is called first.
type killer struct {
	once sync.Once
	dead chan struct{}
	kill func()
}

func (k *killer) strike() {
	k.once.Do(func() {
		k.kill()
		close(k.dead)
	})
}

// The control plane is killed a hundred times: when a threshold is committed, when a receiver has the message and has
// not answered, when it has answered. Every notice arrives, and no kill makes more than one repeat, under the same ID.
func TestKilledBetweenCommitSendAndMark(t *testing.T) {
	const kills = 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	hook := sinks.StartWebhook(t, webhookSecret)
	s := startSteps(t, 8, map[string]string{"KEYWHEEL_WEBHOOK_URL": hook.URL + "/hook", "KEYWHEEL_WEBHOOK_SECRET": webhookSecret})
	at := map[string]int{}
	for range kills {
		k := &killer{dead: make(chan struct{}), kill: s.Keywheel.KillNow}
		where := []string{"committed", "received", "answered"}[random.IntN(3)]
		at[where]++
		before := newestEvent(t, s)
		switch where {
		case "received":
			hook.Answer(func(int) sinks.Reply { return sinks.Reply{Before: k.strike} })
		case "answered":
			hook.Answer(func(int) sinks.Reply { return sinks.Reply{After: k.strike} })
		}
		step(t, s)
		if where == "committed" {
			harness.Eventually(t, "the threshold is recorded", func() error {
				if newestEvent(t, s) == before {
					return errors.New("it is not")
				}
				return nil
			})
			k.strike()
		}
		select {
		case <-k.dead:
		case <-harness.Context(t).Done():
			t.Fatalf("nothing was sent to strike at (%s)", where)
		}
		hook.Answer(nil)
		s.Keywheel.Wait(t)
		s.Keywheel.Start(t, "serve")
		harness.Eventually(t, "all is sent", func() error {
			for _, n := range s.Keywheel.Notifications(t) {
				if n.State != "sent" {
					return fmt.Errorf("%+v", n)
				}
			}
			return nil
		})
	}
	s.AssertOracle(t)
	assertDelivered(t, s, hook, kills)
	t.Logf("killed %v", at)
}

// newestEvent is the ID of the newest event.
func newestEvent(t *testing.T, s *harness.Stack) string {
	t.Helper()
	var events []struct{ ID string }
	s.Keywheel.API(t, "/api/v1/events?limit=1", &events)
	if len(events) == 0 {
		return ""
	}
	return events[0].ID
}

// assertDelivered holds what a webhook got against the events of thresholds: each is there, in one message only, and
// what is there again has the same ID and content and is no more than the kills.
func assertDelivered(t *testing.T, s *harness.Stack, hook *sinks.HTTP, kills int) {
	t.Helper()
	times, content, in := map[string]int{}, map[string]string{}, map[int64]string{}
	for _, m := range hook.Got() {
		var body struct{ Events []struct{ ID int64 } }
		if err := json.Unmarshal(m.Raw, &body); err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprint(body.Events, m.Text)
		if times[m.ID] > 0 && content[m.ID] != said {
			t.Errorf("message %s was %s, and then %s", m.ID, content[m.ID], said)
		}
		times[m.ID]++
		content[m.ID] = said
		for _, e := range body.Events {
			if other := in[e.ID]; other != "" && other != m.ID {
				t.Errorf("event %d is in the messages %s and %s", e.ID, other, m.ID)
			}
			in[e.ID] = m.ID
		}
	}
	var events []struct{ ID, Kind string }
	s.Keywheel.API(t, "/api/v1/events?limit=1000", &events)
	thresholds := 0
	for _, e := range events {
		if e.Kind != "threshold" {
			continue
		}
		thresholds++
		if id, err := strconv.ParseInt(e.ID, 10, 64); err != nil || in[id] == "" {
			t.Errorf("nobody was told of event %s", e.ID)
		}
	}
	repeats := 0
	for _, n := range times {
		repeats += n - 1
	}
	t.Logf("%d thresholds in %d messages; %d kills made %d repeats", thresholds, len(times), kills, repeats)
	if thresholds < kills || len(in) != thresholds || repeats > kills {
		t.Errorf("%d thresholds, of which %d were told; %d repeats", thresholds, len(in), repeats)
	}
}

// Telegram is away for an hour of the control plane's time, then busy, then talks nonsense; the mailbox is greylisted.
// All is shown, and all arrives in the end.
func TestReceiversInTrouble(t *testing.T) {
	t.Parallel()
	told := startPeople(t)
	settings := told.settings()
	settings["KEYWHEEL_NOTIFY_ROUTES"] = "threshold=log,telegram,email"
	s := startSteps(t, 2, settings)
	told.mail.Refuse(sinks.Code(451, "greylisted, come back later"))
	told.telegram.Answer(func(int) sinks.Reply { return sinks.Reply{Status: 502, Body: "<html>bad gateway</html>"} })
	step(t, s)
	for _, receiver := range []string{"telegram", "email"} {
		n := waitTried(t, s, receiver, 1)
		if n.State != "waiting" || n.Error == nil || n.NextAt == nil {
			t.Errorf("%s: %+v", receiver, n)
		}
	}
	told.mail.Refuse(nil)
	forward(t, s, "10:00") // an hour later it is tried at once
	waitState(t, s.Keywheel, "email", "sent")
	waitTried(t, s, "telegram", 2)

	told.telegram.Answer(func(int) sinks.Reply {
		return sinks.Reply{Status: 429, Body: `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 1800","parameters":{"retry_after":1800}}`}
	})
	now := forward(t, s, "11:00")
	n := waitTried(t, s, "telegram", 3)
	if wait := n.NextAt.Sub(now).Minutes(); wait < 30 || !strings.Contains(*n.Error, "429") {
		t.Errorf("after a 429 with retry_after 1800 the next attempt is in %.1f minutes: %+v", wait, n)
	}
	told.telegram.Answer(func(int) sinks.Reply { return sinks.Reply{Status: 200, Body: "this is no JSON"} })
	forward(t, s, "12:00")
	waitTried(t, s, "telegram", 4)
	told.telegram.Answer(nil)
	forward(t, s, "13:00")
	waitState(t, s.Keywheel, "telegram", "sent")

	told.telegram.Answer(func(int) sinks.Reply {
		return sinks.Reply{Status: 400, Body: `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`}
	})
	told.mail.Refuse(sinks.Code(550, "no such user here"))
	step(t, s)
	for receiver, reason := range map[string]string{"telegram": "chat not found", "email": "no such user here"} {
		n := waitState(t, s.Keywheel, receiver, "failed")
		if n.Error == nil || !strings.Contains(*n.Error, reason) || n.Attempts != 1 {
			t.Errorf("%s: %+v", receiver, n)
		}
	}
	if n := len(told.telegram.Got()); n != 6 {
		t.Errorf("Telegram got %d messages", n)
	}
	ids := map[string]bool{}
	for _, m := range told.telegram.Got()[:5] {
		ids[m.ID] = true
	}
	if len(ids) != 1 {
		t.Errorf("what was sent again has the IDs %v", ids)
	}
	harness.AssertNoSecret(t, append(s.Secrets(), botToken), harness.Blob{Name: "the log", Data: s.Keywheel.Log()},
		harness.Blob{Name: "the notifications", Data: s.Keywheel.Page(t, "/api/v1/notifications")})
}

// forward moves the control plane's clock to a time of the day, and returns it.
func forward(t *testing.T, s *harness.Stack, clock string) time.Time {
	t.Helper()
	s.Keywheel.SetClock(t, dayTime(clock), 1)
	return dayTime(clock)
}

// waitTried waits until a receiver's newest notification was tried so often.
func waitTried(t *testing.T, s *harness.Stack, receiver string, attempts int) harness.NotificationState {
	t.Helper()
	var found harness.NotificationState
	harness.Eventually(t, fmt.Sprintf("%s is tried %d times", receiver, attempts), func() error {
		all := s.Keywheel.Notifications(t)
		i := slices.IndexFunc(all, func(n harness.NotificationState) bool { return n.Receiver == receiver })
		if i < 0 || all[i].Attempts < attempts {
			return fmt.Errorf("%+v", all)
		}
		found = all[i]
		return nil
	})
	return found
}

// Receivers that hang cost a call nothing: its time is the same as with receivers that answer at once.
func TestTrafficDoesNotWaitForReceivers(t *testing.T) {
	told := startPeople(t)
	settings := told.settings()
	drip := sinks.StartDrip(t)
	settings["SMTP_URL"] = "smtp://" + drip.Addr
	settings["KEYWHEEL_NOTIFY_ROUTES"] = "threshold=log,telegram,email"
	s := startSteps(t, 20, settings)
	told.telegram.Answer(func(int) sinks.Reply { return sinks.Reply{Hang: true} })
	const calls = 140
	step(t, s)
	waitReceived(t, "Telegram hangs", 1, told.telegram.Got)
	harness.Eventually(t, "mail drips", func() error { return drip.Reached() })
	hanging := medianCall(t, s, calls)
	if n := s.Keywheel.Notifications(t); n[len(n)-1].State != "waiting" {
		t.Errorf("the first notification is %+v", n[len(n)-1])
	}
	told.telegram.Answer(nil)
	drip.Stop()
	told.telegram.Release()
	waitState(t, s.Keywheel, "telegram", "sent")
	free := medianCall(t, s, calls)
	t.Logf("median of %d calls: %v while receivers hang, %v while they answer", calls, hanging, free)
	if hanging > 3*free {
		t.Errorf("a call takes %v while receivers hang, and %v while they answer", hanging, free)
	}
}

// medianCall makes calls, one after the other, and returns the median of their times.
func medianCall(t *testing.T, s *harness.Stack, calls int) time.Duration {
	t.Helper()
	times := make([]time.Duration, calls)
	for i := range times {
		begun := time.Now()
		step(t, s)
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[calls/2]
}

// A mail server that offers no encryption where it is required gets nothing; the same one with encryption gets all.
func TestMailNeedsTLS(t *testing.T) {
	t.Parallel()
	ca, err := testca.NewCA("a test's own")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Serve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	plain, encrypted := sinks.StartMail(t, nil), sinks.StartMail(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	s := startSteps(t, 1, map[string]string{
		"SMTP_URL": "smtp://" + plain.Addr + "?tls=required", "ALERT_EMAIL_FROM": "keywheel@example.org", "ALERT_EMAIL_TO": "a@example.org, b@example.org",
		"KEYWHEEL_NOTIFY_ROUTES": "threshold=email",
	})
	step(t, s)
	n := waitTried(t, s, "email", 1)
	if n.State != "waiting" || n.Error == nil || !strings.Contains(*n.Error, "TLS") || len(plain.Got()) != 0 {
		t.Errorf("%+v, %d letters came", n, len(plain.Got()))
	}
	s.Keywheel.Terminate(t)
	file := filepath.Join(s.Keywheel.Dir, "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Keywheel.Set("SSL_CERT_FILE", file)
	s.Keywheel.Set("SMTP_URL", "smtp://"+encrypted.Addr+"?tls=required")
	s.Keywheel.Start(t, "serve")
	letters := waitReceived(t, "the letter comes", 1, encrypted.Got)
	if l := letters[0]; l.Subject != "⚠️ WARNING: Groq Key 1 at 5%" || strings.Join(l.To, " ") != "a@example.org b@example.org" || !strings.HasPrefix(l.ID, n.MessageID) {
		t.Errorf("%+v", l)
	}
	if strings.Contains(s.Keywheel.Log(), "at 5% quota") {
		t.Error("the log says what it was not to say")
	}
}

// `keywheel notify test` says for each receiver whether it took the message.
func TestNotifyTest(t *testing.T) {
	t.Parallel()
	told := startPeople(t)
	ntfy := sinks.StartNtfy(t)
	settings := told.settings()
	settings["KEYWHEEL_NOTIFY_URLS"] = "ntfy://" + strings.TrimPrefix(ntfy.URL, "http://") + "/alerts?scheme=http"
	s := startSteps(t, 1, settings)
	stdout, stderr, exit := s.Keywheel.Output(t, "notify", "test")
	if want := "✅ telegram\n✅ email\n✅ ntfy\n"; stdout != want || exit != 0 {
		t.Errorf("exit code %d, %s%s, want\n%s", exit, stdout, stderr, want)
	}
	if got := told.telegram.Got(); len(got) != 1 || !strings.HasPrefix(got[0].Text, "🔔 Keywheel Test Message") {
		t.Errorf("Telegram got %+v", got)
	}
	if got := told.mail.Got(); len(got) != 1 || got[0].Subject != "ℹ️ Keywheel test message" {
		t.Errorf("the mailbox got %+v", got)
	}
	if got := ntfy.Got(); len(got) != 1 || !strings.Contains(got[0].Text, "Keywheel reaches you here") {
		t.Errorf("ntfy got %+v", got)
	}
	told.mail.Refuse(sinks.Code(550, "no such user here"))
	stdout, stderr, exit = s.Keywheel.Output(t, "notify", "test")
	if exit != 1 || !strings.Contains(stdout, "❌ email: ") || !strings.Contains(stdout, "no such user here") || !strings.Contains(stderr, "1 of 3 receivers") {
		t.Errorf("exit code %d, %s%s", exit, stdout, stderr)
	}
}
