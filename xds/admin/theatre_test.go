package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
)

const streamPath = "/api/v1/stream"

// live is an account that changes while it is asked.
type live struct {
	*account
	mu sync.Mutex
}

func (l *live) View() ledger.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.account.View()
	v.Keys, v.Proxies = slices.Clone(v.Keys), slices.Clone(v.Proxies)
	return v
}

func (l *live) Newest(limit int) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account.Newest(limit)
}

func (l *live) Events(after int64, limit int) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account.Events(after, limit)
}

// change changes the account.
func (l *live) change(f func(*account)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.account)
}

// pipes is a listener whose connections are in memory, so that time in a bubble passes while they wait.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// theatre is an API on a real server, with clients of its own.
type theatre struct {
	*fixture
	account *live
	client  *http.Client
	closing chan struct{}
	close   func()
}

// newTheatre serves over pipes, with the time-outs of the real server. Its close ends all.
func newTheatre(t *testing.T, changes ...func(*admin.Options)) *theatre {
	t.Helper()
	s := &theatre{closing: make(chan struct{})}
	changes = append(changes, func(o *admin.Options) { o.Closing = s.closing })
	s.fixture = newFixture(t, changes...)
	s.account = &live{account: s.fixture.account}
	s.options.Ledger = s.account
	s.handler = admin.New(s.options)
	srv, listener, served := admin.NewServer(s.handler, nil), newPipes(), make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	transport := &http.Transport{DialContext: listener.dial, DisableKeepAlives: true}
	s.client = &http.Client{Transport: transport}
	s.close = func() {
		transport.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
	return s
}

// message is one of a stream.
type message struct{ kind, data string }

// spectator reads a stream.
type spectator struct {
	status int
	header http.Header
	got    chan message // closed at the end
	leave  func()
}

// watch opens a stream. Its messages are read as they come.
func (s *theatre) watch(t *testing.T, change ...func(*http.Request)) *spectator {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:8080"+streamPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+readToken)
	for _, c := range change {
		c(r)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	w := &spectator{status: answer.StatusCode, header: answer.Header, got: make(chan message, 1000), leave: leave}
	go func() {
		defer close(w.got)
		defer answer.Body.Close()
		var m message
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			line := lines.Text()
			if kind, ok := strings.CutPrefix(line, "event: "); ok {
				m.kind = kind
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				m.data = data
			}
			if line == "" {
				w.got <- m
				m = message{}
			}
		}
	}()
	return w
}

// take returns the messages so far, and whether the stream has ended.
func (w *spectator) take() (all []message, ended bool) {
	for {
		select {
		case m, open := <-w.got:
			if !open {
				return all, true
			}
			all = append(all, m)
		default:
			return all, false
		}
	}
}

// after lets time pass in a bubble and returns what came meanwhile: "state", "event 7".
func (w *spectator) after(t *testing.T, d time.Duration) string {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
	all, ended := w.take()
	var kinds []string
	for _, m := range all {
		kind := m.kind
		if kind == "event" {
			var e admin.Event
			if err := json.Unmarshal([]byte(m.data), &e); err != nil {
				t.Fatal(err)
			}
			kind += " " + e.ID
		}
		kinds = append(kinds, kind)
	}
	if ended {
		kinds = append(kinds, "end")
	}
	return strings.Join(kinds, ", ")
}

func (w *spectator) want(t *testing.T, d time.Duration, want string) {
	t.Helper()
	if got := w.after(t, d); got != want {
		t.Errorf("after %v: got %q, want %q", d, got, want)
	}
}

// rights are what admits to an API, and the time that it goes by, as a test sets them.
type rights struct {
	mu          sync.Mutex
	admin, read string
	ahead       time.Duration // of the bubble's time
}

func (r *rights) use(o *admin.Options) {
	o.Tokens = func() (admin, read secret.Key) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return secret.New(r.admin), secret.New(r.read)
	}
	o.Now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Now().Add(r.ahead)
	}
}

func (r *rights) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// ask does a request that is accepted.
func (s *theatre) ask(t *testing.T, method, path string, change func(*http.Request)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:8080"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	answer, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode/100 != 2 {
		t.Errorf("%s %s: got %d, %v", method, path, answer.StatusCode, err)
	}
}
