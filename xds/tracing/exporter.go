package tracing

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Attributes of the spans of messages.
const (
	receiverKey = attribute.Key("keywheel.receiver")
	messageKey  = attribute.Key("keywheel.message")
	eventKey    = attribute.Key("keywheel.event")
	eventsKey   = attribute.Key("keywheel.events")
)

// allowed are the attributes that leave the process.
var allowed = []attribute.Key{
	"http.request.method", "http.response.status_code", "http.request.body.size", "http.response.body.size", "network.protocol.version",
	receiverKey, messageKey, eventKey, eventsKey,
}

// exporter sends only what may be sent, and says once that it cannot.
type exporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	hide    *strings.Replacer
	failing atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. It returns nil: it has said what there is to say.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	bare := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		bare[i] = bareSpan{s}
	}
	err := e.SpanExporter.ExportSpans(ctx, bare)
	switch was := e.failing.Swap(err != nil); {
	case err != nil && !was:
		e.log.Warn("Traces cannot be sent, and are dropped", "error", e.hide.Replace(err.Error()))
	case err == nil && was:
		e.log.Info("Traces are sent again")
	}
	return nil
}

// bareSpan is a span without what might hold a secret: a path, a query, a header, the message of a panic.
type bareSpan struct{ sdktrace.ReadOnlySpan }

// Attributes implements sdktrace.ReadOnlySpan.
func (s bareSpan) Attributes() []attribute.KeyValue {
	return slices.DeleteFunc(slices.Clone(s.ReadOnlySpan.Attributes()), func(a attribute.KeyValue) bool {
		return !slices.Contains(allowed, a.Key)
	})
}

// Events implements sdktrace.ReadOnlySpan.
func (s bareSpan) Events() []sdktrace.Event { return nil }
