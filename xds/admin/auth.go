package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/guess"
)

// public are the only paths that need no token, compared as they stand: any other spelling needs one.
var public = map[string]bool{"/": true, "/healthz": true, "/readyz": true, metricsPath: true}

// assets is where the page's files are; they need no token either.
const assets = "/assets/"

func isPublic(p string) bool {
	return public[p] || strings.HasPrefix(p, assets) && canonical(p)
}

// access is what a token admits to.
type access int

const (
	accessNone  access = iota
	accessRead         // GET and HEAD
	accessAdmin        // everything
)

func (a access) String() string { return [...]string{"none", "read", "admin"}[a] }

// digest is a SHA-256. Tokens are compared by their digests, so that it takes the same time whatever their lengths.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(strings.TrimSpace(token))) }

// guard decides who may do what.
type guard struct {
	tokens   func() (admin, read secret.Key)
	hosts    hosts
	sessions *sessions
	limiter  *guess.Limiter
	refusals *refusals

	operation func(r *http.Request) (what string)  // what the request would do, in the audit's words; "" if nothing
	subject   func(r *http.Request) (keyID string) // the key that it would do it to; "" if none
}

func newGuard(opts Options) *guard {
	tokens := opts.Tokens
	if tokens == nil {
		tokens = func() (admin, read secret.Key) { return opts.Token, opts.ReadToken }
	}
	return &guard{
		tokens:   tokens,
		hosts:    hostsOf(opts.Addr),
		sessions: newSessions(opts.Now),
		limiter:  guess.New(opts.Now),
		refusals: &refusals{sink: opts.Audit, now: opts.Now, log: opts.Log},
	}
}

// wrap lets through to next what the request's token or session admits to. Handlers learn by caller who it is.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPublic(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		g.refusals.settle(r.Context())
		c, no := g.identify(r)
		if no == nil {
			no = g.permit(r, &c)
		}
		if no == nil {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
			return
		}
		if !safe(r.Method) {
			if what := g.operation(r); what != "" {
				g.note(r.Context(), &c, no, what, func() string { return g.subject(r) })
			}
		}
		for name, values := range no.header() {
			w.Header()[name] = values
		}
		problem(w, no.status, no.detail)
	})
}

// identify says who makes the request: whoever shows a token, or else a session. Who signs in is nobody yet.
func (g *guard) identify(r *http.Request) (Caller, *denial) {
	c := Caller{Who: audit.Nobody, addr: address(r.RemoteAddr), secure: overTLS(r), guard: g}
	if c.addr.IsValid() {
		c.From = c.addr.String()
	}
	token, live := g.sessions.find(r.CookiesNamed(sessionCookie), &c.session)
	values := r.Header.Values("Authorization")
	switch {
	case len(values) > 0:
		c.token = bearerDigest(values)
		switch c.admits = g.level(c.token); c.admits {
		case accessAdmin:
			c.Who = audit.Admin
		case accessRead:
			c.Who = audit.Read
		default:
			return c, g.wrongToken(r.Context(), &c)
		}
	case signsIn(r): // nobody, whatever session there was before
	case live:
		c.token = token
		if c.admits = g.level(token); c.admits == accessNone {
			g.sessions.end(c.session)
			return c, unauthorized()
		}
		c.Who = audit.Page
	default:
		return c, unauthorized()
	}
	return c, nil
}

// permit says why c may not do what it asks for; nil if it may.
func (g *guard) permit(r *http.Request, c *Caller) *denial {
	if c.Who == audit.Page || signsIn(r) {
		if why := g.hosts.foreign(r); why != "" {
			return forbidden(why)
		}
	}
	if c.Who == audit.Page && !reads(r.Method) && r.Header.Get(pageHeader) != "1" {
		return forbidden("A session changes things only by requests of its own page; these carry " + pageHeader + ": 1.")
	}
	if c.admits == accessRead && r.URL.Path == backupPath {
		return forbidden("A backup holds everything, sealed secrets too; it needs the admin token.")
	}
	if c.admits == accessRead && !reads(r.Method) && r.URL.Path != sessionPath {
		return forbidden("The read-only token cannot change anything; this needs the admin token.")
	}
	return nil
}

// level returns what a token admits to, in a time that does not depend on which bytes are wrong.
func (g *guard) level(token digest) access {
	admin, read := g.tokens()
	isAdmin, isRead := matches(admin, token), matches(read, token) // always both: the time tells nothing
	switch {
	case isAdmin:
		return accessAdmin
	case isRead:
		return accessRead
	}
	return accessNone
}

func matches(want secret.Key, token digest) bool {
	sum := want.Hash()
	return subtle.ConstantTimeCompare(sum[:], token[:]) == 1 && !want.IsZero()
}

// bearerDigest returns the digest of the token in the Authorization header's values. What is not exactly one bearer
// token has a digest that no token has.
func bearerDigest(values []string) digest {
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return digest{}
	}
	return digestOf(token)
}

// wrongToken counts a wrong token and returns how it is refused.
func (g *guard) wrongToken(ctx context.Context, c *Caller) *denial {
	wait, reached := g.limiter.Wrong(c.addr)
	if wait == 0 {
		return unauthorized()
	}
	if reached {
		g.refusals.record(ctx, &g.refusals.guessing, c, func() audit.Entry {
			return audit.Entry{
				What:   "try tokens",
				Detail: "More than 10 wrong ones within a minute; more are answered 429, and not written down one by one.",
			}
		})
	}
	return &denial{
		status: http.StatusTooManyRequests, wait: wait,
		detail: "Too many wrong tokens came from this address. A valid one is accepted at once; wrong ones wait.",
	}
}

// note records in the audit that c was refused to do what; subject tells to which key.
func (g *guard) note(ctx context.Context, c *Caller, no *denial, what string, subject func() string) {
	if no.status == http.StatusTooManyRequests {
		return // wrongToken did
	}
	room, why := &g.refusals.known, no.detail
	if c.Who == audit.Nobody {
		room = &g.refusals.nobody
	}
	if no.status == http.StatusUnauthorized {
		why = "No valid token."
	}
	g.refusals.record(ctx, room, c, func() audit.Entry { return audit.Entry{What: what, Key: subject(), Detail: why} })
}

// denial is why and how a request is refused.
type denial struct {
	status int
	detail string
	wait   time.Duration // until it may be tried again, for 429
}

func unauthorized() *denial {
	return &denial{status: http.StatusUnauthorized, detail: "Send a valid token: Authorization: Bearer TOKEN."}
}

func forbidden(why string) *denial { return &denial{status: http.StatusForbidden, detail: why} }

func (d *denial) header() http.Header {
	switch d.status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="keywheel"`}}
	case http.StatusTooManyRequests:
		return http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(d.wait.Seconds())))}}
	}
	return nil
}

// err is the denial as an operation returns it.
func (d *denial) err() error {
	return huma.ErrorWithHeaders(huma.NewError(d.status, d.detail), d.header())
}

// reads says whether a method only reads.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// safe says whether a method can change nothing, whatever the path.
func safe(method string) bool { return reads(method) || method == http.MethodOptions }
