package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/shared/quota"
	"keywheel/xds/summary"
)

// Summary is what a day came to, over or not.
type Summary struct {
	Date            string        `json:"date" format:"date" doc:"The day, in UTC."`
	Requests        int64         `json:"requests" minimum:"0" doc:"Client calls that ended."`
	Tokens          int64         `json:"tokens" minimum:"0"`
	EstimatedTokens int64         `json:"estimated_tokens" minimum:"0" doc:"The part of tokens that no answer stated."`
	SuccessRate     *float64      `json:"success_rate" minimum:"0" maximum:"100" doc:"Successes out of all that were not the caller's fault, rounded down; null without any."`
	AvgResponseMS   *int64        `json:"avg_response_ms" minimum:"0" doc:"Headers in to last byte out, mean of the successes; null without any."`
	Rotations       int64         `json:"rotations" minimum:"0"`
	Rescues         int64         `json:"rescues" minimum:"0" doc:"Calls inside which another key took over."`
	Limited         int64         `json:"limited" minimum:"0" doc:"429s of Groq's."`
	Absorbed        int64         `json:"absorbed" minimum:"0" doc:"Of them, those that no client saw."`
	Refused         int64         `json:"refused" minimum:"0" doc:"Calls refused because no key was left."`
	Failed          int64         `json:"failed" minimum:"0" doc:"5xx and 429 that reached the client."`
	Cut             int64         `json:"cut" minimum:"0" doc:"Answers that ended before their last byte."`
	Alerts          int64         `json:"alerts" minimum:"0" doc:"Events of level warning and above, forecasts aside."`
	AlertKinds      []Count       `json:"alert_kinds" nullable:"false"`
	DowntimeSeconds int64         `json:"downtime_seconds" minimum:"0" doc:"Time in which requests came and no key could serve them."`
	Forecasts       ForecastScore `json:"forecasts"`
	Keys            []KeySummary  `json:"keys" nullable:"false"`
	Models          []ModelUsage  `json:"models" nullable:"false"`
	RotationLog     []Rotation    `json:"rotation_log" nullable:"false" doc:"The newest hundred, as of the next two."`
	RescueLog       []Moment      `json:"rescue_log" nullable:"false"`
	DowntimeLog     []Span        `json:"downtime_log" nullable:"false"`
	Text            string        `json:"text" doc:"The summary as people read it."`
}

// Count is how often something happened.
type Count struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count" minimum:"1"`
}

// ForecastScore is how the day's forecasts came out.
type ForecastScore struct {
	Hits           int    `json:"hits" minimum:"0" doc:"What was to run out did."`
	Misses         int    `json:"misses" minimum:"0" doc:"It did not, by the end of the day."`
	MeanOffSeconds *int64 `json:"mean_off_seconds" minimum:"0" doc:"Between the forecast time and the true one, of the hits; null without any."`
}

// KeySummary is what one key did.
type KeySummary struct {
	ID          string       `json:"id"`
	Label       string       `json:"label"`
	Requests    int64        `json:"requests" minimum:"0"`
	Tokens      int64        `json:"tokens" minimum:"0"`
	LimitTokens *int64       `json:"limit_tokens" minimum:"1" doc:"Null if there is no limit."`
	Percent     *float64     `json:"percent" minimum:"0" maximum:"100" doc:"Null if there is no limit."`
	Models      []ModelUsage `json:"models" nullable:"false"`
}

// ModelUsage is what one model took.
type ModelUsage struct {
	Model            string `json:"model"`
	Tokens           int64  `json:"tokens" minimum:"0"`
	PromptTokens     int64  `json:"prompt_tokens" minimum:"0"`
	CompletionTokens int64  `json:"completion_tokens" minimum:"0"`
	CachedTokens     int64  `json:"cached_tokens" minimum:"0" doc:"Inside prompt_tokens."`
}

