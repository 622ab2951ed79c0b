package fakegroq

import (
	"context"
	"fmt"
	"maps"
	"net/http"
)

// Tokens is what one answer, or all answers of a key, stand for.
type Tokens struct {
	Prompt     int64
	Completion int64
	Cached     int64 // inside Prompt
}

// Total is what Groq states as total_tokens.
func (t Tokens) Total() int64 { return t.Prompt + t.Completion }

func (t *Tokens) add(u Tokens) {
	t.Prompt += u.Prompt
	t.Completion += u.Completion
	t.Cached += u.Cached
}

// Request is one request that arrived, and what became of it. Every attempt of a client's call is one of its own.
type Request struct {
	Seq    int64  // from 1, in the order of arrival
	ID     string // x-request-id of the answer
	Tag    string // what the client sent as TagHeader
	Key    string // name of the key; empty: an unknown secret, or none
	Secret string

	Method  string
	Path    string // with the query
	Host    string
	SNI     string      // empty without TLS
	Proto   string      // "HTTP/1.1", "HTTP/2.0"
	Header  http.Header // as received; not to be changed
	Trailer http.Header // of the request, once its body was read

	BodyBytes  int64  // what was read of the body
	BodySHA256 string // hex; empty until it was read to its end
	Model      string
	MaxTokens  int64 // 0: not asked for
	Stream     bool

	Fault  Fault  // what it was made to fail with; empty: a real answer
	Status int    // 0: none was sent (yet)
	Tokens Tokens // what the answer stands for
	Told   bool   // the answer's usage was sent: set before its first byte is
	Held   Point  // where the answer waits to be released; empty: nowhere

	AnswerBytes  int64  // of the body
	AnswerSHA256 string // hex, of the body; empty until Ended
	Ended        bool   // nothing more happens
	Complete     bool   // the answer's last byte was written; false at the end: it was cut, by whomever
}

// Account is what one secret was used for.
type Account struct {
	Name      string
	Requests  int64            // that arrived
	Statuses  map[int]int64    // answers begun, by status; broken off before that: 0
	Tokens    Tokens           // of answers whose usage was sent
	Untold    Tokens           // of answers that broke off before their usage
	Answers   int64            // whose usage was sent
	ByRequest map[string]int64 // total tokens by request id, of the remembered answers whose usage was sent
}

// Truth is everything that happened until now.
type Truth struct {
	Accounts    map[string]Account // by secret; unknown secrets stand under UnknownKey
	Requests    []Request          // the remembered ones, in the order of arrival
	Received    int64              // requests in all
	InFlight    int64              // that have not ended
	Connections int64              // accepted, whether or not a request came
}

// UnknownKey is the account of all requests without an accepted secret.
const UnknownKey = "unknown"

// Told is the sum of tokens that were told, over all keys.
func (t Truth) Told() int64 {
	var sum int64
	for _, a := range t.Accounts {
		sum += a.Tokens.Total()
	}
	return sum
}

// Tagged returns the requests that carried this tag.
func (t Truth) Tagged(tag string) []Request {
	var found []Request
	for _, r := range t.Requests {
		if r.Tag == tag {
			found = append(found, r)
		}
	}
	return found
}

// account is one secret's state, guarded by Server.mu.
type account struct {
	key      Key
	known    bool
	bucket   *bucket
	requests int64
	answers  int64
	statuses map[int]int64
	tokens   Tokens
	untold   Tokens
}

// Ledger returns the accounts by secret.
func (s *Server) Ledger() map[string]Account { return s.Truth().Accounts }

// Truth returns a copy of everything that happened until now.
func (s *Server) Truth() Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.truth()
}

func (s *Server) truth() Truth {
	t := Truth{
		Accounts:    make(map[string]Account, len(s.accounts)),
		Requests:    s.log.all(),
		Received:    s.seq,
		InFlight:    s.inFlight,
		Connections: s.conns,
	}
	for secret, a := range s.accounts {
		t.Accounts[secret] = Account{
			Name: a.key.Name, Requests: a.requests, Statuses: maps.Clone(a.statuses),
			Tokens: a.tokens, Untold: a.untold, Answers: a.answers, ByRequest: map[string]int64{},
		}
	}
	for _, r := range t.Requests {
		if a, known := t.Accounts[r.Secret]; known && r.Told {
			a.ByRequest[r.ID] = r.Tokens.Total()
		}
	}
	return t
}

// WaitFor returns once holds says yes to the truth. It looks at every change, and never waits for time to pass.
// The error says what the truth was when ctx ended.
func (s *Server) WaitFor(ctx context.Context, holds func(Truth) bool) error {
	s.mu.Lock()
	s.waiters++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiters--
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		changed, t := s.changed, s.truth()
		s.mu.Unlock()
		if holds(t) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("simulated Groq: not so in time (%d requests received, %d in flight, %d tokens told): %w",
				t.Received, t.InFlight, t.Told(), ctx.Err())
		}
	}
}

// WaitIdle returns once no request is in flight.
func (s *Server) WaitIdle(ctx context.Context) error {
	return s.WaitFor(ctx, func(t Truth) bool { return t.InFlight == 0 })
}

// WaitRequest returns the request with this id, once it has ended.
func (s *Server) WaitRequest(ctx context.Context, id string) (Request, error) {
	var found Request
	err := s.WaitFor(ctx, func(t Truth) bool {
		for _, r := range t.Requests {
			if r.ID == id && r.Ended {
				found = r
				return true
			}
		}
		return false
	})
	if err != nil {
		return Request{}, fmt.Errorf("request %q: %w", id, err)
	}
	return found, nil
}

// requestLog keeps the newest requests, in a ring once it is full.
type requestLog struct {
	limit int // negative: keeps none
	ring  []*Request
	next  int
}

func (l *requestLog) add(r *Request) {
	switch {
	case l.limit < 0:
	case len(l.ring) < l.limit:
		l.ring = append(l.ring, r)
	default:
		l.ring[l.next] = r
		l.next = (l.next + 1) % l.limit
	}
}

func (l *requestLog) all() []Request {
	out := make([]Request, 0, len(l.ring))
	for i := range l.ring {
		out = append(out, *l.ring[(l.next+i)%len(l.ring)])
	}
	return out
}
