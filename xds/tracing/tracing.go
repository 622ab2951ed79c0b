// Package tracing tells an OpenTelemetry collector what the control plane spends its time on: requests of the admin API,
// usage reports, and messages to receivers.
//
// The rules are:
//   - Nothing is started unless OpenTelemetry's standard variables ask for it. They are the process's own, which its
//     library reads by itself.
//   - Only the attributes in allowed leave the process, so that no path, query, header, body or panic can take a secret
//     with it. Names of spans are those of routes and receivers.
//   - What cannot be sent is dropped. Nothing waits for it.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Options are what traces are made with.
type Options struct {
	Version string       // Keywheel's own
	Log     *slog.Logger // nil: nothing is logged
}

// stopTime is how long what was not sent yet may take at the end.
const stopTime = 3 * time.Second

// serviceName is what the control plane is called, unless the environment names it.
const serviceName = "keywheel"

// Tracing sends traces. A nil Tracing does nothing.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	log      *slog.Logger
}

// Start sends traces from now on if the environment asks for it, by OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_TRACES_EXPORTER=otlp, and neither OTEL_SDK_DISABLED=true nor
// OTEL_TRACES_EXPORTER=none forbids it. Else it returns nil. The error names the variable to change, never its value.
// See https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
func Start(ctx context.Context, o Options) (*Tracing, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if on, err := asked(os.Getenv); !on || err != nil {
		return nil, err
	}
	if err := check(os.Getenv); err != nil {
		return nil, err
	}
	said := &complaints{log: o.Log, hide: secrets(os.Getenv)}
	otel.SetLogger(logr.New(said)) // by default it shows values of variables on standard error
	otel.SetErrorHandler(said)
	client, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %s", said.hide.Replace(err.Error()))
	}
	described, err := resource.New(ctx, // no host, process or user: a command line may hold anything
		resource.WithAttributes(semconv.ServiceName(serviceName), semconv.ServiceVersion(o.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: want name=value,name=value: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&exporter{SpanExporter: client, log: o.Log, hide: said.hide}), sdktrace.WithResource(described))
	t := &Tracing{provider: provider, tracer: provider.Tracer("keywheel", trace.WithInstrumentationVersion(o.Version)), log: o.Log}
	if err := said.started(); err != nil {
		t.Stop(ctx)
		return nil, err
	}
	o.Log.Info("Traces are sent by OTLP over HTTP")
	return t, nil
}

// Stop sends what was not sent yet, for a few seconds at most. What cannot be sent then is lost, and logged: it is no
// reason for a program to fail.
func (t *Tracing) Stop(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Debug("The last traces were not sent", "error", err)
	}
}

// unseen are the paths that machines ask for every few seconds, and the one whose answer goes on for hours.
var unseen = []string{"/healthz", "/readyz", "/metrics", "/api/v1/stream"}

// Handler returns next with a span around each request but those of probes, scrapes and the page's stream. The span is called as the
// pattern that served the request, where a mux below set one, else by name. Its parent is the caller's, if that sent one.
func (t *Tracing) Handler(next http.Handler, name string) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, name,
		otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool { return !slices.Contains(unseen, r.URL.Path) }),
		otelhttp.WithSpanNameFormatter(func(name string, r *http.Request) string {
			if r.Pattern != "" {
				return r.Pattern
			}
			return name
		}),
	)
}
