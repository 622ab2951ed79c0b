package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/admin/admintest"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/notify"
	"keywheel/xds/summary"
)

const (
	adminToken = "admin-token-0123456789"
	readToken  = "read-token-0123456789"
)

// account is a ledger that shows what it is given and remembers what was cleared.
type account struct {
	admintest.Nothing
	view          ledger.View
	events        []event.Event        // oldest first
	notifications []event.Notification // newest first
	summaries     map[string]summary.Summary
	audits        []audit.Entry // newest first
	cleared       []string
	voided        []string
	err           error
}

var _ admin.Ledger = (*account)(nil)

func (a *account) View() ledger.View { return a.view }

func (a *account) Clear(_ context.Context, keyID string, _ audit.Entry) (int64, error) {
	if a.err != nil {
		return 0, a.err
	}
	a.cleared = append(a.cleared, keyID)
	return 7, nil
}

func (a *account) Void(_ context.Context, incarnation string, by audit.Entry) error {
	if a.err == nil {
		a.voided = append(a.voided, by.Who+" "+incarnation)
	}
	return a.err
}

func (a *account) Newest(limit int) []event.Event { return a.events[max(0, len(a.events)-limit):] }

func (a *account) Events(after int64, limit int) []event.Event {
	i := slices.IndexFunc(a.events, func(e event.Event) bool { return e.ID > after })
	if i < 0 {
		return nil
	}
	return a.events[i:min(i+limit, len(a.events))]
}

func (a *account) Notifications(limit int, states ...event.State) []event.Notification {
	var out []event.Notification
	for _, n := range a.notifications {
		if len(out) < limit && (len(states) == 0 || slices.Contains(states, n.State)) {
			out = append(out, n)
		}
	}
	return out
}

func (a *account) Audits(limit int) []audit.Entry { return a.audits[:min(limit, len(a.audits))] }

func (a *account) Summary(w quota.Window) (summary.Summary, bool) {
	s, ok := a.summaries[w.String()]
	return s, ok
}

// notifier has receivers of which it is known what comes of a test. It counts the tests.
type notifier struct {
	outcome []notify.Tried
	tests   int
}

func (n *notifier) Try(context.Context) []notify.Tried {
	n.tests++
	return n.outcome
}

var afternoon = time.Date(2025, 11, 18, 14, 0, 0, 123456789, time.FixedZone("CET", 3600))

// fullView has every kind of value: limits and none, times and none, figures that need rounding or are out of range.
func fullView() ledger.View {
	window := quota.WindowAt(afternoon)
	return ledger.View{
		Now: afternoon, Window: window, ResetsAt: window.End(), Health: 94.96,
		Pool: ledger.PoolView{
			Used: 22900, Limit: 28800, Remaining: 5900, Requests: 400, Succeeded: 399, Refused: 1, Rotations: 1, Rescues: 2, KeyInUse: "2",
			Downtime: 90500 * time.Millisecond, ExhaustedAt: afternoon.Add(2 * time.Hour),
		},
		Keys: []ledger.KeyView{
			{
				KeyConfig: ledger.KeyConfig{ID: "1", Label: "Primary", Priority: 1, Org: "org-1", Tier: "free", LimitTokens: 14400, LimitRequests: 1000},
				Status:    quota.Exhausted, Used: 14500, Remaining: 0, Percent: 100.7, Requests: 144, Health: 100, Score: 59.97,
				CoolingUntil: afternoon.Add(time.Minute),
			},
			{
				KeyConfig: ledger.KeyConfig{ID: "2", Label: "<Backup>", Priority: 2, Rank: 1, Org: "org-2", Tier: "paid", LimitTokens: 14400,
					Models: []string{"openai/gpt-oss-120b"}, Thresholds: []int{50, 90}},
				Status: quota.Active, InUse: true, Used: 8500, Remaining: 5900, Percent: 59.03, Requests: 256, Health: 99.949, Score: 61.2,
				ExhaustedAt: afternoon.Add(time.Hour),
			},
			{
				KeyConfig: ledger.KeyConfig{ID: "3", Label: "Emergency", Priority: 3, Rank: 2, Org: "org-3", Tier: "free", Disabled: true},
				Status:    quota.Standby, Used: 5, Remaining: -1, Requests: 1, Health: 100, Score: 70,
			},
		},
		Proxies: []ledger.ProxyView{
			{Incarnation: "0198", Node: "edge", Version: "1.40.0", Connected: true, Generation: 3, Config: 2, Reports: 9, SkewMS: -4, FirstReport: afternoon, LastReport: afternoon},
			{Incarnation: "0197", Node: "sidecar", Connected: true, Generation: 3, Config: 3, Reports: 1, GateOnly: true, FirstReport: afternoon, LastReport: afternoon},
			{Incarnation: "0199", Node: "edge", Rejected: 1, LastError: "no such module"},
		},
	}
}

