// Package collector takes usage reports over HTTP: it says who may report, and what a report may be. What it means is
// the ledger's matter.
package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"keywheel/shared/protocol"
	"keywheel/xds/ledger"
)

// MaxBody is the largest report that is read, in bytes.
const MaxBody = 1 << 20

// Bounds of what a body may hold before it is decoded: empty objects of two bytes become structs of more than a
// hundred. A thousand keys in two windows stay below half of each.
const (
	maxObjects = 16 << 10
	maxCommas  = 128 << 10
)

// Ledger takes reports in.
type Ledger interface {
	// CheckToken says whether the bearer of this token may report.
	CheckToken(token string) bool
	// Apply takes a report in; it is durable on return. The errors are the ledger's.
	Apply(ctx context.Context, peer ledger.Peer, r *protocol.Report) (*protocol.Answer, error)
}

// Stats counts reports since the process began.
type Stats struct {
	Accepted, Unauthorized, Malformed, TooLarge, Gone, Unavailable int64
}

// Handler is the http.Handler of protocol.ReportPath.
type Handler struct {
	ledger Ledger
	peer   func(*http.Request) ledger.Peer
	log    *slog.Logger

	accepted, unauthorized, malformed, tooLarge, gone, unavailable atomic.Int64
}

// New returns a Handler. peer tells where a report came from.
func New(l Ledger, peer func(*http.Request) ledger.Peer, log *slog.Logger) *Handler {
	return &Handler{ledger: l, peer: peer, log: log}
}

// Stats returns the counts.
func (h *Handler) Stats() Stats {
	return Stats{
		Accepted: h.accepted.Load(), Unauthorized: h.unauthorized.Load(), Malformed: h.malformed.Load(),
		TooLarge: h.tooLarge.Load(), Gone: h.gone.Load(), Unavailable: h.unavailable.Load(),
	}
}

// ServeHTTP implements http.Handler: 200 with a protocol.Answer, or 400, 401, 405, 410, 413, 503.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "usage reports are posted")
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !h.ledger.CheckToken(token) {
		h.unauthorized.Add(1)
		refuse(w, http.StatusUnauthorized, "the report token is missing or wrong")
		return
	}
	body, err := read(w, r)
	if err != nil {
		h.refuseBody(w, err)
		return
	}
	report, err := decode(body)
	if err != nil {
		h.malformed.Add(1)
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	answer, err := h.ledger.Apply(context.WithoutCancel(r.Context()), h.peer(r), report) // an Envoy that ends does not wait
	if err != nil {
		h.refuseReport(w, err)
		return
	}
	h.accepted.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		h.log.Debug("The answer to a usage report was not sent", "error", err)
	}
}

// Room for a body is made in pieces, in bytes: the first one takes most reports of a few keys, and none is larger than what a
// peer who only claims a length may cost. Pieces do not move as a buffer that grows does, so that all of them, and the body
// that is made of them, are little more than twice the body.
const (
	usualBody = 2 << 10
	pieceSize = 64 << 10
)

// read returns the body. The error is a *http.MaxBytesError for one that is too large.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, &http.MaxBytesError{Limit: MaxBody}
	}
	from := http.MaxBytesReader(w, r.Body, MaxBody)
	var full [][]byte
	piece := make([]byte, 0, min(max(usualBody, r.ContentLength+1), pieceSize)) // one more, to see the end
	for {
		n, err := from.Read(piece[len(piece):cap(piece)])
		piece = piece[:len(piece)+n]
		switch {
		case errors.Is(err, io.EOF) && full == nil:
			return piece, nil
		case errors.Is(err, io.EOF):
			return bytes.Join(append(full, piece), nil), nil
		case err != nil:
			return nil, err
		case len(piece) == cap(piece):
			full = append(full, piece)
			piece = make([]byte, 0, min(2*cap(piece), pieceSize))
		}
	}
}

var errNoReport = errors.New("the body is no usage report")

// decode reads a report. Fields that it does not know are ignored; the values of the others are the ledger's to check.
func decode(body []byte) (*protocol.Report, error) {
	if bytes.Count(body, []byte{'{'}) > maxObjects || bytes.Count(body, []byte{','}) > maxCommas {
		return nil, errors.New("the usage report has too many entries")
	}
	report := new(protocol.Report)
	if err := json.Unmarshal(body, report); err != nil {
		return nil, errNoReport
	}
	return report, nil
}

func (h *Handler) refuseBody(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		h.tooLarge.Add(1)
		refuse(w, http.StatusRequestEntityTooLarge, "a usage report has at most 1 MiB")
		return
	}
	h.malformed.Add(1)
	refuse(w, http.StatusBadRequest, "the body ended early")
}

func (h *Handler) refuseReport(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ledger.ErrBadReport):
		h.malformed.Add(1)
		refuse(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ledger.ErrGone):
		h.gone.Add(1)
		refuse(w, http.StatusGone, err.Error())
	default:
		h.unavailable.Add(1)
		h.log.Debug("A usage report could not be taken in; it will come again", "error", err) // the ledger says it once
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "the account cannot be written now")
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // the peer is gone if this fails
}
