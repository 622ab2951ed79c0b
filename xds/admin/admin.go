// Package admin serves the operator's HTTP API: what the ledger knows of keys, pool and proxies, and the few changes an
// operator makes by hand. Document and code cannot part: the OpenAPI 3.1 description is made from the same types that
// the answers are written from.
//
// The rules are:
//   - Percentages, health and score are 0…100 with one decimal; times are RFC 3339 in UTC; IDs are strings; null stands
//     for unknown or none.
//   - Every path needs a bearer token but those named in public. The read-only token may GET and HEAD.
//   - Errors are problem+json (RFC 9457) and never repeat what the client sent.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/summary"
)

// Ledger is what the API shows and changes.
type Ledger interface {
	// View returns the account at this instant.
	View() ledger.View
	// Clear forgets what was learned of the key's organization and returns the generation with which filters know it.
	// The change is durable when Clear returns; on an error nothing has changed.
	Clear(ctx context.Context, keyID string, by audit.Entry) (generation int64, err error)
	// Newest returns the newest events, and Events those after the one with an ID; both oldest first.
	Newest(limit int) []event.Event
	Events(after int64, limit int) []event.Event
	// Notifications returns the newest of them in one of the states (none: in any), newest first.
	Notifications(limit int, states ...event.State) []event.Notification
	// Summary returns what a window came to so far; ok is false where nothing is known of it.
	Summary(w quota.Window) (s summary.Summary, ok bool)
}

// Options is what an API is made of.
type Options struct {
	Ledger    Ledger
	Notifier  Notifier   // nil: there is nobody to tell
	Token     secret.Key // admits to everything; without one nothing but the public paths can be reached
	ReadToken secret.Key // admits to GET and HEAD; none if zero

	// Missing names, in a few words each, what still keeps the control plane from serving Envoys ("store", "xds").
	// It is shown without a token. Nil: nothing is ever missing.
	Missing func() []string

	// SetClock moves the virtual clock. Nil: the clock is real and PUT /api/v1/clock does not exist.
	SetClock func(ctx context.Context, now time.Time, speed float64) error

	Version string       // Keywheel's own, for the API's description
	Log     *slog.Logger // nil: nothing is logged
}

// maxBody is the most bytes of a request body that are read.
const maxBody = 64 << 10

// api holds the operations.
type api struct {
	Options
	huma huma.API
}

// New returns the API's handler: everything that is served on the admin address.
func New(opts Options) http.Handler {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Missing == nil {
		opts.Missing = func() []string { return nil }
	}
	mux := http.NewServeMux()
	a := &api{Options: opts, huma: humago.New(mux, describe(opts.Version))}
	a.registerHealth()
	a.registerPool()
	a.registerKeys()
	a.registerProxies()
	a.registerEvents()
	a.registerNotifications()
	a.registerSummaries()
	if opts.SetClock != nil {
		a.registerClock()
	}
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET "+documentPath, document(a.huma.OpenAPI(), opts.Log))

	guarded := newGuard(opts.Token, opts.ReadToken).wrap(problems(mux))
	return headers(http.MaxBytesHandler(guarded, maxBody))
}

// NewServer returns a server for handler whose time-outs free a connection that sends or takes bytes too slowly.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	if log != nil {
		srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // a broken connection is its client's matter
	}
	return srv
}

// headers sets what holds for every answer: nothing is cached, framed, sniffed or loaded from elsewhere.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
