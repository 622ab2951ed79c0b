// Package server serves Envoys on one listener: the configuration of the filter by xDS, the way for usage reports, and the
// assignment for filters that another control plane configures.
//
// The rules are:
//   - Whoever reaches the listener gets the keys: it is a Unix socket of the user's own, or loopback, unless clients must
//     prove who they are by TLS, or the user asked for more by name.
//   - The first answer on each stream is made of the state of that moment.
//   - What an Envoy refused is not sent to it again at once.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc"

	"keywheel/shared/protocol"
)

// Observer is told what happens on the listener: the ledger. Its methods may be called from several goroutines at once.
type Observer interface {
	// NodeSeen says that an Envoy of this version ("1.40.0"; empty: unknown) opened a stream. Stream IDs are unique.
	NodeSeen(nodeID, version string, stream int64)
	// NodeGone says that the stream ended.
	NodeGone(nodeID string, stream int64)
	// OldEnvoy says that a node's Envoy is too old to run the filter.
	OldEnvoy(ctx context.Context, nodeID, version string) error
	// Rejected says that a node refused a configuration, and why.
	Rejected(ctx context.Context, nodeID, message string) error
	// ConnClosed says that a connection, known by Conn.ID, is closed.
	ConnClosed(ctx context.Context, id uint64) error
}

// Config says what a Server serves.
type Config struct {
	Cache    cachev3.Cache                   // from which streams are answered
	Refresh  func(ctx context.Context) error // brings Cache to the state of this moment
	Redact   func(text string) string        // takes secrets out of what an Envoy said; nil: as it is
	Reports  http.Handler                    // gets what is sent to protocol.ReportPath; see ConnFrom
	Handout  http.Handler                    // gets what is sent to protocol.AssignmentPath; nil: nothing is there
	Observer Observer
	Logger   *slog.Logger // nil: slog.Default()

	// TLS is how clients prove who they are, or are refused; nil: in the clear.
	TLS *tls.Config
	Now func() time.Time // by which the lines about refused connections are bounded; not nil with TLS

	// RetryAfter is how long an Envoy that refused a configuration is left alone before its stream is ended, so that it
	// asks again; n counts the refusals in a row, from 1. nil: 5 s, doubled each time up to 5 min, with jitter.
	RetryAfter func(n int) time.Duration
}

// Time limits of the listener. Streams live as long as their Envoy.
const (
	headerTimeout = 10 * time.Second
	pingAfter     = 20 * time.Second // of silence: is the peer still there?
	pingTimeout   = 10 * time.Second
)

// Server serves xDS and takes reports.
type Server struct {
	Config
	http *http.Server
	grpc *grpc.Server
	end  context.CancelFunc // ends all streams

	stopping atomic.Bool // connections are closed from this side: that says nothing of who was behind them
}

// New returns a Server that does not listen yet.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Redact == nil {
		c.Redact = func(text string) string { return text }
	}
	if c.RetryAfter == nil {
		c.RetryAfter = retryAfter
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Config: c, grpc: grpc.NewServer(), end: cancel}
	xds := newStreams(ctx, s)
	extensionv3.RegisterExtensionConfigDiscoveryServiceServer(s.grpc, xds)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, xds)

	protocols := new(http.Protocols)
	protocols.SetHTTP1(c.TLS == nil)
	protocols.SetUnencryptedHTTP2(c.TLS == nil)
	protocols.SetHTTP2(c.TLS != nil)
	s.http = &http.Server{
		Handler:           s,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ReadHeaderTimeout: headerTimeout,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve serves l, which Listen made, until Shutdown. It then returns nil.
func (s *Server) Serve(l net.Listener) error {
	l = &tracked{Listener: l, closed: s.connClosed}
	if s.TLS != nil {
		l = secure(l, s.TLS, newRefusals(s.Logger, s.Now).tell)
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown ends all streams, lets reports that are being taken end, and closes the listener. When ctx ends, it cuts
// what is left and returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.end()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.grpc.Stop()
	return err
}

// ServeHTTP implements http.Handler: gRPC and reports share the listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		s.grpc.ServeHTTP(w, r)
	case r.URL.Path == protocol.ReportPath:
		s.Reports.ServeHTTP(w, r)
	case r.URL.Path == protocol.AssignmentPath && s.Handout != nil:
		s.Handout.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) connClosed(id uint64) {
	if s.stopping.Load() {
		return
	}
	if err := s.Observer.ConnClosed(context.Background(), id); err != nil {
		s.Logger.Error("A closed connection could not be recorded", "error", err)
	}
}
