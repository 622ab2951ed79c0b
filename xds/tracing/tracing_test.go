package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"keywheel/xds/event"
	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/notify"
	"keywheel/xds/tracing"
)

const canary = "gsk_CANARY_0123456789"

// collector takes traces as an OpenTelemetry collector does.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	refuses  bool
	bodies   []byte
	paths    []string
	headers  []http.Header
	services []string
	spans    []*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var request coltracepb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	if c.refuses {
		http.Error(w, "not with "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	}
	c.bodies = append(c.bodies, body...)
	c.paths = append(c.paths, r.URL.Path)
	c.headers = append(c.headers, r.Header)
	for _, rs := range request.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				c.services = append(c.services, a.Value.GetStringValue())
			}
		}
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

func (c *collector) refuse(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = yes
}

// unset takes OpenTelemetry's variables out of the environment of the test.
func unset(t *testing.T) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
}

// start starts tracing with these variables.
func start(t *testing.T, variables map[string]string) (*tracing.Tracing, *loggingtest.Buffer) {
	t.Helper()
	unset(t)
	for name, value := range variables {
		t.Setenv(name, value)
	}
	var log loggingtest.Buffer
	tr, err := tracing.Start(t.Context(), tracing.Options{Version: "1.2.3", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Stop(context.Background()) })
	return tr, &log
}

type handler struct{}

func (*handler) ServeHTTP(http.ResponseWriter, *http.Request) {}

type receiver struct{ err error }

func (r *receiver) Send(context.Context, notify.Message) error { return r.err }

func TestNothingUnlessAskedFor(t *testing.T) {
	c := newCollector(t)
	for name, variables := range map[string]map[string]string{
		"nothing":     nil,
		"empty":       {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""},
		"metrics":     {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": c.URL},
		"a name only": {"OTEL_SERVICE_NAME": "keywheel"},
		"disabled":    {"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SDK_DISABLED": "TRUE"},
		"none":        {"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_EXPORTER": "none"},
		"off, badly":  {"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SDK_DISABLED": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, log := start(t, variables)
			h, n := &handler{}, &receiver{}
			if tr != nil || tr.Handler(h, "x") != http.Handler(h) || tr.Notifier(n, "x") != notify.Notifier(n) {
				t.Errorf("it is started: %v", tr)
			}
			if text := log.String(); text != "" {
				t.Errorf("it says %s", text)
			}
		})
	}
}

func TestAskedFor(t *testing.T) {
	c := newCollector(t)
	for name, test := range map[string]struct {
		variables map[string]string
		path      string
		service   string
	}{
		"endpoint":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}, "/v1/traces", "keywheel"},
		"under a path":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/otlp"}, "/otlp/v1/traces", "keywheel"},
		"traces endpoint": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/here", "OTEL_SERVICE_NAME": "wheel"}, "/here", "wheel"},
		"by exporter": {map[string]string{
			"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SDK_DISABLED": "false",
			"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_RESOURCE_ATTRIBUTES": "service.name=by-attributes,team=a",
		}, "/v1/traces", "by-attributes"},
		"the narrower protocol holds": {map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
		}, "/v1/traces", "keywheel"},
	} {
		t.Run(name, func(t *testing.T) {
			c.paths, c.services, c.spans = nil, nil, nil
			tr, _ := start(t, test.variables)
			tr.Handler(&handler{}, "usage report").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/reports", nil))
			tr.Stop(t.Context())
			if !slices.Equal(c.paths, []string{test.path}) || !slices.Equal(c.services, []string{test.service}) || len(c.spans) != 1 {
				t.Errorf("paths %v, services %v, %d spans", c.paths, c.services, len(c.spans))
			}
		})
	}
}

