package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A session lets the page show once that it has a token, instead of keeping it where scripts can read it.
const (
	sessionCookie = "keywheel_session"
	sessionPath   = "/api/v1/session"
	sessionBytes  = 32             // of randomness in its ID
	sessionLasts  = 12 * time.Hour // and no longer
	sessionIdle   = 2 * time.Hour  // without a request, or a stream, that it ends after
	maxSessions   = 100            // at once; one more ends the one that was not used for longest
)

// sessions are in memory only, so a restart ends them all. They are known by the digests of their IDs: what is read out
// of memory or a core dump signs nobody in.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	live *simplelru.LRU[digest, *session]
}

type session struct {
	token       digest // that it was made with; no other admits it
	began, used time.Time
}

func newSessions(now func() time.Time) *sessions {
	live, _ := simplelru.NewLRU[digest, *session](maxSessions, nil) // fails only for a size below 1
	return &sessions{now: now, live: live}
}

// begin makes a session for who showed a token, and returns its ID.
func (s *sessions) begin(token digest) string {
	random := make([]byte, sessionBytes)
	_, _ = rand.Read(random) // never fails, by its documentation
	id := base64.RawURLEncoding.EncodeToString(random)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Add(sha256.Sum256([]byte(id)), &session{token: token, began: now, used: now})
	return id
}

// find returns the token's digest of the first of cookies that names a session, sets id to that session's digest, and
// counts as its use. There may be others: another server on this host can set cookies of this name.
func (s *sessions) find(cookies []*http.Cookie, id *digest) (token digest, ok bool) {
	for _, cookie := range cookies {
		sum := digest(sha256.Sum256([]byte(cookie.Value)))
		if token, ok := s.touch(sum); ok {
			*id = sum
			return token, true
		}
	}
	return digest{}, false
}

// use says whether the session has not ended, and counts as its use.
func (s *sessions) use(id digest) bool {
	_, ok := s.touch(id)
	return ok
}

func (s *sessions) touch(id digest) (token digest, ok bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	live, ok := s.live.Get(id)
	if !ok {
		return digest{}, false
	}
	if now.Sub(live.began) >= sessionLasts || now.Sub(live.used) >= sessionIdle {
		s.live.Remove(id)
		return digest{}, false
	}
	live.used = now
	return live.token, true
}

func (s *sessions) end(id digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.Remove(id)
}

// Session is what the caller is admitted to.
type Session struct {
	Access string `json:"access" enum:"admin,read" doc:"What the token or the session admits to: everything, or reading."`
}

type sessionOutput struct{ Body Session }

type signInInput struct {
	Body struct {
		Token string `json:"token" format:"password" writeOnly:"true" doc:"The admin token, or the read-only token."`
	}
}

type cookieOutput struct {
	SetCookie string `header:"Set-Cookie"`
}

// signsIn says whether a request asks for a session: the only one below /api/ that needs no token before it is looked at.
func signsIn(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == sessionPath }

func (a *api) registerSession() {
	signIn := guardedOperation(huma.Operation{
		OperationID: "sign-in", Method: http.MethodPost, Path: sessionPath, Tags: []string{tagSession},
		Summary: "Begin a session", DefaultStatus: http.StatusNoContent,
		Description: "For the page. The session is a cookie, for 12 hours, that ends after 2 hours without use, and with the token.",
	}, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity)
	signIn.Security = nil
	huma.Register(a.huma, signIn, a.signIn)
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: sessionPath, Tags: []string{tagSession},
		Summary: "What the caller is admitted to",
	}), func(ctx context.Context, _ *struct{}) (*sessionOutput, error) {
		c := caller(ctx)
		return &sessionOutput{Body: Session{Access: c.admits.String()}}, nil
	})
	huma.Register(a.huma, guardedOperation(huma.Operation{
		OperationID: "sign-out", Method: http.MethodDelete, Path: sessionPath, Tags: []string{tagSession},
		Summary: "End the session", DefaultStatus: http.StatusNoContent,
	}), func(ctx context.Context, _ *struct{}) (*cookieOutput, error) {
		c := caller(ctx)
		a.guard.sessions.end(c.session)
		return &cookieOutput{SetCookie: cookieOf(&c, "", -1)}, nil
	})
}

func (a *api) signIn(ctx context.Context, in *signInInput) (*cookieOutput, error) {
	c, token := caller(ctx), digestOf(in.Body.Token)
	if a.guard.level(token) == accessNone {
		no := a.guard.wrongToken(ctx, &c)
		a.guard.note(ctx, &c, no, "sign in", func() string { return "" })
		return nil, no.err()
	}
	a.guard.sessions.end(c.session) // a new one in its place: nobody can have chosen its ID
	return &cookieOutput{SetCookie: cookieOf(&c, a.guard.sessions.begin(token), int(sessionLasts.Seconds()))}, nil
}

// cookieOf returns the session's cookie; one with a negative age, in seconds, takes it away.
func cookieOf(c *Caller, id string, age int) string {
	cookie := http.Cookie{ //nolint:gosec // Secure where the browser came by https; on loopback it did not, and would not keep it
		Name: sessionCookie, Value: id, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: c.secure,
	}
	return cookie.String()
}