// fixture is an API over an account, with tokens, and the document that it serves.
type fixture struct {
	account  *account
	keys     *admintest.Keys
	notifier *notifier
	options  admin.Options
	handler  http.Handler
	doc      openAPI
	now      time.Time // as the clock was last set
	speed    float64
	missing  []string
	vault    vault
}

func newFixture(t testing.TB, changes ...func(*admin.Options)) *fixture {
	t.Helper()
	f := &fixture{
		account:  &account{view: fullView(), summaries: map[string]summary.Summary{"2025-11-18": {Window: "2025-11-18"}}},
		notifier: &notifier{}, speed: -1,
	}
	f.keys = newKeys(t, false, func() error { return f.account.err })
	f.options = admin.Options{
		Ledger: f.account, Roster: f.keys, Notifier: f.notifier, Vault: &f.vault, Token: secret.New(adminToken), ReadToken: secret.New(readToken), Version: "1.2.3",
		Missing: func() []string { return f.missing },
		SetClock: func(_ context.Context, now time.Time, speed float64) error {
			f.now, f.speed = now, speed
			return f.account.err
		},
	}
	for _, change := range changes {
		change(&f.options)
	}
	f.handler = admin.New(f.options)
	answer := f.do("GET", "/api/openapi.json", adminToken, "")
	if err := json.Unmarshal(answer.Body.Bytes(), &f.doc); err != nil {
		t.Fatalf("the document: %v", err)
	}
	return f
}

func (f *fixture) do(method, path, token, body string) *httptest.ResponseRecorder {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, content)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

