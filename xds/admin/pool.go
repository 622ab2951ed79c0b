package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/shared/quota"
	"keywheel/xds/ledger"
)

// Pool is all keys together, in the current window.
type Pool struct {
	Used      int64      `json:"used" minimum:"0" doc:"Tokens spent in the window."`
	Limit     *int64     `json:"limit" minimum:"1" doc:"Tokens a day of all keys; null if some key has no limit."`
	Remaining *int64     `json:"remaining" minimum:"0" doc:"Tokens left of the limit; null if some key has no limit."`
	Percent   *float64   `json:"percent" minimum:"0" maximum:"100" doc:"Used of the limit, one decimal; null without a limit."`
	Health    float64    `json:"health" minimum:"0" maximum:"100" doc:"Success rate of the last 15 minutes less 5 for each key out of service."`
	KeyInUse  *string    `json:"key_in_use" doc:"ID of the key that takes requests now; null before the first."`
	Window    string     `json:"window" format:"date" doc:"The day that is counted, in UTC."`
	Now       time.Time  `json:"now" doc:"Keywheel's time when this was written."`
	ResetsAt  time.Time  `json:"resets_at" doc:"When the window ends and every key is at 0."`
	Forecast  *time.Time `json:"forecast" doc:"When the pool runs out at the current rate; null if unknown or not before the reset."`
	Requests  int64      `json:"requests" minimum:"0" doc:"Client calls that ended in the window."`
	Succeeded int64      `json:"succeeded" minimum:"0" doc:"Of them: answered, not 5xx, not 429, not cut off."`
	Refused   int64      `json:"refused" minimum:"0" doc:"Of them: refused because no key was left."`
	Rotations int64      `json:"rotations" minimum:"0" doc:"Times a key left because it could not serve and another took over."`
	Rescues   int64      `json:"rescues" minimum:"0" doc:"Calls inside which another key took over."`
	AllOut    bool       `json:"all_out" doc:"Calls are refused because no key can serve."`

	DowntimeSeconds int64 `json:"downtime_seconds" minimum:"0" doc:"Time in the window in which requests came and no key could serve them."`
}

type poolOutput struct{ Body Pool }

func (a *api) registerPool() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "get-pool", Method: http.MethodGet, Path: "/api/v1/pool", Tags: []string{tagAccount},
		Summary: "All keys together",
	}), func(context.Context, *struct{}) (*poolOutput, error) {
		return &poolOutput{Body: poolOf(a.Ledger.View())}, nil
	})
}

func poolOf(v ledger.View) Pool {
	p := v.Pool
	pool := Pool{
		Used:      p.Used,
		Limit:     limit(p.Limit),
		Remaining: remaining(p.Remaining, p.Limit),
		Health:    percent(v.Health),
		KeyInUse:  text(p.KeyInUse),
		Window:    v.Window.String(),
		Now:       utc(v.Now),
		ResetsAt:  utc(v.ResetsAt),
		Requests:  p.Requests,
		Succeeded: p.Succeeded,
		Refused:   p.Refused,
		Rotations: p.Rotations,
		Rescues:   p.Rescues,
		AllOut:    p.AllOut,
		Forecast:  instant(p.ExhaustedAt),

		DowntimeSeconds: seconds(p.Downtime),
	}
	if pool.Limit != nil {
		used := percent(quota.Percent(p.Used, p.Limit))
		pool.Percent = &used
	}
	return pool
}
