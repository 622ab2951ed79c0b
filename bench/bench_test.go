package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// way is one way to the simulated Groq.
type way struct {
	name string
	url  string
	pid  int // of the Envoy on it; 0: none

	micros []float64 // of single calls, one connection
	rates  []float64 // calls a second, 16 connections
	cpu    []float64 // microseconds of Envoy's CPU a call
}

const (
	rounds      = 7
	single      = 400  // calls a round over one connection
	concurrent  = 3000 // calls a round over sixteen
	connections = 16
	question    = `{"model":"llama-3.1-8b-instant","max_tokens":100,"messages":[{"role":"user","content":"How far is the moon?"}]}`
)

// BenchmarkBesideRawEnvoy measures calls to the simulated Groq directly, through an Envoy that does nothing, and through
// Keywheel, in turn, on one worker each. It reports what Keywheel adds; see README.md.
func BenchmarkBesideRawEnvoy(b *testing.B) {
	s := harness.Start(b, harness.Options{Concurrency: 1, Groq: fakegroq.Options{
		TokensFor: fakegroq.FixedTokens(20, 80), Remember: -1,
	}})
	listen, admin := harness.FreeAddr(b), harness.FreeAddr(b)
	raw := harness.NewEnvoy(b, harness.PlainProxy(b, listen, admin, s.Groq.Addr()))
	raw.Concurrency = 1
	raw.Start(b)
	ways := []*way{
		{name: "direct", url: s.Groq.URL()},
		{name: "envoy", url: "http://" + listen, pid: raw.Pid()},
		{name: "keywheel", url: s.H1.URL(), pid: s.Envoy.Pid()},
	}
	secret := s.Keys[0].Secret
	for b.Loop() {
		for range rounds {
			for _, w := range ways {
				w.round(b, secret)
			}
		}
	}
	direct, envoy, keywheel := ways[0], ways[1], ways[2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(keywheel.rates)/median(envoy.rates), "throughput/raw")
	b.ReportMetric(median(keywheel.micros)-median(envoy.micros), "µs-added-p50")
	b.ReportMetric(median(keywheel.cpu)-median(envoy.cpu), "µs-cpu-added/call")
	b.ReportMetric(rss(b, keywheel.pid)-rss(b, envoy.pid), "MB-over-raw")
	for _, w := range []*way{direct, envoy, keywheel} {
		b.Logf("%-9s %7.0f calls/s  p50 %6.1f µs  %5.1f µs CPU/call", w.name, median(w.rates), median(w.micros), median(w.cpu))
	}
}

func (w *way) round(b *testing.B, secret string) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true} // Keywheel asks for none
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	times := make([]float64, 0, single)
	for range single {
		start := time.Now()
		w.call(b, client, secret)
		times = append(times, float64(time.Since(start).Microseconds()))
	}
	w.micros = append(w.micros, median(times))

	before, start := cpu(b, w.pid), time.Now()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for range concurrent / connections {
				w.call(b, client, secret)
			}
		})
	}
	wg.Wait()
	n := float64(concurrent / connections * connections)
	w.rates = append(w.rates, n/time.Since(start).Seconds())
	w.cpu = append(w.cpu, (cpu(b, w.pid)-before)*1e6/n)
}

func (w *way) call(b *testing.B, client *http.Client, secret string) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, w.url+"/openai/v1/chat/completions", strings.NewReader(question))
	if err != nil {
		b.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := client.Do(req)
	if err != nil {
		b.Error(err)
		return
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil {
		b.Error(err)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		b.Errorf("%s: status %d, %v", w.name, res.StatusCode, err)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// cpu is the seconds of CPU that a process has used; 0 for none.
func cpu(b *testing.B, pid int) float64 {
	b.Helper()
	if pid == 0 {
		return 0
	}
	const ticks = 100 // a second, on every Linux that Go runs on
	stat := proc(b, pid, "stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return (user + system) / ticks
}

// rss is a process's resident memory in megabytes.
func rss(b *testing.B, pid int) float64 {
	b.Helper()
	for line := range strings.Lines(proc(b, pid, "status")) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb float64
			if _, err := fmt.Sscan(v, &kb); err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

func proc(b *testing.B, pid int, name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}