// call does a request, wants its status, checks the answer against the document and returns its body.
func (f *fixture) call(t *testing.T, method, path, token, body string, status int) []byte {
	t.Helper()
	w := f.do(method, path, token, body)
	if w.Code != status {
		t.Fatalf("%s %s: got %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	f.doc.check(t, method, path, status, w.Header().Get("Content-Type"), w.Body.Bytes())
	return w.Body.Bytes()
}

func wantJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPool(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/pool", readToken, "", 200), `{
		"used": 22900, "limit": 28800, "remaining": 5900, "percent": 79.5, "health": 95, "key_in_use": "2",
		"window": "2025-11-18", "now": "2025-11-18T13:00:00.123Z", "resets_at": "2025-11-19T00:00:00Z", "forecast": "2025-11-18T15:00:00.123Z",
		"requests": 400, "succeeded": 399, "refused": 1, "rotations": 1, "rescues": 2, "all_out": false, "downtime_seconds": 91}`)

	f.account.view.Pool = ledger.PoolView{Used: 5, Remaining: -1, AllOut: true}
	wantJSON(t, f.call(t, "GET", "/api/v1/pool", readToken, "", 200), `{
		"used": 5, "limit": null, "remaining": null, "percent": null, "health": 95, "key_in_use": null,
		"window": "2025-11-18", "now": "2025-11-18T13:00:00.123Z", "resets_at": "2025-11-19T00:00:00Z", "forecast": null,
		"requests": 0, "succeeded": 0, "refused": 0, "rotations": 0, "rescues": 0, "all_out": true, "downtime_seconds": 0}`)
}

const wantKey1 = `{"id": "1", "label": "Primary", "provider": "groq", "priority": 1, "rank": 1, "tier": "free", "org": "org-1",
	"status": "exhausted", "active": false, "used_tokens": 14500, "estimated_tokens": 0, "limit_tokens": 14400, "remaining_tokens": 0, "percent": 100,
	"limit_requests": 1000, "requests": 144, "health": 100, "score": 60, "cost_usd": null, "resets_at": "2025-11-19T00:00:00Z",
	"forecast_exhausted_at": null, "cooling_until": "2025-11-18T13:01:00.123Z",
	"disabled": false, "models": [], "thresholds": [], "source": "environment", "changed": []}`

const wantKey2 = `{"id": "2", "label": "<Backup>", "provider": "groq", "priority": 2, "rank": 2, "tier": "paid", "org": "org-2",
	"status": "active", "active": true, "used_tokens": 8500, "estimated_tokens": 0, "limit_tokens": 14400, "remaining_tokens": 5900, "percent": 59,
	"limit_requests": null, "requests": 256, "health": 99.9, "score": 61.2, "cost_usd": null, "resets_at": "2025-11-19T00:00:00Z",
	"forecast_exhausted_at": "2025-11-18T14:00:00.123Z", "cooling_until": null,
	"disabled": false, "models": ["openai/gpt-oss-120b"], "thresholds": [50, 90], "source": "file", "changed": []}`

const wantKey3 = `{"id": "3", "label": "Emergency", "provider": "groq", "priority": 3, "rank": 3, "tier": "free", "org": "org-3",
	"status": "standby", "active": false, "used_tokens": 5, "estimated_tokens": 0, "limit_tokens": null, "remaining_tokens": null, "percent": null,
	"limit_requests": null, "requests": 1, "health": 100, "score": 70, "cost_usd": null, "resets_at": "2025-11-19T00:00:00Z",
	"forecast_exhausted_at": null, "cooling_until": null,
	"disabled": true, "models": [], "thresholds": [], "source": "environment", "changed": []}`

func TestKeys(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/keys", readToken, "", 200), "["+wantKey1+","+wantKey2+","+wantKey3+"]")
	wantJSON(t, f.call(t, "GET", "/api/v1/keys/2", readToken, "", 200), wantKey2)
	f.call(t, "GET", "/api/v1/keys/9", readToken, "", 404)

	f.account.view.Keys = nil
	wantJSON(t, f.call(t, "GET", "/api/v1/keys", readToken, "", 200), `[]`)
}

func TestProxies(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/proxies", readToken, "", 200), `[
		{"incarnation": "0198", "node": "edge", "version": "1.40.0", "connected": true, "generation": 3, "config": 2, "rejected": 0, "last_error": null,
		 "first_report": "2025-11-18T13:00:00.123Z", "last_report": "2025-11-18T13:00:00.123Z", "reports": 9, "skew_ms": -4, "voided": false, "last_refused": null, "quarantined_tokens": 0, "panics": 0, "mode": "gate_and_attempt"},
		{"incarnation": "0197", "node": "sidecar", "version": null, "connected": true, "generation": 3, "config": 3, "rejected": 0, "last_error": null,
		 "first_report": "2025-11-18T13:00:00.123Z", "last_report": "2025-11-18T13:00:00.123Z", "reports": 1, "skew_ms": 0, "voided": false, "last_refused": null, "quarantined_tokens": 0, "panics": 0, "mode": "gate_only"},
		{"incarnation": "0199", "node": "edge", "version": null, "connected": false, "generation": 0, "config": 0, "rejected": 1, "last_error": "no such module",
		 "first_report": null, "last_report": null, "reports": 0, "skew_ms": 0, "voided": false, "last_refused": null, "quarantined_tokens": 0, "panics": 0, "mode": null}]`)

	f.account.view.Proxies = []ledger.ProxyView{{Incarnation: "0196", Node: "edge", Voided: true, RefusedAt: afternoon, Quarantined: 12, Panics: 3}}
	wantJSON(t, f.call(t, "GET", "/api/v1/proxies", readToken, "", 200), `[
		{"incarnation": "0196", "node": "edge", "version": null, "connected": false, "generation": 0, "config": 0, "rejected": 0, "last_error": null,
		 "first_report": null, "last_report": null, "reports": 0, "skew_ms": 0, "voided": true, "last_refused": "2025-11-18T13:00:00.123Z",
		 "quarantined_tokens": 12, "panics": 3, "mode": null}]`)

	f.account.view.Proxies = nil
	wantJSON(t, f.call(t, "GET", "/api/v1/proxies", readToken, "", 200), `[]`)
}

func TestClear(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "POST", "/api/v1/keys/2/clear", adminToken, "", 202), `{"generation": 7}`)
	f.call(t, "POST", "/api/v1/keys/9/clear", adminToken, "", 404)
	f.call(t, "POST", "/api/v1/keys/"+strings.Repeat("9", 65)+"/clear", adminToken, "", 422)
	f.account.err = errors.New("disk full at /secret/place")
	if body := f.call(t, "POST", "/api/v1/keys/2/clear", adminToken, "", 503); strings.Contains(string(body), "disk") {
		t.Errorf("the answer tells of the machine: %s", body)
	}
	if diff := cmp.Diff([]string{"2"}, f.account.cleared); diff != "" {
		t.Errorf("cleared: %s", diff)
	}
}

func TestClock(t *testing.T) {
	f := newFixture(t)
	const path = "/api/v1/clock"
	wantJSON(t, f.call(t, "PUT", path, adminToken, `{"now": "2025-11-18T09:00:00+01:00", "speed": 0}`, 200), `{"now": "2025-11-18T08:00:00Z", "speed": 0}`)
	if want := time.Date(2025, 11, 18, 8, 0, 0, 0, time.UTC); !f.now.Equal(want) || f.speed != 0 {
		t.Errorf("set to %v at %v", f.now, f.speed)
	}
	wantJSON(t, f.call(t, "PUT", path, adminToken, `{"now": "2025-11-18T08:00:00Z"}`, 200), `{"now": "2025-11-18T08:00:00Z", "speed": 1}`)
	for body, status := range map[string]int{
		`{"speed": 1}`: 422,
		`{"now": "2025-11-18T08:00:00Z", "speed": -1}`: 422,
		`{"now": "2025-11-18T08:00:00Z", "sped": 2}`:   422,
		`{"now": "1025-11-18T08:00:00Z"}`:              422,
		`{"now": "tomorrow"}`:                          422,
		`{"now": `:                                     400,
		`{"now": "2025-11-18T08:00:00Z", "a": "` + strings.Repeat("a", 70_000) + `"}`: 413,
	} {
		f.call(t, "PUT", path, adminToken, body, status)
	}
	f.account.err = errors.New("no")
	f.call(t, "PUT", path, adminToken, `{"now": "2025-11-18T08:00:00Z"}`, 503)
}

func TestNoClockWhereTimeIsReal(t *testing.T) {
	f := &fixture{handler: admin.New(admin.Options{Ledger: &account{}, Token: secret.New(adminToken)})}
	if w := f.do("PUT", "/api/v1/clock", adminToken, `{"now": "2025-11-18T08:00:00Z"}`); w.Code != 404 {
		t.Errorf("got %d, want 404", w.Code)
	}
	if w := f.do("GET", "/api/openapi.json", adminToken, ""); strings.Contains(w.Body.String(), "/clock") {
		t.Error("the document has a clock")
	}
}

func TestErrorsRepeatNothing(t *testing.T) {
	f := newFixture(t)
	const planted = "gsk_planted_0123456789"
	for _, body := range []string{
		`{"now": "` + planted + `"}`,
		`{"now": "2025-11-18T08:00:00Z", "speed": "` + planted + `"}`,
		`{"now": "2025-11-18T08:00:00Z", "secret": "` + planted + `"}`,
		`"` + planted + `"`,
	} {
		w := f.do("PUT", "/api/v1/clock", adminToken, body)
		if w.Code < 400 || strings.Contains(w.Body.String(), planted) {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
}
