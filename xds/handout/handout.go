// Package handout gives the assignment, with its secrets, to filters that another control plane configures and to which
// nothing can be pushed: protocol.AssignmentPath.
//
// The rules are:
//   - Only who shows the proxy token gets it; without a token in the settings nobody does.
//   - No refusal says more than what to change, and none takes longer for a better guess.
//   - Nothing on the way keeps what is given.
package handout

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"keywheel/shared/secret"
	"keywheel/xds/guess"
)

// Options say what a Handler gives, and to whom.
type Options struct {
	Token   secret.Key                                    // zero: nothing is given
	Current func() (version string, configuration []byte) // the newest; an empty version: there is none yet
	Refresh func(ctx context.Context) error               // makes Current that of this moment
	Now     func() time.Time
	Log     *slog.Logger
}

// maxPeers bounds the addresses of which it is remembered that they were given the keys, for the log.
const maxPeers = 1024

// Handler is the http.Handler of protocol.AssignmentPath.
type Handler struct {
	Options
	wrong *guess.Limiter
	peers *lru.Cache[string, struct{}]
}

// New returns a Handler.
func New(o Options) *Handler {
	peers, _ := lru.New[string, struct{}](maxPeers) // fails only for sizes below 1
	return &Handler{Options: o, wrong: guess.New(o.Now), peers: peers}
}

// ServeHTTP implements http.Handler: 200 with a serialized Secret and its version as ETag, 304 for who has that version,
// or 401, 403, 405, 429, 503.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "the assignment is fetched by GET")
	case h.Token.IsZero():
		refuse(w, http.StatusForbidden, "the control plane gives no assignments away: set its KEYWHEEL_PROXY_TOKEN, and give filters the same value")
	case !h.admitted(r):
		h.refuseToken(w, r)
	default:
		h.give(w, r)
	}
}

// admitted takes as long for any token.
func (h *Handler) admitted(r *http.Request) bool {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := sha256.Sum256([]byte(token)), h.Token.Hash()
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && bearer
}

func (h *Handler) refuseToken(w http.ResponseWriter, r *http.Request) {
	wait, reached := h.wrong.Wrong(address(r))
	if wait == 0 {
		h.Log.Warn("An Envoy asked for its assignment with a wrong KEYWHEEL_PROXY_TOKEN", "peer", peer(r))
		w.Header().Set("WWW-Authenticate", `Bearer realm="keywheel"`)
		refuse(w, http.StatusUnauthorized, "the proxy token is missing or wrong: give the filter the control plane's KEYWHEEL_PROXY_TOKEN")
		return
	}
	if reached {
		h.Log.Error("Many wrong KEYWHEEL_PROXY_TOKENs come from one address; they are not written down one by one any more", "peer", peer(r))
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	refuse(w, http.StatusTooManyRequests, "too many wrong proxy tokens came from this address; the right one is accepted at once")
}

// give answers who may have the assignment. One that has some version asks often, and gets what was published; a new one
// gets the state of this moment.
func (h *Handler) give(w http.ResponseWriter, r *http.Request) {
	has := r.Header.Get("If-None-Match")
	if has == "" {
		if err := h.Refresh(r.Context()); err != nil {
			h.Log.Error("An Envoy gets the last assignment, as there is no newer one", "peer", peer(r), "error", err)
		}
	}
	version, configuration := h.Current()
	if version == "" {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "there is no assignment yet")
		return
	}
	if known, _ := h.peers.ContainsOrAdd(address(r).String(), struct{}{}); !known {
		h.Log.Info("An Envoy fetched its assignment, with the keys, by KEYWHEEL_PROXY_TOKEN", "peer", peer(r))
	}
	tag := `"` + version + `"`
	w.Header().Set("ETag", tag)
	if has == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Header().Set("Content-Length", strconv.Itoa(len(configuration)))
	if _, err := w.Write(configuration); err != nil {
		h.Log.Debug("An assignment was not sent", "error", err)
	}
}

// address is where a request came from; the zero address for a Unix socket.
func address(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Loopback()
	}
	return a.Addr().Unmap()
}

// peer is how a log line names where a request came from.
func peer(r *http.Request) string {
	if _, err := netip.ParseAddrPort(r.RemoteAddr); err != nil {
		return "the Unix socket"
	}
	return address(r).String()
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why}) // the peer is gone if this fails
}