func TestBadVariables(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, test := range []struct {
		names     string // in the error
		variables map[string]string
	}{
		{"OTEL_TRACES_EXPORTER", map[string]string{"OTEL_TRACES_EXPORTER": "console"}},
		{"OTEL_TRACES_EXPORTER", map[string]string{"OTEL_TRACES_EXPORTER": "otlp,console", endpoint: "http://localhost:4318"}},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", map[string]string{endpoint: "http://localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", map[string]string{endpoint: "http://localhost:4317", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}},
		{endpoint, map[string]string{endpoint: "localhost:4318"}},
		{endpoint, map[string]string{endpoint: "http://" + canary + "%zz"}},
		{endpoint, map[string]string{endpoint: canary}},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://localhost:4317"}},
		{"OTEL_EXPORTER_OTLP_HEADERS", map[string]string{endpoint: "http://localhost:4318", "OTEL_EXPORTER_OTLP_HEADERS": canary}},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", map[string]string{endpoint: "http://localhost:4318", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=" + canary + "%zz"}},
		{"OTEL_", map[string]string{endpoint: "https://localhost:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/there/is/none.pem"}},
		{"sampler", map[string]string{endpoint: "http://localhost:4318", "OTEL_TRACES_SAMPLER": "sometimes"}},
		{"sampler", map[string]string{endpoint: "http://localhost:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"}},
		{"OTEL_RESOURCE_ATTRIBUTES", map[string]string{endpoint: "http://localhost:4318", "OTEL_RESOURCE_ATTRIBUTES": "nonsense"}},
	} {
		unset(t)
		for name, value := range test.variables {
			t.Setenv(name, value)
		}
		tr, err := tracing.Start(t.Context(), tracing.Options{})
		switch {
		case err == nil || tr != nil:
			t.Errorf("%v: started", test.variables)
		case !strings.Contains(err.Error(), test.names) || strings.Contains(err.Error(), "CANARY"):
			t.Errorf("%v: %v", test.variables, err)
		}
		for name := range test.variables {
			t.Setenv(name, "")
		}
	}
}

// plane is a handler as the control plane's are.
func plane() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/keys/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("GET /long", func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		if _, ok := w.(http.Flusher); !ok || rc.Flush() != nil || rc.SetWriteDeadline(time.Time{}) != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic(canary) })
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// TestSpans sends requests over a real connection with a canary in all that a caller can put something in.
func TestSpans(t *testing.T) {
	c := newCollector(t)
	tr, log := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc"})
	server := httptest.NewUnstartedServer(tr.Handler(plane(), "admin API"))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.Start()
	defer server.Close()
	get := func(path string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, strings.NewReader(canary))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Authorization": "Bearer " + canary, "User-Agent": canary, "X-Forwarded-For": canary, "Cookie": "a=" + canary, "Baggage": "a=" + canary,
			"Referer": canary, "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		} {
			r.Header.Set(name, value)
		}
		r.Host = canary
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
		}
	}
	for _, path := range []string{"/api/v1/keys/" + canary + "?token=" + canary, "/" + canary, "/long", "/panic", "/healthz", "/readyz", "/metrics", "/api/v1/stream"} {
		get(path)
	}
	message := notify.Message{ID: "m-1", Subject: canary, Text: canary, Events: []event.Event{{Kind: event.AllOut, Detail: canary}, {Kind: event.Reset}}}
	for _, failure := range []error{nil, errors.New("it did not answer in time"), notify.Permanent(errors.New("chat not found"))} {
		if err := tr.Notifier(&receiver{failure}, "telegram").Send(t.Context(), message); !errors.Is(err, failure) {
			t.Errorf("got %v, want %v", err, failure)
		}
	}
	tr.Stop(t.Context())

	var got []string
	for _, s := range c.spans {
		line := fmt.Sprintf("%s %s %s", strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"), s.Name, s.Status.GetMessage())
		for _, a := range s.Attributes {
			line += fmt.Sprintf(" %s=%s%d", a.Key, a.Value.GetStringValue(), a.Value.GetIntValue())
		}
		if s.Kind == tracepb.Span_SPAN_KIND_SERVER && fmt.Sprintf("%x %x", s.TraceId, s.ParentSpanId) != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331" {
			line += " without its parent"
		}
		got = append(got, line)
	}
	slices.Sort(got)
	want := []string{
		"CLIENT notify telegram  keywheel.receiver=telegram0 keywheel.message=m-10 keywheel.events=2 keywheel.event=all_out0",
		"CLIENT notify telegram given up: chat not found keywheel.receiver=telegram0 keywheel.message=m-10 keywheel.events=2 keywheel.event=all_out0",
		"CLIENT notify telegram it did not answer in time keywheel.receiver=telegram0 keywheel.message=m-10 keywheel.events=2 keywheel.event=all_out0",
		"SERVER GET /api/v1/keys/{id}  http.request.method=GET0 network.protocol.version=1.10 http.response.status_code=418",
		"SERVER GET /long  http.request.method=GET0 network.protocol.version=1.10 http.response.status_code=200",
		"SERVER admin API  http.request.method=GET0 network.protocol.version=1.10",
		"SERVER admin API  http.request.method=GET0 network.protocol.version=1.10 http.response.body.size=19 http.response.status_code=404",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got)\n%s", diff)
	}
	if bytes.Contains(c.bodies, []byte("CANARY")) || len(c.bodies) == 0 {
		t.Errorf("the traces hold a secret: %q", c.bodies)
	}
	if len(c.headers) == 0 || c.headers[0].Get("Authorization") != "Bearer abc" {
		t.Error("the collector's header was not sent")
	}
	if strings.Contains(log.String(), "abc") {
		t.Errorf("logged: %s", log)
	}
}

