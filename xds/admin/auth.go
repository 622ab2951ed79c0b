package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"keywheel/shared/secret"
)

// public are the only paths that need no token, compared as they stand: any other spelling needs one.
var public = map[string]bool{"/": true, "/healthz": true, "/readyz": true}

// access is what a token admits to.
type access int

const (
	accessNone  access = iota
	accessRead         // GET and HEAD
	accessAdmin        // everything
)

// guard knows the tokens by their digests, so that a comparison takes the same time whatever their lengths.
type guard struct {
	admin, read digest
}

type digest struct {
	set bool
	sum [sha256.Size]byte
}

func newGuard(admin, read secret.Key) *guard {
	return &guard{
		admin: digest{set: !admin.IsZero(), sum: admin.Hash()},
		read:  digest{set: !read.IsZero(), sum: read.Hash()},
	}
}

// wrap lets through to next what the request's token admits to.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if public[r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		reading := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch has := g.access(r.Header.Values("Authorization")); {
		case has == accessNone:
			w.Header().Set("WWW-Authenticate", `Bearer realm="keywheel"`)
			problem(w, http.StatusUnauthorized, "Send a valid token: Authorization: Bearer TOKEN.")
		case has == accessRead && !reading:
			problem(w, http.StatusForbidden, "The read-only token cannot change anything; this needs the admin token.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// access returns what the Authorization header's values admit to: nothing unless there is exactly one.
func (g *guard) access(values []string) access {
	if len(values) != 1 {
		return accessNone
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return accessNone
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	isAdmin, isRead := g.admin.matches(sum), g.read.matches(sum) // always both: the time tells nothing
	switch {
	case isAdmin:
		return accessAdmin
	case isRead:
		return accessRead
	}
	return accessNone
}

// matches says whether sum is the digest, in a time that does not depend on either.
func (d digest) matches(sum [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(d.sum[:], sum[:]) == 1 && d.set
}
