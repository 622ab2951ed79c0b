// Package fakegroq is a simulated Groq that owns the truth: it answers in Groq's shapes, fails as it is told to,
// and knows which key was asked what, how many tokens each answer stood for, and which bytes it sent.
//
// It is driven in two ways: by rules kept per key ([Server.Script]), and by a rule that a request carries in its
// [ScriptHeader]. Both are a [Rule]. What happened is read back with [Server.Ledger], [Server.Truth] and
// [Server.WaitFor]; nothing of it is ever guessed from timing.
//
// The package depends on nothing of the product's, so that an error of the product cannot hide in its own judge.
package fakegroq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"keywheel/e2e/testca"
)

// GroqHost is the name under which Groq is reached.
const GroqHost = "api.groq.com"

// Headers by which a test client speaks to the simulated Groq. Their names are harmless to every proxy on the way.
const (
	ScriptHeader = "X-Fake-Script" // a Rule for this request, as ParseRule reads it
	TagHeader    = "X-Fake-Id"     // a name that the truth shows with the request; attempts of one call share it

	TrailerHeader = "X-Fake-Trailer" // what Rule.Trailer puts after an answer
)

// MaxBodyBytes is the largest request body that is taken in; a larger one is answered 413.
const MaxBodyBytes = 128 << 20

// Options say how the simulated Groq stands there. The zero value serves plain HTTP on a free port and knows no key.
type Options struct {
	Addr  string   // host:port to listen on; empty: a free port of 127.0.0.1
	TLS   *TLS     // nil: plain HTTP/1.1 and HTTP/2 with prior knowledge
	Hosts []string // names served, as Host and SNI; others get an HTML 403. Empty: any name, with TLS only GroqHost
	Keys  []Key

	// TokensFor says how many tokens the answer to a request stands for, unless a rule says it.
	// nil: a quarter of the body's bytes for the prompt, and 20 for the completion.
	// It is called by many goroutines at once.
	TokensFor func(Request) (prompt, completion int64)

	// Remember is how many requests the truth lists; older ones are dropped, the accounts still count them.
	// 0: 10,000; negative: none, and no hashes are made.
	Remember int

	Now func() time.Time // the clock of limits and of "created"; nil: time.Now
}

// TLS says which certificate is shown.
type TLS struct {
	CA    *testca.CA // who signs it; nil: a new one
	Names []string   // names in the certificate; empty: GroqHost

	NoHTTP2 bool // offer HTTP/1.1 only
}

// Key is a secret that the simulated Groq accepts.
type Key struct {
	Secret string
	Name   string // shown in the truth, and what Rule.Only asks for; never a secret
	Org    string // keys of one organization share their limit; empty: an organization of its own

	TokenLimit int64         // 0: none
	Refill     time.Duration // 0: TokenLimit is a plain total per UTC day; else a bucket that fills within this time
}

// Server is a running simulated Groq. Its methods may be called by many goroutines at once.
type Server struct {
	opts Options
	ca   *testca.CA
	ln   net.Listener
	http *http.Server
	done chan struct{} // closed by Close: held answers end

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with each change of the truth
	waiters  int
	accounts map[string]*account // by secret
	orgs     map[string]*bucket
	rules    map[string][]*Rule // by secret, AnyKey for all
	log      requestLog
	held     map[string]chan struct{} // by request id
	seq      int64
	inFlight int64
	conns    int64
	tokens   func(Request) (prompt, completion int64)
}

// Start listens and serves until Close.
func Start(opts Options) (*Server, error) {
	s := &Server{
		opts:     opts,
		done:     make(chan struct{}),
		changed:  make(chan struct{}),
		accounts: map[string]*account{},
		orgs:     map[string]*bucket{},
		rules:    map[string][]*Rule{},
		held:     map[string]chan struct{}{},
		tokens:   opts.TokensFor,
	}
	s.log.limit = opts.Remember
	if opts.Remember == 0 {
		s.log.limit = 10_000
	}
	if s.opts.Now == nil {
		s.opts.Now = time.Now
	}
	for _, k := range opts.Keys {
		s.AddKey(k)
	}
	addr := opts.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("simulated Groq: %w", err)
	}
	s.ln = ln
	if err := s.serve(); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return s, nil
}

// serve sets the HTTP server up and runs it in the background.
func (s *Server) serve() error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s.http = &http.Server{
		Handler:     http.HandlerFunc(s.handle),
		Protocols:   protocols,
		ErrorLog:    log.New(discard{}, "", 0),
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 1000},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.change(func() { s.conns++ })
			}
		},
	}
	if s.opts.TLS == nil {
		protocols.SetUnencryptedHTTP2(true)
		go func() { _ = s.http.Serve(s.ln) }()
		return nil
	}
	protocols.SetHTTP2(!s.opts.TLS.NoHTTP2)
	if len(s.opts.Hosts) == 0 {
		s.opts.Hosts = []string{GroqHost}
	}
	var err error
	if s.ca = s.opts.TLS.CA; s.ca == nil {
		if s.ca, err = testca.NewCA("Simulated Groq test CA"); err != nil {
			return err
		}
	}
	names := s.opts.TLS.Names
	if len(names) == 0 {
		names = []string{GroqHost}
	}
	cert, err := s.ca.Serve(names...)
	if err != nil {
		return err
	}
	s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	go func() { _ = s.http.ServeTLS(s.ln, "", "") }()
	return nil
}

// Close ends every answer, held ones included, and stops listening.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.done:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.done)
	s.mu.Unlock()
	return s.http.Close()
}

// Addr is the host:port that is listened on.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// URL is the base address, without a path: "http://127.0.0.1:4711".
func (s *Server) URL() string {
	if s.opts.TLS != nil {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

// CA is who signed the certificate; nil without TLS.
func (s *Server) CA() *testca.CA { return s.ca }

// AddKey makes a secret accepted, or changes what holds for it. Its account stays.
func (s *Server) AddKey(k Key) {
	s.change(func() {
		a := s.accounts[k.Secret]
		if a == nil {
			a = &account{statuses: map[int]int64{}}
			s.accounts[k.Secret] = a
		}
		org := k.Org
		if org == "" {
			org = "org_of_" + k.Name + "_" + k.Secret
		}
		if s.orgs[org] == nil {
			s.orgs[org] = &bucket{}
		}
		s.orgs[org].limit, s.orgs[org].refill = k.TokenLimit, k.Refill
		a.key, a.bucket, a.known = k, s.orgs[org], true
	})
}

// RemoveKey makes a secret unknown: 401 from now on. Its account stays.
func (s *Server) RemoveKey(secret string) {
	s.change(func() {
		if a := s.accounts[secret]; a != nil {
			a.known = false
		}
	})
}

// UniqueTokens gives every request another total, first and upwards, a quarter of it completion: a lost or doubled
// answer names itself in a sum.
func UniqueTokens(first int64) func(Request) (prompt, completion int64) {
	var mu sync.Mutex
	next := first
	return func(Request) (int64, int64) {
		mu.Lock()
		defer mu.Unlock()
		total := next
		next++
		return total - total/4, total / 4
	}
}

// FixedTokens gives every request the same counts.
func FixedTokens(prompt, completion int64) func(Request) (int64, int64) {
	return func(Request) (int64, int64) { return prompt, completion }
}

// change runs f under the lock and wakes everybody who waits.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.waiters > 0 {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

type connKey struct{}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
