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

// Notifier sends test messages.
type Notifier interface {
	// Try sends one to every receiver and returns what came of it, within 20 s. No error holds a secret.
	Try(ctx context.Context) []notify.Tried
}

// Notification is one delivery of an event to one receiver.
type Notification struct {
	ID        string     `json:"id"`
	Receiver  string     `json:"receiver" example:"telegram"`
	EventID   string     `json:"event_id"`
	Title     string     `json:"title" doc:"What happened, in one line."`
	At        time.Time  `json:"at" doc:"When it happened."`
	State     string     `json:"state" enum:"waiting,sent,failed" doc:"Failed is given up."`
	Attempts  int        `json:"attempts" minimum:"0"`
	Error     *string    `json:"error" doc:"Of the last attempt, if it failed."`
	MessageID string     `json:"message_id" doc:"What the receiver knows the message by. Several notifications of a burst share one; a message that is sent again keeps it."`
	TriedAt   *time.Time `json:"tried_at" doc:"The last time."`
	NextAt    *time.Time `json:"next_at" doc:"When it is tried again, at the latest; null: at once, or never."`
	SettledAt *time.Time `json:"settled_at" doc:"When it was sent or given up."`
}

type notificationsInput struct {
	State string `query:"state" enum:"waiting,sent,failed" doc:"Only those in this state."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many."`
}

type notificationsOutput struct {
	Body []Notification `nullable:"false"`
}

// Tried is what came of a test message to one receiver.
type Tried struct {
	Receiver string  `json:"receiver"`
	OK       bool    `json:"ok" doc:"The receiver took it."`
	Error    *string `json:"error" doc:"Why not; null if it did."`
}

type triedOutput struct {
	Body []Tried `nullable:"false"`
}

func (a *api) registerNotifications() {
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "list-notifications", Method: http.MethodGet, Path: "/api/v1/notifications", Tags: []string{tagEvents},
		Summary: "Who was told of what, newest first",
	}, http.StatusUnprocessableEntity), a.listNotifications)
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "test-notifications", Method: http.MethodPost, Path: "/api/v1/notifications/test", Tags: []string{tagEvents},
		Summary:     "Send a test message to every receiver",
		Description: "Answers once each receiver took it or did not, within half a minute. An empty list: no receiver is set up.",
	}), a.testNotifications)
}

func (a *api) listNotifications(_ context.Context, in *notificationsInput) (*notificationsOutput, error) {
	var states []event.State
	if in.State != "" {
		states = append(states, event.State(in.State))
	}
	out := []Notification{}
	for _, n := range a.Ledger.Notifications(in.Limit, states...) {
		out = append(out, Notification{
			ID: n.ID, Receiver: n.Receiver, EventID: strconv.FormatInt(n.Event.ID, 10), Title: notify.Headline(&n.Event), At: utc(n.Event.At),
			State: string(n.State), Attempts: n.Attempts, Error: text(n.Error), MessageID: n.Message,
			TriedAt: instant(n.TriedAt), NextAt: instant(n.NextAt), SettledAt: instant(n.SettledAt),
		})
	}
	return &notificationsOutput{Body: out}, nil
}

func (a *api) testNotifications(ctx context.Context, _ *struct{}) (*triedOutput, error) {
	out := []Tried{}
	if a.Notifier == nil {
		return &triedOutput{Body: out}, nil
	}
	for _, t := range a.Notifier.Try(ctx) {
		out = append(out, Tried{Receiver: t.Receiver, OK: t.Failure == "", Error: text(t.Failure)})
	}
	return &triedOutput{Body: out}, nil
}
