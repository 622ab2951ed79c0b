package tracing

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// Variables that this package looks at itself. The rest is the library's.
const (
	disabledName  = "OTEL_SDK_DISABLED"
	exporterName  = "OTEL_TRACES_EXPORTER"
	endpointName  = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesName    = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	headersName   = "OTEL_EXPORTER_OTLP_HEADERS"
	tracesHeaders = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
)

// protocolNames are the variables that name the protocol; the first that is set holds.
var protocolNames = []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"}

// asked says whether the environment asks for traces.
func asked(getenv func(string) string) (bool, error) {
	if strings.EqualFold(strings.TrimSpace(getenv(disabledName)), "true") {
		return false, nil
	}
	switch strings.TrimSpace(getenv(exporterName)) {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return getenv(endpointName) != "" || getenv(tracesName) != "", nil
	}
	return false, fmt.Errorf("%s: only otlp and none are known here; set it to otlp, or leave it out", exporterName)
}

// check returns an error where the library would go on with something else than what was asked for.
func check(getenv func(string) string) error {
	for _, name := range protocolNames {
		if p := strings.TrimSpace(getenv(name)); p != "" {
			if p != "http/protobuf" && p != "http/json" {
				return fmt.Errorf("%s: traces are sent by http/protobuf or http/json only; set one of them, "+
					"and the endpoint to the collector's port for it, mostly 4318", name)
			}
			break
		}
	}
	for _, name := range []string{endpointName, tracesName} {
		if v := strings.TrimSpace(getenv(name)); v != "" {
			u, err := url.Parse(v)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return fmt.Errorf("%s: it is no URL such as http://localhost:4318", name)
			}
		}
	}
	for _, name := range []string{headersName, tracesHeaders} {
		if _, err := headerValues(getenv(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

var errHeaders = errors.New("it is no list such as name=value,name=value with URL-encoded values")

// headerValues returns the values of headers. The error holds nothing of them.
func headerValues(text string) ([]string, error) {
	var values []string
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for _, pair := range strings.Split(text, ",") {
		name, value, found := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(value)
		if !found || err != nil || strings.TrimSpace(name) == "" || strings.ContainsAny(decoded, "\r\n") {
			return nil, errHeaders
		}
		values = append(values, strings.TrimSpace(decoded))
	}
	return values, nil
}

// hidden is what stands for a secret.
const hidden = "[redacted]"

// secrets returns what takes the headers' values, and what an endpoint has beyond its host, out of a text.
func secrets(getenv func(string) string) *strings.Replacer {
	var hide []string
	for _, name := range []string{headersName, tracesHeaders} {
		values, _ := headerValues(getenv(name)) // check has looked at them
		for _, v := range values {
			hide = append(hide, v)
			if _, token, scheme := strings.Cut(v, " "); scheme {
				hide = append(hide, strings.TrimSpace(token)) // "Bearer …"
			}
		}
	}
	for _, name := range []string{endpointName, tracesName} {
		v := strings.TrimSpace(getenv(name))
		hide = append(hide, v)
		if u, err := url.Parse(v); err == nil {
			hide = append(hide, strings.Trim(u.Path, "/"), u.RawQuery)
		}
	}
	slices.SortFunc(hide, func(a, b string) int { return len(b) - len(a) }) // of two that begin alike the longer goes first
	var pairs []string
	for _, s := range hide {
		if s != "" {
			pairs = append(pairs, s, hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// complaints are what the library says of itself, which it does in two global ways: while Start runs they are reasons
// not to start, later they are logged.
type complaints struct {
	log  *slog.Logger
	hide *strings.Replacer

	mu      sync.Mutex
	running bool
	errs    []error
}

// started ends the start and returns what was wrong.
func (c *complaints) started() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
	if err := errors.Join(c.errs...); err != nil {
		return fmt.Errorf("tracing, by the OTEL_ variables: %w", err)
	}
	return nil
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	if err == nil {
		return
	}
	err = errors.New(c.hide.Replace(err.Error()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		c.errs = append(c.errs, err)
		return
	}
	c.log.Warn("Tracing is in trouble", "error", err)
}

// Error implements logr.LogSink. The values that come with a message are left out: they are those of variables.
func (c *complaints) Error(err error, text string, _ ...any) {
	if err != nil {
		text += ": " + err.Error()
	}
	c.Handle(errors.New(text))
}

// Init, Enabled, Info, WithValues and WithName complete logr.LogSink: everything but errors is dropped.
func (c *complaints) Init(logr.RuntimeInfo)          {}
func (c *complaints) Enabled(int) bool               { return false }
func (c *complaints) Info(int, string, ...any)       {}
func (c *complaints) WithValues(...any) logr.LogSink { return c }
func (c *complaints) WithName(string) logr.LogSink   { return c }
