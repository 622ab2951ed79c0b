package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"keywheel/shared/protocol"
)

// Relay stands between Envoys and the control plane. It hands each connection on as one of its own, so that the control
// plane sees it come and go, and does to connections and usage reports what a test wants.
type Relay struct {
	socket, target string
	listener       net.Listener
	server         *http.Server

	mu     sync.Mutex
	conns  map[*relayed]bool
	treat  func(Report) Treatment
	passed []Report
	shut   bool
}

// Treatment is what becomes of a usage report on its way.
type Treatment int

// The treatments.
const (
	Delivered   Treatment = iota
	RequestLost           // it never reaches the control plane, and the filter gets no answer
	AnswerLost            // it is taken in, and the filter gets no answer
	Repeated              // it is delivered again after it was answered, and after it the one before
)

// Report is a usage report that came to the relay.
type Report struct {
	Incarnation string
	Seq         int64
	Generation  int64            // of the allowances that the filter goes by
	Config      int64            // generation of the assignment that the filter goes by
	BadConfigs  int64            // assignments that the filter refused
	Tokens      map[string]int64 // that it says were used since its incarnation began, by key ID
	At          time.Time        // when it came
	Acked       time.Time        // when its answer went to the filter; zero: it did not
	Status      int              // of the control plane's answer; 0: there was none

	body   []byte
	header http.Header
}

// PutRelay puts a relay between an Envoy with this configuration and the control plane, which must listen on a Unix
// socket. It ends with the test.
func (b Bootstrap) PutRelay(t testing.TB) *Relay {
	t.Helper()
	cluster := b.Cluster(t, protocol.ControlPlaneCluster)
	address, err := at(cluster, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address")
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := at(address, "pipe")
	if err != nil {
		t.Fatalf("the control plane is not on a Unix socket: %v", err)
	}
	target := pipe.(map[string]any)["path"].(string)
	r := &Relay{socket: filepath.Join(tempDir(t), "relay.sock"), target: target, conns: map[*relayed]bool{}}
	pipe.(map[string]any)["path"] = r.socket
	if r.listener, err = net.Listen("unix", r.socket); err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	r.server = &http.Server{
		Protocols: protocols, Handler: r.handler(), ConnContext: r.connect, ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = r.server.Serve(relayListener{r.listener, r})
	}()
	t.Cleanup(func() {
		_ = r.server.Close()
		r.Cut()
		<-served
	})
	return r
}

// Treat has a function say what becomes of each report that comes. It may be called by several goroutines at once. nil:
// all are delivered.
func (r *Relay) Treat(how func(Report) Treatment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.treat = how
}

// Reports are those that came until now, in the order in which they did.
func (r *Relay) Reports() []Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Report(nil), r.passed...)
}

// Acknowledged is the most that acknowledged reports said was used, by key ID, summed over incarnations.
func (r *Relay) Acknowledged() map[string]int64 {
	most, sum := map[[2]string]int64{}, map[string]int64{}
	for _, p := range r.Reports() {
		if p.Status != http.StatusOK {
			continue
		}
		for key, n := range p.Tokens {
			most[[2]string{p.Incarnation, key}] = max(most[[2]string{p.Incarnation, key}], n)
		}
	}
	for of, n := range most {
		sum[of[1]] += n
	}
	return sum
}

// Cut closes every connection, at both ends, and says how many there were. Envoy may connect again at once.
func (r *Relay) Cut() int {
	r.mu.Lock()
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
	return len(conns)
}

// Shut has the relay take no connection, or take them again. Those that there are stay.
func (r *Relay) Shut(shut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = shut
}

// relayed is one connection of an Envoy's and the one to the control plane that belongs to it: they end together.
type relayed struct {
	envoy, plane net.Conn
	transport    *http.Transport
	relay        *Relay
	once         sync.Once
}

func (c *relayed) close() {
	c.once.Do(func() {
		_ = c.envoy.Close()
		if c.plane != nil {
			_ = c.plane.Close()
		}
		c.relay.mu.Lock()
		defer c.relay.mu.Unlock()
		delete(c.relay.conns, c)
	})
}

// half is one connection of the two.
type half struct {
	net.Conn
	of *relayed
}

