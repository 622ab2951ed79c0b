package admin_test

import (
	"encoding/json"
	"testing"
	"time"

	"keywheel/xds/admin"
	"keywheel/xds/summary"
)

// storyDay is the story's, with what it has no figures for.
func storyDay() summary.Summary {
	models := []summary.Model{{Name: "llama-3.3-70b-versatile", Prompt: 10000, Completion: 4400, Cached: 64, Total: 14400}, {Name: "unknown model", Total: 10}}
	return summary.Summary{
		Window: "2025-11-18", Requests: 453, Succeeded: 449, CallerFaults: 3, Refused: 1, Failed: 2, Cut: 3, TimeMS: 538_800, Tokens: 24634, Estimated: 10,
		Rotations: 1, Rescues: 4, Limited: 6, Absorbed: 5, Alerts: []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 2}},
		Down: 90500 * time.Millisecond, Forecasts: summary.Forecasts{Hits: 1, Misses: 2, MeanOff: 12 * time.Minute},
		Keys: []summary.Key{
			{ID: "1", Label: "Primary", Requests: 144, Tokens: 14400, Limit: 14400, Models: models},
			{ID: "2", Label: "<Backup>", Requests: 306, Tokens: 1234, Limit: 14400},
			{ID: "3", Label: "Emergency", Requests: 1, Tokens: 15000, Limit: 14400},
			{ID: "4", Label: "removed", Tokens: 5},
		},
		Models:      models,
		RotationLog: []summary.Rotation{{At: afternoon, From: "1", To: "2", Reason: "exhausted"}},
		RescueLog:   []summary.Moment{{At: afternoon, N: 4}},
		DownLog:     []summary.Span{{From: afternoon, To: afternoon.Add(90500 * time.Millisecond)}},
	}
}

func TestSummary(t *testing.T) {
	const models = `[
		{"model": "llama-3.3-70b-versatile", "tokens": 14400, "prompt_tokens": 10000, "completion_tokens": 4400, "cached_tokens": 64},
		{"model": "unknown model", "tokens": 10, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0}]`
	f := newFixture(t)
	s := storyDay()
	f.account.summaries["2025-11-18"] = s
	text, err := json.Marshal(s.Text())
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, f.call(t, "GET", "/api/v1/summaries/2025-11-18", readToken, "", 200), `{
		"date": "2025-11-18", "requests": 453, "tokens": 24634, "estimated_tokens": 10, "success_rate": 99.7, "avg_response_ms": 1200,
		"rotations": 1, "rescues": 4, "limited": 6, "absorbed": 5, "refused": 1, "failed": 2, "cut": 3,
		"alerts": 3, "alert_kinds": [{"kind": "Warning", "count": 1}, {"kind": "Critical", "count": 2}], "downtime_seconds": 91,
		"forecasts": {"hits": 1, "misses": 2, "mean_off_seconds": 720},
		"keys": [
			{"id": "1", "label": "Primary", "requests": 144, "tokens": 14400, "limit_tokens": 14400, "percent": 100, "models": `+models+`},
			{"id": "2", "label": "<Backup>", "requests": 306, "tokens": 1234, "limit_tokens": 14400, "percent": 8.6, "models": []},
			{"id": "3", "label": "Emergency", "requests": 1, "tokens": 15000, "limit_tokens": 14400, "percent": 100, "models": []},
			{"id": "4", "label": "removed", "requests": 0, "tokens": 5, "limit_tokens": null, "percent": null, "models": []}],
		"models": `+models+`,
		"rotation_log": [{"at": "2025-11-18T13:00:00.123Z", "from": "1", "to": "2", "reason": "exhausted"}],
		"rescue_log": [{"at": "2025-11-18T13:00:00.123Z", "count": 4}],
		"downtime_log": [{"from": "2025-11-18T13:00:00.123Z", "to": "2025-11-18T13:01:30.623Z"}],
		"text": `+string(text)+`}`)
}

// TestSummaryOfNothing has nulls where there is nothing to divide by, and lists that are empty rather than null.
func TestSummaryOfNothing(t *testing.T) {
	f := newFixture(t)
	got := f.call(t, "GET", "/api/v1/summaries/2025-11-18", readToken, "", 200)
	var s admin.Summary
	if err := json.Unmarshal(got, &s); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal((&summary.Summary{Window: "2025-11-18"}).Text())
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, got, `{
		"date": "2025-11-18", "requests": 0, "tokens": 0, "estimated_tokens": 0, "success_rate": null, "avg_response_ms": null,
		"rotations": 0, "rescues": 0, "limited": 0, "absorbed": 0, "refused": 0, "failed": 0, "cut": 0, "alerts": 0, "alert_kinds": [],
		"downtime_seconds": 0, "forecasts": {"hits": 0, "misses": 0, "mean_off_seconds": null}, "keys": [], "models": [],
		"rotation_log": [], "rescue_log": [], "downtime_log": [], "text": `+string(text)+`}`)
}

// TestSuccessRate is 100 only if nothing failed, and has one decimal.
func TestSuccessRate(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		requests, succeeded, faults int64
		want                        string
	}{
		{3, 2, 0, "66.6"}, {1_000_000, 999_999, 0, "99.9"}, {10, 7, 3, "100"}, {10, 0, 0, "0"}, {4, 0, 4, "null"},
	} {
		f.account.summaries["2025-11-18"] = summary.Summary{Window: "2025-11-18", Requests: c.requests, Succeeded: c.succeeded, CallerFaults: c.faults}
		var got struct {
			Rate json.RawMessage `json:"success_rate"`
		}
		if err := json.Unmarshal(f.call(t, "GET", "/api/v1/summaries/2025-11-18", readToken, "", 200), &got); err != nil {
			t.Fatal(err)
		}
		if string(got.Rate) != c.want {
			t.Errorf("%+v: got %s", c, got.Rate)
		}
	}
}
