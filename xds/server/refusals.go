package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How much is said of refused connections: each reason of each host once, and no more lines than that, in a while.
const (
	sayAgain   = time.Minute
	sayAtMost  = 10
	rememberOf = 256 // hosts and reasons
)

// refusals says in the log why connections were refused, without letting those who are refused fill it.
type refusals struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	said   *lru.Cache[refusal, time.Time]
	since  time.Time // of the lines that are counted
	lines  int
	silent int // refusals that were not said since the last line
}

type refusal struct{ host, reason string }

func newRefusals(log *slog.Logger, now func() time.Time) *refusals {
	said, _ := lru.New[refusal, time.Time](rememberOf) // fails only for sizes below 1
	return &refusals{log: log, now: now, said: said}
}

// tell says why a connection was refused.
func (r *refusals) tell(peer net.Addr, err error) {
	host, _, splitErr := net.SplitHostPort(peer.String())
	if splitErr != nil {
		host = peer.String()
	}
	reason := why(err)
	if reason == "" { // a port scan, or a load balancer that asks whether somebody is there
		r.log.Debug("A connection ended before it was known whose it is", "peer", host, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.since) >= sayAgain {
		r.since, r.lines = now, 0
	}
	last, before := r.said.Get(refusal{host, reason})
	if r.lines >= sayAtMost || before && now.Sub(last) < sayAgain {
		r.silent++
		return
	}
	r.said.Add(refusal{host, reason}, now)
	r.lines++
	args := []any{"peer", host, "error", err}
	if r.silent > 0 {
		args = append(args, "others_not_shown", r.silent)
	}
	r.silent = 0
	r.log.Warn("A connection to the control plane was refused: "+reason, args...)
}

// why says what a handshake's failure means to whoever set both sides up; empty: nothing.
func why(err error) string {
	var unverified *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	var alert *net.OpError // what the peer said
	switch {
	case errors.As(err, &unverified):
		return "the client's certificate is not good; it must be of an authority in KEYWHEEL_TLS_CA, and for clients"
	case errors.As(err, &noTLS):
		return "the client does not speak TLS; give the cluster keywheel_control_plane a transport_socket, as keywheel envoy-config prints it"
	case errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ""
	case errors.As(err, &alert) && alert.Op == "remote error":
		return "the client does not take KEYWHEEL_TLS_CERT; it must be of an authority that the client trusts, and for the name that it expects"
	case errors.As(err, &alert):
		return "" // the network's affair
	case err.Error() == noCertificate:
		return "the client shows no certificate; give its TLS settings one of an authority in KEYWHEEL_TLS_CA"
	}
	return "no TLS could be agreed on"
}

// noCertificate is what crypto/tls says of a client without a certificate; it has no type for it.
const noCertificate = "tls: client didn't provide a certificate"
