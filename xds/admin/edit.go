package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/roster"
)

// Roster is the keys that are in force, to be changed. Each change is durable and in the audit when it returns; on an
// error nothing has changed.
type Roster interface {
	Keys() []roster.Key
	Add(ctx context.Context, id string, p roster.Patch, by audit.Entry) (newID string, generation int64, err error)
	Change(ctx context.Context, id string, p roster.Patch, by audit.Entry) (generation int64, err error)
	Remove(ctx context.Context, id string, by audit.Entry) (generation int64, err error)
}

// Limit is a limit in a change: left out, null for none, or a number.
type Limit struct {
	given bool
	limit int64 // 0: none
}

// NewLimit is a limit that is given; 0 is none.
func NewLimit(limit int64) Limit { return Limit{given: true, limit: limit} }

// IsZero says that the limit is left out.
func (l Limit) IsZero() bool { return !l.given }

// MarshalJSON implements json.Marshaler.
func (l Limit) MarshalJSON() ([]byte, error) {
	if l.limit == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, l.limit, 10), nil
}

// UnmarshalJSON implements json.Unmarshaler. It is called only if the member is there.
func (l *Limit) UnmarshalJSON(b []byte) error {
	l.given = true
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	return json.Unmarshal(b, &l.limit)
}

// Schema implements huma.SchemaProvider.
func (Limit) Schema(r huma.Registry) *huma.Schema {
	least := 1.0
	s := *r.Schema(reflect.TypeFor[int64](), true, "")
	s.Nullable, s.Minimum = true, &least
	return &s
}

// value is the limit for a patch: nil if it was left out.
func (l Limit) value() *int64 {
	if !l.given {
		return nil
	}
	return &l.limit
}

// KeyFields are what can be set of a key.
type KeyFields struct {
	Label         *string   `json:"label,omitempty" nullable:"false" maxLength:"40" doc:"Empty: named by its rank."`
	Priority      *int      `json:"priority,omitempty" nullable:"false" minimum:"1" maximum:"1000000" doc:"Lower goes first."`
	Tier          *string   `json:"tier,omitempty" nullable:"false" enum:"free,paid"`
	Org           *string   `json:"org,omitempty" nullable:"false" maxLength:"40" doc:"Keys with the same one share what is learned of its limits; empty: one of its own."`
	LimitTokens   Limit     `json:"limit_tokens,omitzero" required:"false" doc:"A day; null: no limit."`
	LimitRequests Limit     `json:"limit_requests,omitzero" required:"false" doc:"A day; null: no limit."`
	Disabled      *bool     `json:"disabled,omitempty" nullable:"false"`
	Models        *[]string `json:"models,omitempty" nullable:"false" maxItems:"100" doc:"The only models that it may be used for; empty: every model."`
	Thresholds    *[]int    `json:"thresholds,omitempty" nullable:"false" maxItems:"16" doc:"Percent of a limit at which people are told."`
	Secret        *string   `json:"secret,omitempty" nullable:"false" minLength:"1" maxLength:"4096" writeOnly:"true" doc:"The key itself, gsk_…; it is never shown again."`
}

// Empty says that nothing is set.
func (f *KeyFields) Empty() bool { return *f == (KeyFields{}) }

// NewKey is a key to be added.
type NewKey struct {
	ID *string `json:"id,omitempty" nullable:"false" pattern:"^[A-Za-z0-9_-]{1,32}$" doc:"Left out: the lowest number that is free."`
	KeyFields
}

// TransformSchema implements huma.SchemaTransformer: a new key needs its secret.
func (NewKey) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = append(s.Required, "secret")
	return s
}

type addKeyInput struct{ Body NewKey }

type changeKeyInput struct {
	ID   string `path:"id" maxLength:"64" doc:"The key's ID." example:"1"`
	Body KeyFields
}

