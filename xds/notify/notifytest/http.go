package notifytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// RoundTrip is a transport made of a function.
type RoundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f RoundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	return f(r)
}

// Answerer answers a request that was read whole. uri is the request's path and query.
type Answerer func(conn net.Conn, uri string)

// Speaking is a real transport whose connections are pipes, with f at their other end. It works in a synctest bubble.
func Speaking(f Answerer) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r, err := http.ReadRequest(bufio.NewReader(theirs))
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err == nil {
				f(theirs, r.RequestURI)
			}
		}()
		return ours, nil
	}}
}

// Hang sends what is said and then waits for the client to hang up.
func Hang(said string) Answerer {
	return func(conn net.Conn, _ string) {
		fmt.Fprint(conn, said)
		untilClosed(conn)
	}
}

// Drip sends what is said and then byte after byte, each a second after the one before, until the client hangs up.
func Drip(said string) Answerer {
	return func(conn net.Conn, _ string) {
		fmt.Fprint(conn, said)
		hungUp := make(chan struct{})
		go func() {
			untilClosed(conn)
			close(hungUp)
		}()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = conn.Write([]byte(" "))
			case <-hungUp:
				return
			}
		}
	}
}

func untilClosed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// Way is how a message goes to a receiver.
type Way struct {
	Base      string            // of the URL: scheme, host and port
	Transport http.RoundTripper // nil: the notifier's own
	Timeout   time.Duration     // 0: the notifier's own, which is 30 s
}

// Receiver is a receiver over HTTP, as its notifier knows it.
type Receiver struct {
	Name   string           // as in errors: "no answer from Telegram"
	Host   string           // of the URL, which leads nowhere
	URI    string           // path and query of the URL, with secrets
	Answer string           // the body, with status 200, by which it takes a message
	Now    func() time.Time // the test's clock
	// Send sends a message by a new notifier and returns its error. It sees to it that nothing shows a secret.
	Send func(t testing.TB, ctx context.Context, w Way) error
}

// tried fails the test unless a message fails in a way that is tried again, with words that people understand.
func (r Receiver) tried(t testing.TB, w Way, words string) {
	t.Helper()
	Outcome(t, r.Send(t, t.Context(), w), words, false, 0)
}

// Faults checks that a notifier bears what can go wrong on the way to its receiver and back.
func (r Receiver) Faults(t *testing.T) {
	r.Broken(t, map[string]Broken{
		"closed at once":    {"", "closed too early"},
		"closed in headers": {"HTTP/1.1 200 OK\r\nX-Path: URI", "closed too early"},
		"not HTTP":          {"URI\r\n\r\n", "not an answer in HTTP"},
		"no number":         {"HTTP/1.1 URI\r\n\r\n", "not an answer in HTTP"},
		"broken header":     {"HTTP/1.1 200 OK\r\nURI\r\n\r\n", "not an answer in HTTP"},
		"broken length":     {"HTTP/1.1 200 OK\r\nContent-Length: URI\r\n\r\n", "not an answer in HTTP"},
	})
	r.Slow(t, map[string]Answerer{
		"silence":      Hang(""),
		"headers hang": Hang("HTTP/1.1 200 OK\r\n"),
		"headers drip": Drip("HTTP/1.1 200 OK\r\nA:"),
	})
	t.Run("reset", r.reset)
	t.Run("nobody listens", r.nobodyListens)
	t.Run("unknown name", r.unknownName)
	t.Run("unknown certificate", r.unknownCertificate)
	t.Run("more than was asked for", r.more)
	t.Run("broken off", r.brokenOff)
	t.Run("errors of the transport", r.transportErrors)
}

// Broken is an answer that is none, and the words of the error. "URI" in the answer stands for the request's.
type Broken struct{ Answer, Words string }

// Broken checks that after broken answers there is another try.
func (r Receiver) Broken(t *testing.T, answers map[string]Broken) {
	for name, b := range answers {
		t.Run(name, func(t *testing.T) {
			transport := Speaking(func(conn net.Conn, uri string) { fmt.Fprint(conn, strings.ReplaceAll(b.Answer, "URI", uri)) })
			r.tried(t, Way{Base: "http://" + r.Host, Transport: transport}, b.Words)
		})
	}
}

