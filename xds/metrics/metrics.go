// Package metrics shows the account to Prometheus.
//
// The rules are:
//   - A counter begins at 0 with the process and never goes down: what the ledger counts by window is summed over
//     windows, so that midnight changes nothing. What is today's alone is a gauge.
//   - A gauge that has no value is left out: the limit of a key without one, a forecast that there is not.
//   - Units are seconds, tokens, and ratios of 0…1.
//   - Labels are few and bounded: the keys that were configured, the first hundred models, the first two hundred callers,
//     the receivers, the Envoys of the last hour. None holds a secret, or what an Envoy, Groq or a person wrote at length.
package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"keywheel/xds/collector"
	"keywheel/xds/ledger"
)

// Options are what the metrics are made from.
type Options struct {
	Ledger    *ledger.Ledger         // with its keys; its counts as they are now are the counters' zero
	Reports   func() collector.Stats // what became of usage reports; nil: it is left out
	Receivers func() []string        // the names of those who are told of what happens; nil: there are none
	Version   string                 // Keywheel's own

	CertificateExpires func() time.Time // of the control plane, by the host's clock; zero: it has none, nil: as well

	Log *slog.Logger // nil: nothing is logged
}

// maxScrapes is how many answers are made at once: the path needs no token.
const maxScrapes = 2

// New returns the handler of /metrics.
func New(o Options) (http.Handler, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Receivers == nil {
		o.Receivers = func() []string { return nil }
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		newAccount(o), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	}), nil
}

// account is the prometheus.Collector of what the ledger knows.
type account struct {
	Options
	*families

	mu     sync.Mutex // guards what follows
	counts counts
	told   told
}

func newAccount(o Options) *account {
	f := newFamilies()
	a := &account{Options: o, families: f, counts: newCounts(f), told: newTold(f, o.Receivers)}
	v := o.Ledger.View()
	a.counts.begin(o.Ledger, &v)
	a.told.begin(o.Ledger)
	return a
}

// Describe implements prometheus.Collector.
func (a *account) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range a.all {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector. The account goes on while it is read: counters may be ahead of gauges by what
// was reported in between.
func (a *account) Collect(ch chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.Ledger.View()
	out := emitter(ch)
	out.put(a.build, 1, a.Version)
	a.showPool(out, &v)
	for i := range v.Keys {
		a.showKey(out, &v.Keys[i])
	}
	a.showProxies(out, &v)
	a.showIntake(out)
	if a.CertificateExpires != nil {
		out.instant(a.certificate, a.CertificateExpires())
	}
	a.counts.update(a.Ledger, &v)
	a.counts.show(out)
	a.told.update(a.Ledger)
	a.told.show(out)
}
