// Package admin serves the operator's HTTP API: what the ledger knows of keys, pool and proxies, and the few changes an
// operator makes by hand. Document and code cannot part: the OpenAPI 3.1 description is made from the same types that
// the answers are written from.
//
// The rules are:
//   - Percentages, health and score are 0…100 with one decimal; times are RFC 3339 in UTC; IDs are strings; null stands
//     for unknown or none.
//   - Every path needs a bearer token or the page's session, but those named in public. The read-only token may GET and HEAD.
//   - A session counts only for requests of the page itself (origin.go). A bearer token needs no such care: no browser
//     sends it by itself.
//   - What is refused is written to the audit, within bounds (refusals.go).
//   - Errors are problem+json (RFC 9457) and never repeat what the client sent.
package admin

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/net/netutil"

	"keywheel/shared/quota"
	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/backup"
	"keywheel/xds/clock"
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
	// Void takes out of the account what an incarnation counted; ledger.ErrNoIncarnation if there is none. On an error
	// nothing has changed.
	Void(ctx context.Context, incarnation string, by audit.Entry) error
	// Newest returns the newest events, and Events those after the one with an ID; both oldest first.
	Newest(limit int) []event.Event
	Events(after int64, limit int) []event.Event
	// Notifications returns the newest of them in one of the states (none: in any), newest first.
	Notifications(limit int, states ...event.State) []event.Notification
	// Series and Hours return what each key took over a window, in steps of five minutes and of an hour.
	Series(w quota.Window) (by map[string]ledger.Series, ok bool)
	Hours(w quota.Window) map[string]ledger.Series
	// Callers returns what callers took in a window.
	Callers(w quota.Window) []ledger.CallerUse
	// Audits returns the newest entries of the audit, newest first.
	Audits(limit int) []audit.Entry
	// Summary returns what a window came to so far; ok is false where nothing is known of it.
	Summary(w quota.Window) (s summary.Summary, ok bool)
}

// Options is what an API is made of.
type Options struct {
	Ledger    Ledger
	Roster    Roster     // nil: keys cannot be changed
	Notifier  Notifier   // nil: there is nobody to tell
	Vault     Vault      // nil: there are no backups
	Token     secret.Key // admits to everything; without one nothing but the public paths can be reached
	ReadToken secret.Key // admits to GET and HEAD; none if zero

	// Tokens returns what stands in for Token and ReadToken, where they can change while this runs. A session ends with
	// the token that it was made with. Nil: Token and ReadToken, always.
	Tokens func() (admin, read secret.Key)

	// Addr is the host:port that the API listens on. If that is loopback, browsers may reach the page only by a name of
	// this machine's own. Empty: by any name.
	Addr string

	// Page is the dashboard, on GET / and below GET /assets/, for which no token is needed. Nil: a page that says where
	// the API is.
	Page http.Handler

	// Audit keeps the record of what was refused; it sets the entry's ID and time. Nil: nobody does.
	Audit func(ctx context.Context, e audit.Entry) error

	// Missing names, in a few words each, what still keeps the control plane from serving Envoys ("store", "xds").
	// It is shown without a token. Nil: nothing is ever missing.
	Missing func() []string

	// Metrics answers GET /metrics, without a token. Nil: there are none.
	Metrics http.Handler

	// Wrap stands around what answers those who were let in, and may ask afterwards by which pattern (http.Request.Pattern).
	// Nil: nothing does.
	Wrap func(http.Handler) http.Handler

	// SetClock moves the virtual clock. Nil: the clock is real and PUT /api/v1/clock does not exist.
	SetClock func(ctx context.Context, now time.Time, speed float64) error

	// Closing ends the streams that are open when it is closed, so that the server can be shut down. Nil: never.
	Closing <-chan struct{}

	Now     func() time.Time // the host's time, never a virtual one; nil: time.Now
	Version string           // Keywheel's own, for the API's description
	Log     *slog.Logger     // nil: nothing is logged
}

// metricsPath is where Prometheus scrapes.
const metricsPath = "/metrics"

// maxBody is the most bytes of a request body that are read.
const maxBody = 64 << 10

// api holds the operations.
type api struct {
	Options
	huma    huma.API
	guard   *guard
	streams chan struct{} // holds one for each stream that is open
}

// New returns the API's handler: everything that is served on the admin address.
func New(opts Options) http.Handler {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Missing == nil {
		opts.Missing = func() []string { return nil }
	}
	if opts.Wrap == nil {
		opts.Wrap = func(next http.Handler) http.Handler { return next }
	}
	if opts.Now == nil {
		opts.Now = clock.Real().Now
	}
	mux := http.NewServeMux()
	a := &api{Options: opts, huma: humago.New(mux, describe(opts.Version)), guard: newGuard(opts)}
	a.registerHealth()
	a.registerSession()
	a.registerPool()
	a.registerKeys()
	a.registerProxies()
	a.registerEvents()
	a.registerNotifications()
	a.registerSummaries()
	a.registerUsage()
	a.registerAudits()
	a.registerStream()
	if opts.Roster != nil {
		a.registerEdits()
	}
	if opts.Vault != nil {
		a.registerBackups()
	}
	if opts.SetClock != nil {
		a.registerClock()
	}
	mountPage(mux, opts.Page)
	if opts.Metrics != nil {
		mux.Handle("GET "+metricsPath, opts.Metrics)
	}
	mux.HandleFunc("GET "+documentPath, document(a.huma.OpenAPI(), opts.Log))

	a.guard.operation, a.guard.subject = a.operations(mux), a.subject
	return around(opts.Wrap(problems(mux)), a.guard)
}

// around is what every request passes on its way to next. None of it wraps the ResponseWriter, so an answer that goes on
// for long can be flushed, and take its time, by http.ResponseController.
func around(next http.Handler, g *guard) http.Handler {
	return headers(bounded(g.wrap(next)))
}

// bounded keeps bodies small, but for a backup that is restored.
func bounded(next http.Handler) http.Handler {
	small, large := http.MaxBytesHandler(next, maxBody), http.MaxBytesHandler(next, backup.MaxSize)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == restorePath {
			large.ServeHTTP(w, r)
			return
		}
		small.ServeHTTP(w, r)
	})
}

// maxConns is how many connections the API serves at once. More wait until one ends or is timed out: whoever can open
// thousands must not use up the files that the store and the Envoys need.
const maxConns = 1024

// Bounded returns l with at most 1024 connections at a time.
func Bounded(l net.Listener) net.Listener { return netutil.LimitListener(l, maxConns) }

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
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
