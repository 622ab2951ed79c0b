package admin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
	"keywheel/xds/event"
	"keywheel/xds/notify"
	"keywheel/xds/summary"
)

// crossing is the story's at 75 %.
func crossing() event.Event {
	return event.Event{
		ID: 7, At: afternoon, Kind: event.Threshold, Level: event.Warning, Key: "1", Label: "Mine", Keys: 3, Window: "2025-11-18",
		Percent: 75, Used: 10800, Limit: 14400, Remaining: 3600, Unit: event.Tokens,
	}
}

func TestEvents(t *testing.T) {
	const nothing = `"key": null, "percent": null, "used": null, "limit": null, "remaining": null, "unit": null, "from": null, "to": null,
		"reason": null, "code": null, "node": null, "detail": null, "by": null, "until": null, "rate": null`
	for _, c := range []struct {
		name  string
		event event.Event
		want  string // what stands beside what every event has, over nothing
	}{
		{"threshold", crossing(), `{"key": "1", "percent": 75, "used": 10800, "limit": 14400, "remaining": 3600, "unit": "tokens"}`},
		{
			"threshold of requests, nothing left",
			event.Event{Kind: event.Threshold, Level: event.Critical, Key: "1", Percent: 100, Used: 20, Limit: 20, Unit: event.Requests},
			`{"key": "1", "percent": 100, "used": 20, "limit": 20, "remaining": 0, "unit": "requests"}`,
		},
		{
			"rotated", event.Event{Kind: event.Rotated, Level: event.Info, Key: "2", From: "1", To: "2", Reason: "exhausted"},
			`{"key": "2", "from": "1", "to": "2", "reason": "exhausted"}`,
		},
		{
			"cooling",
			event.Event{Kind: event.KeyCooling, Level: event.Info, Key: "1", Reason: "cooling", Code: "rate_limit_exceeded", Detail: "m", Until: afternoon.Add(time.Hour)},
			`{"key": "1", "reason": "cooling", "code": "rate_limit_exceeded", "detail": "m", "until": "2025-11-18T14:00:00.123Z"}`,
		},
		{
			"forecast of all", event.Event{Kind: event.PoolForecast, Level: event.Critical, Used: 30, Limit: 43200, Remaining: 43170, Unit: event.Tokens, Rate: 1200, Until: afternoon},
			`{"used": 30, "limit": 43200, "remaining": 43170, "unit": "tokens", "rate": 1200, "until": "2025-11-18T13:00:00.123Z"}`,
		},
		{"impossible usage", event.Event{Kind: event.Quarantined, Level: event.Warning, Key: "1", Used: 99, Node: "edge"}, `{"key": "1", "used": 99, "node": "edge"}`},
		{
			"voided", event.Event{Kind: event.Voided, Level: event.Warning, Used: 99, Node: "edge", Detail: "019a", By: "admin"},
			`{"used": 99, "node": "edge", "detail": "019a", "by": "admin"}`,
		},
		{"restored", event.Event{Kind: event.Restored, Level: event.Warning, By: "page"}, `{"by": "page"}`},
		{"summary, whose title says its detail", event.Event{Kind: event.Summary, Level: event.Info, Detail: "📊 Daily Summary (2025-11-17)", Text: "long"}, `{}`},
		{"new day", event.Event{Kind: event.Reset, Level: event.Info}, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			e := c.event
			e.ID, e.At, e.Window = 7, afternoon, "2025-11-18"
			f.account.events = []event.Event{e}
			want := map[string]any{}
			for _, part := range []string{"{" + nothing + "}", c.want} {
				if err := json.Unmarshal([]byte(part), &want); err != nil {
					t.Fatal(err)
				}
			}
			want["id"], want["at"], want["window"] = "7", "2025-11-18T13:00:00.123Z", "2025-11-18"
			want["kind"], want["level"], want["title"] = string(e.Kind), string(e.Level), notify.Headline(&e)
			var got []map[string]any
			if err := json.Unmarshal(f.call(t, "GET", "/api/v1/events", readToken, "", 200), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]map[string]any{want}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTitleOfAnEvent(t *testing.T) {
	f := newFixture(t)
	f.account.events = []event.Event{crossing()}
	if got := f.events(t, "")[0].Title; got != "⚠️ WARNING: Groq Key 1 at 75%" {
		t.Errorf("got %q", got)
	}
}

// events asks for events with a query.
func (f *fixture) events(t *testing.T, query string) []admin.Event {
	t.Helper()
	var got []admin.Event
	if err := json.Unmarshal(f.call(t, "GET", "/api/v1/events"+query, readToken, "", 200), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWhichEvents(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/events", readToken, "", 200), `[]`)
	for i := range 1005 {
		f.account.events = append(f.account.events, event.Event{ID: int64(i + 1), Kind: event.Reset, Level: event.Info, Window: "2025-11-18"})
	}
	for query, want := range map[string]string{
		"":                           "906…1005",
		"?limit=":                    "906…1005",
		"?after=&limit=3":            "1003…1005",
		"?limit=1000":                "6…1005",
		"?limit=1":                   "1005…1005",
		"?after=0":                   "1…100",
		"?after=0&limit=2":           "1…2",
		"?after=0003&limit=2":        "4…5",
		"?after=1003":                "1004…1005",
		"?after=1005":                "none",
		"?after=9223372036854775807": "none",
	} {
		got := "none"
		if events := f.events(t, query); len(events) > 0 {
			got = events[0].ID + "…" + events[len(events)-1].ID
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestBadQueries wants an answer that says which value is wrong and how, without the value.
func TestBadQueries(t *testing.T) {
	f := newFixture(t)
	for target, want := range map[string]string{
		"/api/v1/events?limit=0":                       "query.limit: expected number >= 1",
		"/api/v1/events?limit=-987654":                 "query.limit: expected number >= 1",
		"/api/v1/events?limit=1001":                    "query.limit: expected number <= 1000",
		"/api/v1/events?limit=planted":                 "query.limit: invalid integer",
		"/api/v1/events?limit=1.5":                     "query.limit: invalid integer",
		"/api/v1/events?limit=987654321098765432109":   "query.limit: invalid integer",
		"/api/v1/events?after=planted":                 "query.after: expected string to be an event's ID",
		"/api/v1/events?after=-987654":                 "query.after: expected string to be an event's ID",
		"/api/v1/events?after=98765432109876543210":    "query.after: expected length <= 19",
		"/api/v1/events?after=9876543210987654321":     "after: it is too large; write the ID of an event, as GET /api/v1/events shows it.",
		"/api/v1/notifications?limit=0":                "query.limit: expected number >= 1",
		"/api/v1/notifications?limit=1001":             "query.limit: expected number <= 1000",
		"/api/v1/notifications?limit=planted":          "query.limit: invalid integer",
		"/api/v1/notifications?state=planted":          `query.state: expected value to be one of "waiting, sent, failed"`,
		"/api/v1/notifications?state=SENT":             `query.state: expected value to be one of "waiting, sent, failed"`,
		"/api/v1/notifications?state=sent,planted":     `query.state: expected value to be one of "waiting, sent, failed"`,
		"/api/v1/summaries/planted":                    "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/2025-02-29":                 "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/2025-11-18T00:00:00Z":       "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/2025-9-8":                   "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/%1b%5b31m2025-11-18":        "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/2025-11-18%0a":              "path.date: expected string to be RFC 3339 date",
		"/api/v1/summaries/" + strings.Repeat("9", 64): "path.date: expected string to be RFC 3339 date",
	} {
		body := f.call(t, "GET", target, readToken, "", 422)
		var problem struct {
			Detail string
			Errors []struct{ Location, Message string }
		}
		if err := json.Unmarshal(body, &problem); err != nil {
			t.Fatal(err)
		}
		got := problem.Detail
		if len(problem.Errors) > 0 {
			got = problem.Errors[0].Location + ": " + problem.Errors[0].Message
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
		for _, sent := range []string{"planted", "98765", "999", "[31m"} {
			if strings.Contains(string(body), sent) {
				t.Errorf("%s: the answer repeats what was sent: %s", target, body)
			}
		}
	}
}

// TestEveryKindIsShown holds the document to the words of the account: it names every level, and the title is one line
// whatever the event's kind.
func TestEveryKindIsShown(t *testing.T) {
	f := newFixture(t)
	for _, kind := range event.Kinds() {
		for _, level := range event.Levels() {
			e := crossing()
			e.Kind, e.Level, e.From, e.To, e.Detail = kind, level, "1", "2", "what it is about"
			f.account.events = append(f.account.events, e)
		}
	}
	for _, e := range f.events(t, "") {
		if e.Title == "" || strings.ContainsFunc(e.Title, unicode.IsControl) {
			t.Errorf("%s: the title is %q", e.Kind, e.Title)
		}
	}
}

// TestHostileTexts sends what Groq, an Envoy or a mail server may have made up through every field that holds foreign
// text.
func TestHostileTexts(t *testing.T) {
	for _, text := range []string{
		"a\r\nBcc: b@example.org", "\x00\x1b[2J\x07\x7f\u0085", "\u202eright to left\u202c\u2028\u2029", "<script>alert(1)</script>&'\"\\", "broken \xff\xfe bytes",
		"{\"id\": \"8\"}", strings.Repeat("long", 2_000), "📊 …",
	} {
		f := newFixture(t)
		for _, kind := range event.Kinds() {
			f.account.events = append(f.account.events, event.Event{
				ID: 1, At: afternoon, Kind: kind, Level: event.Warning, Window: "2025-11-18", Key: text, Label: text, From: text, To: text, Reason: text,
				Code: text, Node: text, Detail: text, By: text, Text: text, Unit: text,
			})
		}
		for _, e := range f.events(t, "") {
			wantLine(t, e.Kind, e.Title)
			if got, want := *e.Reason, string([]rune(text)); got != want {
				t.Errorf("%s: the reason came as %q, want %q", e.Kind, got, want)
			}
		}

		f.account.notifications = []event.Notification{{ID: "n", Receiver: text, Message: text, State: event.Failed, Error: text, Event: f.account.events[0]}}
		var told []admin.Notification
		if err := json.Unmarshal(f.call(t, "GET", "/api/v1/notifications", readToken, "", 200), &told); err != nil || len(told) != 1 {
			t.Fatalf("%d notifications, %v", len(told), err)
		}
		wantLine(t, "notification", told[0].Title)

		f.notifier.outcome = []notify.Tried{{Receiver: text, Failure: text}}
		f.call(t, "POST", "/api/v1/notifications/test", adminToken, "", 200)

		models := []summary.Model{{Name: text}}
		f.account.summaries["2025-11-18"] = summary.Summary{
			Window: "2025-11-18", Keys: []summary.Key{{ID: text, Label: text, Models: models}}, Models: models, Alerts: []summary.Count{{What: text, N: 1}},
			RotationLog: []summary.Rotation{{At: afternoon, From: text, To: text, Reason: text}},
		}
		f.call(t, "GET", "/api/v1/summaries/2025-11-18", readToken, "", 200)

		f.account.view.Keys[0].Label, f.account.view.Proxies[0].Node, f.account.view.Proxies[0].LastError = text, text, text
		f.call(t, "GET", "/api/v1/keys", readToken, "", 200)
		f.call(t, "GET", "/api/v1/proxies", readToken, "", 200)
	}
}

// wantLine wants a title that stays within its line and turns nothing around.
func wantLine(t *testing.T, of, title string) {
	t.Helper()
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
	}
	if title == "" && of != string(event.Summary) || strings.ContainsFunc(title, bad) || len(title) > 2000 {
		t.Errorf("%s: the title is %q", of, title)
	}
}

func TestUnknownDay(t *testing.T) {
	f := newFixture(t)
	for _, date := range []string{"2025-11-17", "2025-11-19", "0000-01-01", "9999-12-31"} {
		if w, err := quota.ParseWindow(date); err != nil || w.String() != date {
			t.Fatalf("%s is no window", date)
		}
		body := f.call(t, "GET", "/api/v1/summaries/"+date, readToken, "", 404)
		if !strings.Contains(string(body), "KEYWHEEL_HISTORY_DAYS") {
			t.Errorf("%s: the answer does not say why: %s", date, body)
		}
	}
}