// Slow checks that answers without an end are waited for until the time is up, and no longer.
func (r Receiver) Slow(t *testing.T, answers map[string]Answerer) {
	for name, answer := range answers {
		for _, timeout := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprint(name, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := r.Now()
					err := r.Send(t, t.Context(), Way{Base: "http://" + r.Host, Transport: Speaking(answer), Timeout: timeout})
					want := timeout
					if want == 0 {
						want = 30 * time.Second
					}
					r.ended(t, err, context.DeadlineExceeded, r.Now().Sub(began), want)
				})
			})
		}
	}
}

// ended fails the test unless an error is for a reason, after a time.
func (r Receiver) ended(t testing.TB, err, reason error, took, want time.Duration) {
	t.Helper()
	if took != want || !errors.Is(err, reason) {
		t.Errorf("%v after %v", err, took)
	}
	Outcome(t, err, "no answer from "+r.Name, false, 0)
}

func (r Receiver) brokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := r.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := r.Send(t, ctx, Way{Base: "http://" + r.Host, Transport: Speaking(Drip(""))})
		r.ended(t, err, context.Canceled, r.Now().Sub(began), time.Second)
	})
}

// hijacked is a server that hands its connections to f.
func hijacked(t *testing.T, f func(conn net.Conn, uri string)) (base string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		uri := req.RequestURI
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		f(conn, uri)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func (r Receiver) reset(t *testing.T) {
	base := hijacked(t, func(conn net.Conn, _ string) {
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
	})
	r.tried(t, Way{Base: base}, "no answer from "+r.Name+": ")
}

// more: net/http logs what comes on an idle connection.
func (r Receiver) more(t *testing.T) {
	hungUp := make(chan struct{})
	base := hijacked(t, func(conn net.Conn, uri string) {
		defer close(hungUp)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(r.Answer), r.Answer, uri)
		untilClosed(conn)
	})
	Quiet(t, func() {
		if err := r.Send(t, t.Context(), Way{Base: base}); err != nil {
			t.Error(err)
		}
		<-hungUp
	})
}

func (r Receiver) nobodyListens(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	r.tried(t, Way{Base: srv.URL}, "connection refused")
}

func (r Receiver) unknownName(t *testing.T) {
	dialer := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}
	r.tried(t, Way{Base: "https://" + r.Host, Transport: &http.Transport{DialContext: dialer.DialContext}}, "lookup "+r.Host)
}

// unknownCertificate: whoever may be anybody is asked nothing.
func (r Receiver) unknownCertificate(t *testing.T) {
	asked := 0
	takes := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, r.Answer)
	})
	srv := httptest.NewUnstartedServer(takes)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	r.tried(t, Way{Base: srv.URL}, "does not trust its certificate")
	if asked > 0 {
		t.Fatalf("%d requests", asked)
	}
	if err := r.Send(t, t.Context(), Way{Base: srv.URL, Transport: srv.Client().Transport}); err != nil || asked != 1 {
		t.Errorf("with its authority known: %v after %d requests", err, asked)
	}
	plain := httptest.NewServer(takes)
	defer plain.Close()
	r.tried(t, Way{Base: strings.Replace(plain.URL, "http:", "https:", 1)}, "not an answer in HTTP")
}

// transportErrors: a transport's errors may hold anything.
func (r Receiver) transportErrors(t *testing.T) {
	address := "https://" + r.Host + r.URI
	for name, tc := range map[string]struct {
		err   error
		words string
	}{
		"with the URL":  {&url.Error{Op: "Post", URL: address, Err: errors.New("x " + address)}, "not an answer in HTTP"},
		"quoted":        {fmt.Errorf("broken %q", url.QueryEscape(address)), "not an answer in HTTP"},
		"joined":        {errors.Join(errors.New(address), fmt.Errorf("%w", io.EOF)), "closed too early"},
		"took too long": {&url.Error{Op: "Post", URL: address, Err: context.DeadlineExceeded}, "took too long"},
		"system's": {
			&url.Error{Op: "Post", URL: address, Err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}}, "read tcp: connection reset by peer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.tried(t, Way{Base: "https://" + r.Host, Transport: RoundTrip(func(*http.Request) (*http.Response, error) { return nil, tc.err })}, tc.words)
		})
	}
}