func TestSampling(t *testing.T) {
	c := newCollector(t)
	for name, test := range map[string]struct {
		sampler, arg, parent string
		want                 int
	}{
		"no parent":          {"", "", "", 1},
		"a parent without":   {"", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 0},
		"a parent with":      {"parentbased_always_off", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 1},
		"off":                {"always_off", "", "", 0},
		"none of a thousand": {"traceidratio", "0", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c.spans = nil
			tr, _ := start(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_SAMPLER": test.sampler, "OTEL_TRACES_SAMPLER_ARG": test.arg,
			})
			r := httptest.NewRequest("POST", "/v1/reports", nil)
			r.Header.Set("Traceparent", test.parent)
			tr.Handler(&handler{}, "usage report").ServeHTTP(httptest.NewRecorder(), r)
			tr.Stop(t.Context())
			if len(c.spans) != test.want {
				t.Errorf("%d spans, want %d", len(c.spans), test.want)
			}
		})
	}
}

// waitFor waits until the log has something so often.
func waitFor(t *testing.T, log *loggingtest.Buffer, text string, step func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ticker := time.NewTicker(5 * time.Millisecond); !strings.Contains(log.String(), text); {
		step()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("the log has no %q:\n%s", text, log)
		}
	}
}

// TestACollectorInTrouble: it is said once, without the secret that the collector repeats.
func TestACollectorInTrouble(t *testing.T) {
	c := newCollector(t)
	c.refuse(true)
	tr, log := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/" + canary, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20" + canary, "OTEL_BSP_SCHEDULE_DELAY": "1",
	})
	send := func() {
		tr.Handler(&handler{}, "usage report").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/reports", nil))
	}
	waitFor(t, log, "Traces cannot be sent", send)
	for range 5 {
		send()
	}
	c.refuse(false)
	waitFor(t, log, "Traces are sent again", send)
	tr.Stop(t.Context())
	text := log.String()
	if strings.Count(text, "cannot be sent") != 1 || strings.Count(text, "sent again") != 1 || !strings.Contains(text, "401") {
		t.Errorf("logged:\n%s", text)
	}
	if strings.Contains(text, "CANARY") || !strings.Contains(text, "[redacted]") {
		t.Errorf("logged:\n%s", text)
	}
}

// TestNobodyWaitsForTheCollector: one that never answers keeps neither requests nor the end waiting.
func TestNobodyWaitsForTheCollector(t *testing.T) {
	ended := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer silent.Close()
	defer close(ended)
	tr, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": silent.URL, "OTEL_BSP_SCHEDULE_DELAY": "1"})
	for range 3_000 { // more than wait in the queue
		tr.Handler(&handler{}, "usage report").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/reports", nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		tr.Stop(ctx)
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(30 * time.Second):
		t.Error("it does not stop")
	}
}