// Close implements net.Conn.
func (h half) Close() error {
	h.of.close()
	return nil
}

type relayListener struct {
	net.Listener
	relay *Relay
}

// Accept implements net.Listener.
func (l relayListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return half{conn, &relayed{envoy: conn, relay: l.relay}}, nil
}

type relayedKey struct{}

// connect reaches the control plane for a connection that came. Where that fails the connection is closed: it is as if
// nobody listened.
func (r *Relay) connect(ctx context.Context, conn net.Conn) context.Context {
	c := conn.(half).of
	plane, err := net.Dial("unix", r.target)
	r.mu.Lock()
	shut := r.shut
	if err == nil && !shut {
		c.plane = plane
		r.conns[c] = true
	}
	r.mu.Unlock()
	if c.plane == nil {
		if err == nil {
			_ = plane.Close()
		}
		c.close()
		return ctx
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	unused := make(chan half, 1)
	unused <- half{plane, c}
	c.transport = &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) {
		select {
		case h := <-unused:
			return h, nil
		default:
			return nil, errors.New("the control plane closed the connection")
		}
	}}
	return context.WithValue(ctx, relayedKey{}, c)
}

// RoundTrip implements http.RoundTripper: each connection has its own way to the control plane.
func (r *Relay) RoundTrip(req *http.Request) (*http.Response, error) {
	c, ok := req.Context().Value(relayedKey{}).(*relayed)
	if !ok {
		return nil, errors.New("no way to the control plane")
	}
	return c.transport.RoundTrip(req)
}

func (r *Relay) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: r, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "keywheel"
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != protocol.ReportPath {
			proxy.ServeHTTP(w, req)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.report(w, req, body)
	})
}

// report passes a usage report on, or what is to become of it.
func (r *Relay) report(w http.ResponseWriter, req *http.Request, body []byte) {
	p := parseReport(body)
	p.header = req.Header.Clone()
	r.mu.Lock()
	how := r.treat
	index := len(r.passed)
	r.passed = append(r.passed, p)
	var before Report
	if index > 0 {
		before = r.passed[index-1]
	}
	if len(r.passed) > keptBodies {
		r.passed[len(r.passed)-1-keptBodies].body = nil
	}
	r.mu.Unlock()
	treatment := Delivered
	if how != nil {
		treatment = how(p)
	}
	if treatment == RequestLost {
		panic(http.ErrAbortHandler)
	}
	res, answer, err := r.deliver(req.Context(), p)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.mu.Lock()
	r.passed[index].Status = res.StatusCode
	r.mu.Unlock()
	switch treatment {
	case AnswerLost:
		panic(http.ErrAbortHandler)
	case Repeated:
		_, _, _ = r.deliver(req.Context(), p)
		if before.body != nil {
			_, _, _ = r.deliver(req.Context(), before)
		}
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	if _, err := w.Write(answer); err == nil {
		r.mu.Lock()
		r.passed[index].Acked = time.Now()
		r.mu.Unlock()
	}
}

// keptBodies is how many reports are kept as they came, to be delivered again.
const keptBodies = 8

// deliver has the control plane take a report in.
func (r *Relay) deliver(ctx context.Context, p Report) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://keywheel"+protocol.ReportPath, bytes.NewReader(p.body))
	if err != nil {
		return nil, nil, err
	}
	req.Header = p.header.Clone()
	res, err := r.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}

func parseReport(body []byte) Report {
	all := gjson.ParseBytes(body)
	p := Report{
		Incarnation: all.Get("incarnation").String(), Seq: all.Get("seq").Int(), Generation: all.Get("generation").Int(),
		Config: all.Get("config").Int(), BadConfigs: all.Get("bad_configs").Int(),
		Tokens: map[string]int64{}, At: time.Now(), body: body,
	}
	all.Get("windows").ForEach(func(_, window gjson.Result) bool {
		window.Get("credentials").ForEach(func(_, c gjson.Result) bool {
			key, _, _ := protocol.SplitCredential(c.Get("credential").String())
			c.Get("models").ForEach(func(_, m gjson.Result) bool {
				p.Tokens[key] += m.Get("total").Int()
				return true
			})
			return true
		})
		return true
	})
	return p
}