// Rotation is that a key left because it could not serve, and another took over.
type Rotation struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// Moment is how many calls were rescued in a minute.
type Moment struct {
	At    time.Time `json:"at"`
	Count int64     `json:"count" minimum:"1"`
}

// Span is a time in which no key could serve.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

type summaryInput struct {
	Date string `path:"date" format:"date" doc:"The day, in UTC." example:"2025-11-18"`
}

type summaryOutput struct{ Body Summary }

func (a *api) registerSummaries() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "get-summary", Method: http.MethodGet, Path: "/api/v1/summaries/{date}", Tags: []string{tagEvents},
		Summary: "What a day came to",
	}, http.StatusNotFound, http.StatusUnprocessableEntity), a.getSummary)
}

func (a *api) getSummary(_ context.Context, in *summaryInput) (*summaryOutput, error) {
	w, err := quota.ParseWindow(in.Date)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("The date must be one such as 2025-11-18.")
	}
	s, ok := a.Ledger.Summary(w)
	if !ok {
		return nil, huma.Error404NotFound("Nothing is known of this day: nothing was counted in it, or it is older than KEYWHEEL_HISTORY_DAYS keeps.")
	}
	return &summaryOutput{Body: summaryOf(&s)}, nil
}

func summaryOf(s *summary.Summary) Summary {
	out := Summary{
		Date: s.Window, Requests: s.Requests, Tokens: s.Tokens, EstimatedTokens: s.Estimated, Rotations: s.Rotations, Rescues: s.Rescues,
		Limited: s.Limited, Absorbed: s.Absorbed, Refused: s.Refused, Failed: s.Failed, Cut: s.Cut, Alerts: s.AlertCount(),
		AlertKinds: []Count{}, DowntimeSeconds: seconds(s.Down), Forecasts: ForecastScore{Hits: s.Forecasts.Hits, Misses: s.Forecasts.Misses},
		Keys: []KeySummary{}, Models: modelsOf(s.Models), RotationLog: []Rotation{}, RescueLog: []Moment{}, DowntimeLog: []Span{}, Text: s.Text(),
	}
	if rate, ok := s.SuccessRate(); ok {
		out.SuccessRate = &rate
	}
	if mean, ok := s.AvgResponse(); ok {
		ms := mean.Round(time.Millisecond).Milliseconds()
		out.AvgResponseMS = &ms
	}
	if s.Forecasts.Hits > 0 {
		off := seconds(s.Forecasts.MeanOff)
		out.Forecasts.MeanOffSeconds = &off
	}
	for _, c := range s.Alerts {
		out.AlertKinds = append(out.AlertKinds, Count{c.What, c.N})
	}
	for _, k := range s.Keys {
		key := KeySummary{ID: k.ID, Label: k.Label, Requests: k.Requests, Tokens: k.Tokens, LimitTokens: limit(k.Limit), Models: modelsOf(k.Models)}
		if k.Limit > 0 {
			p := percent(quota.Percent(k.Tokens, k.Limit))
			key.Percent = &p
		}
		out.Keys = append(out.Keys, key)
	}
	for _, r := range s.RotationLog {
		out.RotationLog = append(out.RotationLog, Rotation{utc(r.At), r.From, r.To, r.Reason})
	}
	for _, m := range s.RescueLog {
		out.RescueLog = append(out.RescueLog, Moment{utc(m.At), m.N})
	}
	for _, d := range s.DownLog {
		out.DowntimeLog = append(out.DowntimeLog, Span{utc(d.From), utc(d.To)})
	}
	return out
}

func modelsOf(models []summary.Model) []ModelUsage {
	out := []ModelUsage{}
	for _, m := range models {
		out = append(out, ModelUsage{m.Name, m.Total, m.Prompt, m.Completion, m.Cached})
	}
	return out
}

// seconds is a time in whole seconds, rounded half up.
func seconds(d time.Duration) int64 { return int64(d.Round(time.Second) / time.Second) }
