package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/xds/event"
	"keywheel/xds/notify"
)

// Event is something that happened.
type Event struct {
	ID        string     `json:"id" doc:"Rises with each event."`
	At        time.Time  `json:"at"`
	Kind      string     `json:"kind" doc:"What happened." example:"threshold"`
	Level     string     `json:"level" enum:"info,warning,critical" doc:"Warning and above are alerts."`
	Title     string     `json:"title" doc:"What happened, in one line."`
	Window    string     `json:"window" format:"date" doc:"The day that it is about."`
	Key       *string    `json:"key" doc:"ID of the key that it is about."`
	Percent   *int       `json:"percent" doc:"Of a threshold."`
	Used      *int64     `json:"used" doc:"Of the limit, when it happened; of impossible usage what was reported, of a voided Envoy what it had counted today and yesterday."`
	Limit     *int64     `json:"limit"`
	Remaining *int64     `json:"remaining"`
	Unit      *string    `json:"unit" doc:"Of used, limit and remaining: tokens or requests."`
	From      *string    `json:"from" doc:"ID of the key that left, of a rotation."`
	To        *string    `json:"to" doc:"ID of the key that took over."`
	Reason    *string    `json:"reason"`
	Code      *string    `json:"code" doc:"Groq's error code."`
	Node      *string    `json:"node" doc:"The Envoy that told of it, or that it is about."`
	Detail    *string    `json:"detail"`
	By        *string    `json:"by" doc:"Who did it, as in the audit."`
	Until     *time.Time `json:"until" doc:"When a rest ends, or a forecast comes true."`
	Rate      *int64     `json:"rate" doc:"Tokens an hour, of a forecast."`
}

type eventsInput struct {
	After string `query:"after" maxLength:"19" pattern:"^[0-9]+$" patternDescription:"an event's ID" doc:"Only what came after this event. Left out: the newest."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many."`
}

type eventsOutput struct {
	Body []Event `nullable:"false"`
}

func (a *api) registerEvents() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/api/v1/events", Tags: []string{tagEvents},
		Summary: "What happened, oldest first",
	}, http.StatusUnprocessableEntity), a.listEvents)
}

func (a *api) listEvents(_ context.Context, in *eventsInput) (*eventsOutput, error) {
	events := a.Ledger.Newest
	if in.After != "" {
		after, err := strconv.ParseInt(in.After, 10, 64)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity("after: it is too large; write the ID of an event, as GET /api/v1/events shows it.")
		}
		events = func(limit int) []event.Event { return a.Ledger.Events(after, limit) }
	}
	out := []Event{}
	for _, e := range events(in.Limit) {
		out = append(out, eventOf(&e))
	}
	return &eventsOutput{Body: out}, nil
}

func eventOf(e *event.Event) Event {
	out := Event{
		ID: strconv.FormatInt(e.ID, 10), At: utc(e.At), Kind: string(e.Kind), Level: string(e.Level), Title: notify.Headline(e), Window: e.Window,
		Key: text(e.Key), Unit: text(e.Unit), From: text(e.From), To: text(e.To), Reason: text(e.Reason), Code: text(e.Code), Node: text(e.Node),
		Detail: text(e.Detail), By: text(e.By), Until: instant(e.Until), Limit: limit(e.Limit), Rate: limit(e.Rate),
	}
	if e.Kind == event.Summary {
		out.Detail = nil // the title says it
	}
	if e.Percent > 0 {
		out.Percent = &e.Percent
	}
	if e.Limit > 0 || e.Used > 0 {
		out.Used = &e.Used
	}
	if e.Limit > 0 {
		out.Remaining = &e.Remaining
	}
	return out
}
