package tracing

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"keywheel/xds/notify"
)

// Notifier returns n with a span around each message to a receiver of this name.
func (t *Tracing) Notifier(n notify.Notifier, receiver string) notify.Notifier {
	if t == nil {
		return n
	}
	return &notifier{Notifier: n, tracer: t.tracer, receiver: receiver}
}

type notifier struct {
	notify.Notifier
	tracer   trace.Tracer
	receiver string
}

// Send implements notify.Notifier.
func (n *notifier) Send(ctx context.Context, m notify.Message) error {
	ctx, span := n.tracer.Start(ctx, "notify "+n.receiver, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		receiverKey.String(n.receiver), messageKey.String(m.ID), eventsKey.Int(len(m.Events)),
	))
	defer span.End()
	if len(m.Events) > 0 {
		span.SetAttributes(eventKey.String(string(m.Events[0].Kind)))
	}
	err := n.Notifier.Send(ctx, m)
	var failure *notify.Failure
	switch {
	case err == nil:
	case errors.As(err, &failure) && failure.Permanent:
		span.SetStatus(codes.Error, "given up: "+err.Error())
	default:
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}
