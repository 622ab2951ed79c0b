package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/testca"
)

const (
	turns      = 101     // of each edge: many short ones, so that neighbours have the same machine
	oneByOne   = 300     // calls a turn over one connection
	atOnce     = 1500    // calls a turn over several
	several    = 8       // connections
	answerSize = 1 << 10 // bytes of the answer's body
	asked      = 1 << 10 // bytes of the request's body
	settling   = 8000    // calls before the first turn
)

// edge is the foreign configuration with or without Keywheel in it, and what calls by a route of its own took.
type edge struct {
	addr  string
	envoy *harness.Envoy

	rates  []float64 // calls a second over several connections, one value a turn
	micros []float64 // of the median call over one connection, one value a turn
	cpu    float64   // of all calls together
}

// BenchmarkOtherRoutes compares calls by a route that is not Groq's, in a file without Keywheel and in the same file with
// the README's fragments in it: the route stands in the same virtual host, behind Groq's, so that nothing in the file
// pays more. Both have their turns alternately, and ratios are made of neighbours; see README.md.
func BenchmarkOtherRoutes(b *testing.B) {
	without, with := startEdges(b)
	for b.Loop() {
		for _, e := range []*edge{without, with} {
			e.calls(b, several, settling)
			e.rates, e.micros, e.cpu = nil, nil, 0
		}
		for turn := range turns {
			pair := []*edge{without, with}
			if turn%2 == 1 {
				pair[0], pair[1] = pair[1], pair[0]
			}
			for _, e := range pair {
				e.turn(b)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios(with.rates, without.rates)), "throughput/without")
	b.ReportMetric(median(ratios(with.micros, without.micros)), "p50/without")
	b.ReportMetric(with.cpu/without.cpu, "cpu/without")
	b.Logf("without Keywheel %.0f calls/s, p50 %.1f µs; with it %.0f calls/s, p50 %.1f µs",
		median(without.rates), median(without.micros), median(with.rates), median(with.micros))
}

// startEdges starts both edges, on one worker each, the one with Keywheel with three keys.
func startEdges(b *testing.B) (without, with *edge) {
	b.Helper()
	body := bytes.Repeat([]byte("x"), answerSize)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); n != asked || err != nil {
			b.Errorf("the request's body has %d bytes, %v", n, err)
		}
		_, _ = w.Write(body)
	}))
	b.Cleanup(upstream.Close)
	ca, err := testca.NewCA("a test's own")
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM, 0o600); err != nil {
		b.Fatal(err)
	}
	addr := upstream.Listener.Addr().String()
	up := harness.ForeignUpstreams{Shop: addr, LLM: addr, Postgres: addr, Orders: addr, Payments: addr, CA: file}
	plain, pasted := harness.NewForeign(b, up), harness.ForeignWithKeywheel(b, up, true)
	e := harness.NewEnvoyFile(b, plain.File, plain.Admin)
	e.Concurrency = 1
	e.Start(b)
	s := harness.StartFile(b, pasted.File, harness.FileOptions{
		Listen: pasted.Edge, Admin: pasted.Admin, Concurrency: 1, Groq: fakegroq.Options{TLS: &fakegroq.TLS{CA: ca}},
	})
	if a := s.H1.Do(b, harness.Call{Host: harness.LLMHost}); a.Status != http.StatusOK || a.Key != "1" {
		b.Fatalf("Groq's route does not serve: %s", a)
	}
	return &edge{addr: plain.Edge, envoy: e}, &edge{addr: pasted.Edge, envoy: s.Envoy}
}

// turn makes calls over one connection, then over several.
func (e *edge) turn(b *testing.B) {
	b.Helper()
	before := cpu(b, e.envoy.Pid())
	took, _ := e.calls(b, 1, oneByOne)
	e.micros = append(e.micros, median(took))
	took, all := e.calls(b, several, atOnce)
	e.rates = append(e.rates, float64(len(took))/all.Seconds())
	e.cpu += cpu(b, e.envoy.Pid()) - before
}

// calls makes so many calls over so many connections. It returns how long each took, in microseconds, and how long all did.
func (e *edge) calls(b *testing.B, connections, n int) (micros []float64, all time.Duration) {
	b.Helper()
	request := []byte(fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\n\r\n%s",
		harness.LLMHost, asked, strings.Repeat("y", asked)))
	conns := make([]net.Conn, connections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", e.addr); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	micros = make([]float64, n)
	var wg sync.WaitGroup
	begin := time.Now()
	for i, conn := range conns {
		wg.Go(func() {
			buffer := make([]byte, 4*answerSize)
			for j := i; j < n; j += connections {
				start := time.Now()
				if err := roundTrip(conn, request, buffer); err != nil {
					b.Error(err)
					return
				}
				micros[j] = float64(time.Since(start).Nanoseconds()) / 1e3
			}
		})
	}
	wg.Wait()
	return micros, time.Since(begin)
}

// roundTrip makes a call whose answer has answerSize bytes. It does little, as it takes from the same machine.
func roundTrip(conn net.Conn, request, buffer []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	for got := 0; ; {
		n, err := conn.Read(buffer[got:])
		if err != nil {
			return err
		}
		got += n
		if end := bytes.Index(buffer[:got], []byte("\r\n\r\n")); end >= 0 && got >= end+4+answerSize {
			if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200")) || got != end+4+answerSize {
				return fmt.Errorf("answered %.200q", buffer[:got])
			}
			return nil
		}
	}
}

// ratios divides each turn's value by its neighbour's.
func ratios(of, by []float64) []float64 {
	r := make([]float64, len(of))
	for i := range of {
		r[i] = of[i] / by[i]
	}
	return r
}
