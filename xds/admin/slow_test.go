package admin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keywheel/shared/secret"
)

// slowClients is how many there are of each kind.
const slowClients = 250

// slowClient opens a connection, sends start, then a byte at a time for as long as the server takes them, and says when
// the server has hung up. It never reads the clock: what it waits for is the server.
func slowClient(addr, start string, drip *time.Ticker) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, start); err != nil {
		return err
	}
	hungUp := make(chan error, 1)
	go func() {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := io.Copy(io.Discard, conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			hungUp <- errors.New("the server never hung up")
			return
		}
		hungUp <- nil // a reset is hanging up, too
	}()
	for {
		select {
		case err := <-hungUp:
			return err
		case <-drip.C:
			_, _ = conn.Write([]byte("x")) // an error shows in the reader
		}
	}
}

// TestSlowClients has 250 connections that never end their headers, and 250 that send a body a byte at a time, while
// others ask. Those are answered as before, and the slow ones are hung up on.
func TestSlowClients(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("PUT /api/v1/clock", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			t.Error("a body that never ends has ended")
		}
	})
	g := newGuard(Options{Token: secret.New("token"), Now: time.Now})
	open := connections{open: make(map[net.Conn]bool)}
	addr := serveOn(t, around(mux, g), func(srv *http.Server) {
		srv.ReadHeaderTimeout, srv.ReadTimeout, srv.ConnState = 3*time.Second, 4*time.Second, open.changed
	})
	before := askMany(t, addr)

	gone := make(chan error, 2*slowClients)
	for i := range 2 * slowClients {
		start := "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
		if i%2 == 1 {
			start = "PUT /api/v1/clock HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\nContent-Length: 60000\r\n\r\n"
		}
		go func() {
			drip := time.NewTicker(time.Second)
			defer drip.Stop()
			gone <- slowClient(addr, start, drip)
		}()
	}
	open.wait(t, func(n int) bool { return n >= 2*slowClients })
	during := askMany(t, addr)
	if n := open.count(); n < slowClients {
		t.Errorf("only %d connections were open while others asked: the test was too slow to tell", n)
	}
	for range 2 * slowClients {
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
	}
	open.wait(t, func(n int) bool { return n == 0 })
	t.Logf("an answer took %v in the median, %v with %d slow clients", before, during, 2*slowClients)
	if slack := 4*before + 4*time.Millisecond; during > slack {
		t.Errorf("answers became slow: %v instead of %v", during, before)
	}
}

// askMany asks over connections of its own and returns the median of the times that it took.
func askMany(t *testing.T, addr string) time.Duration {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	var took []time.Duration
	for range 100 {
		start := time.Now()
		r, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("http://%s/healthz", addr), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
			t.Fatalf("got %d, %v", answer.StatusCode, err)
		}
		_ = answer.Body.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// connections are those that a server has open.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// wait polls until as many are open as want says.
func (c *connections) wait(t *testing.T, want func(int) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !want(c.count()) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d connections are open", c.count())
		}
	}
}

// TestConnectionsAreBounded opens more connections than are served at once: the last one is taken when another ends.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: l}
	bounded := Bounded(counting)
	taken := make(chan net.Conn, maxConns+1)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for c, err := bounded.Accept(); err == nil; c, err = bounded.Accept() {
			taken <- c
		}
	})
	var held []net.Conn
	for range maxConns + 1 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	first := <-taken
	for range maxConns - 1 {
		held = append(held, <-taken)
	}
	_ = first.Close()
	held = append(held, <-taken)
	if most := counting.most.Load(); most != maxConns {
		t.Errorf("%d connections were served at once, want %d", most, maxConns)
	}
	_ = bounded.Close()
	accepting.Wait()
	for _, c := range held {
		_ = c.Close()
	}
}

// countingListener counts the connections that it gave and that are open.
type countingListener struct {
	net.Listener
	open, most atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.most.Store(max(l.most.Load(), l.open.Add(1)))
	}
	return &countedConn{Conn: c, of: l}, err
}

type countedConn struct {
	net.Conn
	of *countingListener
}

func (c *countedConn) Close() error {
	c.of.open.Add(-1)
	return c.Conn.Close()
}