// Changed is the answer to a change.
type Changed struct {
	ID         string `json:"id" doc:"The key's ID."`
	Generation int64  `json:"generation" minimum:"0" doc:"An Envoy whose generation and config, in /api/v1/proxies, are both this or later goes by the change."`
}

type changedOutput struct{ Body Changed }

func (a *api) registerEdits() {
	for _, op := range []struct {
		huma.Operation
		body bool
	}{
		{huma.Operation{OperationID: "add-key", Method: http.MethodPost, Path: "/api/v1/keys", Summary: "Add a key"}, true},
		{huma.Operation{OperationID: "change-key", Method: http.MethodPatch, Path: "/api/v1/keys/{id}", Summary: "Change a key"}, true},
		{huma.Operation{OperationID: "remove-key", Method: http.MethodDelete, Path: "/api/v1/keys/{id}", Summary: "Remove a key"}, false},
	} {
		op.Tags, op.DefaultStatus = []string{tagAccount}, http.StatusAccepted
		op.Description = "In effect on every Envoy within about two seconds. What a key spent stays counted; calls in flight are still charged to it."
		errs := []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}
		if op.body {
			errs = append(errs, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		}
		guarded := guardedOperation(op.Operation, errs...)
		switch op.Method {
		case http.MethodPost:
			huma.Register(a.huma, guarded, a.addKey)
		case http.MethodPatch:
			huma.Register(a.huma, guarded, a.changeKey)
		default:
			huma.Register(a.huma, guarded, a.removeKey)
		}
	}
}

// patch is what the fields set. The error says that they cannot be so.
func (f *KeyFields) patch() (roster.Patch, error) {
	p := roster.Patch{
		Label: f.Label, Priority: f.Priority, Tier: f.Tier, Org: f.Org, LimitTokens: f.LimitTokens.value(), LimitRequests: f.LimitRequests.value(),
		Disabled: f.Disabled, Models: f.Models, Thresholds: f.Thresholds,
	}
	if f.Secret != nil {
		p.Secret = secret.New(strings.TrimSpace(*f.Secret))
		if p.Secret.IsZero() {
			return p, huma.Error422UnprocessableEntity("The secret is empty.")
		}
	}
	return p, nil
}

func (a *api) addKey(ctx context.Context, in *addKeyInput) (*changedOutput, error) {
	p, err := in.Body.patch()
	if err != nil {
		return nil, err
	}
	id := ""
	if in.Body.ID != nil {
		id = *in.Body.ID
	}
	id, generation, err := a.Roster.Add(ctx, id, p, byCaller(ctx))
	return a.changed(id, generation, err)
}

func (a *api) changeKey(ctx context.Context, in *changeKeyInput) (*changedOutput, error) {
	p, err := in.Body.patch()
	if err != nil {
		return nil, err
	}
	generation, err := a.Roster.Change(ctx, in.ID, p, byCaller(ctx))
	return a.changed(in.ID, generation, err)
}

func (a *api) removeKey(ctx context.Context, in *keyInput) (*changedOutput, error) {
	generation, err := a.Roster.Remove(ctx, in.ID, byCaller(ctx))
	return a.changed(in.ID, generation, err)
}

// changed is the answer to a change, or why it was not made.
func (a *api) changed(id string, generation int64, err error) (*changedOutput, error) {
	switch {
	case err == nil:
		return &changedOutput{Body: Changed{ID: id, Generation: generation}}, nil
	case errors.Is(err, roster.ErrNoKey):
		return nil, noSuchKey()
	case errors.Is(err, roster.ErrExists), errors.Is(err, roster.ErrNoMaster):
		return nil, huma.Error409Conflict(sentence(err))
	case errors.Is(err, roster.ErrInvalid):
		return nil, huma.Error422UnprocessableEntity(sentence(err))
	}
	a.Log.Error("A key could not be changed", "key", id, "error", err)
	return nil, huma.Error503ServiceUnavailable("The store did not take the change; nothing was changed. Keywheel's log says why.")
}

// sentence is an error as a sentence.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
