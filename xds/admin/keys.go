package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/xds/ledger"
	"keywheel/xds/roster"
)

// provider is whose keys these are; there is one so far.
const provider = "groq"

// Key is one key, in the current window.
type Key struct {
	ID                  string     `json:"id"`
	Label               string     `json:"label" doc:"The name that people gave it, or Primary, Backup, Emergency by rank."`
	Provider            string     `json:"provider" enum:"groq"`
	Priority            int        `json:"priority" doc:"Lower goes first."`
	Rank                int        `json:"rank" minimum:"1" doc:"Place in the order of priority, then ID; 1 is the first."`
	Tier                string     `json:"tier" enum:"free,paid"`
	Org                 string     `json:"org" doc:"The organization whose limits the key shares."`
	Status              string     `json:"status" enum:"disabled,invalid,exhausted,cooling,critical,warning,active,standby" doc:"The first that applies, in this order."`
	Active              bool       `json:"active" doc:"Whether it is the key in use."`
	UsedTokens          int64      `json:"used_tokens" minimum:"0"`
	EstimatedTokens     int64      `json:"estimated_tokens" minimum:"0" doc:"The part of used_tokens that no answer stated: streams that were cut, tries that got no answer."`
	LimitTokens         *int64     `json:"limit_tokens" minimum:"1" doc:"A day; null if there is no limit."`
	RemainingTokens     *int64     `json:"remaining_tokens" minimum:"0" doc:"Null if there is no limit."`
	Percent             *float64   `json:"percent" minimum:"0" maximum:"100" doc:"Tokens used of the limit, one decimal; null if there is no limit."`
	LimitRequests       *int64     `json:"limit_requests" minimum:"1" doc:"A day; null if there is no limit."`
	Requests            int64      `json:"requests" minimum:"0" doc:"Charged attempts."`
	Health              float64    `json:"health" minimum:"0" maximum:"100" doc:"Successes of the last 15 minutes out of them and the key's own failures."`
	Score               float64    `json:"score" minimum:"0" maximum:"100" doc:"What the key is worth now: quota, health, speed and rank."`
	CostUSD             *float64   `json:"cost_usd" minimum:"0" doc:"Null if no price is known."`
	ResetsAt            time.Time  `json:"resets_at" doc:"When its counters are at 0 again."`
	ForecastExhaustedAt *time.Time `json:"forecast_exhausted_at" doc:"When it runs out at the current rate; null if unknown or not before the reset."`
	CoolingUntil        *time.Time `json:"cooling_until" doc:"When Groq's rate limit ends; null if it is not cooling."`
	Disabled            bool       `json:"disabled" doc:"It takes no calls because a person said so."`
	Models              []string   `json:"models" nullable:"false" doc:"The only models that it may be used for; empty: every model."`
	Thresholds          []int      `json:"thresholds" nullable:"false" doc:"Percent of a limit at which people are told."`
	Source              *string    `json:"source" enum:"environment,file,api" doc:"Where the key comes from."`
	Changed             []string   `json:"changed" nullable:"false" doc:"What the API set of it, over what the settings say."`
}

type keysOutput struct {
	Body []Key `nullable:"false"`
}

type keyInput struct {
	ID string `path:"id" maxLength:"64" doc:"The key's ID." example:"1"`
}

type keyOutput struct{ Body Key }

// Cleared is the answer to a clear.
type Cleared struct {
	Generation int64 `json:"generation" minimum:"0" doc:"An Envoy whose generation and config, in /api/v1/proxies, are both this or later goes by the change."`
}

type clearedOutput struct{ Body Cleared }

func (a *api) registerKeys() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/api/v1/keys", Tags: []string{tagAccount},
		Summary: "All keys, by rank",
	}), a.listKeys)
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "get-key", Method: http.MethodGet, Path: "/api/v1/keys/{id}", Tags: []string{tagAccount},
		Summary: "One key",
	}, http.StatusNotFound, http.StatusUnprocessableEntity), a.getKey)
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "clear-key", Method: http.MethodPost, Path: "/api/v1/keys/{id}/clear", Tags: []string{tagAccount},
		Summary: "Forget what was learned of a key", DefaultStatus: http.StatusAccepted,
		Description: "Takes back what answers of Groq's taught about the key's organization (cooling, invalid, restricted), " +
			"so that its keys are tried again. What they spent stays counted.",
	}, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable), a.clearKey)
}

func (a *api) listKeys(context.Context, *struct{}) (*keysOutput, error) {
	return &keysOutput{Body: a.keysOf(a.Ledger.View())}, nil
}

// keysOf are the keys of a view, with where they come from.
func (a *api) keysOf(view ledger.View) []Key {
	from := map[string]roster.Key{}
	if a.Roster != nil {
		for _, k := range a.Roster.Keys() {
			from[k.ID] = k
		}
	}
	keys := make([]Key, 0, len(view.Keys))
	for i := range view.Keys {
		key := keyOf(&view.Keys[i], view.ResetsAt)
		if k, ok := from[key.ID]; ok {
			key.Source, key.Changed = text(string(k.Source)), append(key.Changed, k.Changed...)
		}
		keys = append(keys, key)
	}
	return keys
}

func (a *api) getKey(_ context.Context, in *keyInput) (*keyOutput, error) {
	view := a.Ledger.View()
	i := indexOf(view, in.ID)
	if i < 0 {
		return nil, noSuchKey()
	}
	return &keyOutput{Body: a.keysOf(view)[i]}, nil
}

func (a *api) clearKey(ctx context.Context, in *keyInput) (*clearedOutput, error) {
	if indexOf(a.Ledger.View(), in.ID) < 0 {
		return nil, noSuchKey()
	}
	generation, err := a.Ledger.Clear(ctx, in.ID, byCaller(ctx))
	if err != nil {
		a.Log.Error("A key could not be cleared", "key", in.ID, "error", err)
		return nil, huma.Error503ServiceUnavailable("The store did not take the change; nothing was changed. Keywheel's log says why.")
	}
	return &clearedOutput{Body: Cleared{Generation: generation}}, nil
}

func indexOf(view ledger.View, id string) int {
	return slices.IndexFunc(view.Keys, func(k ledger.KeyView) bool { return k.ID == id })
}

func noSuchKey() error {
	return huma.Error404NotFound("There is no key with this ID; GET /api/v1/keys lists them.")
}

func keyOf(k *ledger.KeyView, resetsAt time.Time) Key {
	key := Key{
		ID:              k.ID,
		Label:           k.Label,
		Provider:        provider,
		Priority:        k.Priority,
		Rank:            k.Rank + 1,
		Tier:            k.Tier,
		Org:             k.Org,
		Status:          string(k.Status),
		Active:          k.InUse,
		UsedTokens:      k.Used,
		EstimatedTokens: k.Estimated,
		LimitTokens:     limit(k.LimitTokens),
		RemainingTokens: remaining(k.Remaining, k.LimitTokens),
		LimitRequests:   limit(k.LimitRequests),
		Requests:        k.Requests,
		Health:          percent(k.Health),
		Score:           percent(k.Score),
		ResetsAt:        utc(resetsAt),
		CoolingUntil:    instant(k.CoolingUntil),

		ForecastExhaustedAt: instant(k.ExhaustedAt),

		Disabled: k.Disabled, Models: append([]string{}, k.Models...), Thresholds: append([]int{}, k.Thresholds...), Changed: []string{},
	}
	if key.LimitTokens != nil {
		used := percent(k.Percent)
		key.Percent = &used
	}
	return key
}
