package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Audit is a change that somebody made, or tried to.
type Audit struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Who     string    `json:"who" doc:"admin or read by token, page by the dashboard, file for a settings file, environment, probe, shell for a command on a stopped one, nobody."`
	From    *string   `json:"from" doc:"The address that the request came from."`
	What    string    `json:"what" example:"change key"`
	Key     *string   `json:"key" doc:"The key's ID."`
	Fields  []string  `json:"fields" nullable:"false" doc:"What was set; of a secret only that it was."`
	Outcome string    `json:"outcome" enum:"done,refused"`
	Detail  *string   `json:"detail"`
}

type auditsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many."`
}

type auditsOutput struct {
	Body []Audit `nullable:"false"`
}

func (a *api) registerAudits() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/api/v1/audit", Tags: []string{tagEvents},
		Summary: "Who changed what, newest first",
	}, http.StatusUnprocessableEntity), func(_ context.Context, in *auditsInput) (*auditsOutput, error) {
		out := []Audit{}
		for _, e := range a.Ledger.Audits(in.Limit) {
			out = append(out, Audit{
				ID: strconv.FormatInt(e.ID, 10), At: utc(e.At), Who: e.Who, From: text(e.From), What: e.What, Key: text(e.Key),
				Fields: append([]string{}, e.Fields...), Outcome: e.Outcome, Detail: text(e.Detail),
			})
		}
		return &auditsOutput{Body: out}, nil
	})
}
