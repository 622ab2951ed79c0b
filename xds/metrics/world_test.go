package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/collector"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
	"keywheel/xds/metrics"
)

// tb is what both tests and properties have.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// world is a ledger, what it is told, and the metrics of it.
type world struct {
	tb
	*ledger.Ledger
	mu      sync.Mutex
	now     time.Time
	host    time.Time
	memory  *storetest.Memory
	broken  bool // the store takes nothing
	metrics http.Handler
	reports collector.Stats
	keys    []ledger.KeyConfig
	expires time.Time // the certificate
}

func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", "2025-11-18 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// threeKeys have every kind of limit.
func threeKeys() []ledger.KeyConfig {
	key := func(id, label string, rank int, limit, requests int64) ledger.KeyConfig {
		return ledger.KeyConfig{
			ID: id, Label: label, Priority: rank + 1, Rank: rank, Org: "key-" + id, Tier: "free", LimitTokens: limit, LimitRequests: requests,
			Thresholds: []int{75, 90, 100}, SecretHash: [32]byte{byte(rank + 1)},
		}
	}
	return []ledger.KeyConfig{key("1", "Primary", 0, 14400, 1000), key("2", `The "team's"`, 1, 14400, 0), key("3", "Emergency", 2, 14400, 0)}
}

func newWorld(t tb, keys []ledger.KeyConfig) *world {
	t.Helper()
	w := &world{tb: t, now: at("08:00"), host: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), memory: storetest.NewMemory(), keys: keys}
	w.expires = at("08:00").AddDate(0, 0, 90)
	w.restart()
	return w
}

// restart is a new process on what the store has.
func (w *world) restart() {
	w.Helper()
	w.memory.Open()
	l, err := ledger.Open(context.Background(), ledger.Options{
		Store: &storetest.Faulty{Store: w.memory, Before: func([]store.Record) error {
			if w.broken {
				return errors.New("disk full at /a/place")
			}
			return nil
		}},
		Keys:   w.keys,
		Policy: protocol.Policy{Strategy: "priority", RequiredTokens: 100, ReportIntervalMS: 1000},
		Now:    func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
		Mono:   func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.host },
		Route: func(e *event.Event) ledger.Route {
			if e.Level == event.Info {
				return ledger.Route{}
			}
			return ledger.Route{Receivers: []string{"telegram", "email"}}
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	handler, err := metrics.New(metrics.Options{
		Ledger: l, Receivers: func() []string { return []string{"email", "telegram"} },
		Reports: func() collector.Stats { w.mu.Lock(); defer w.mu.Unlock(); return w.reports }, Version: "1.2.3",
		CertificateExpires: func() time.Time { return w.expires },
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Ledger, w.metrics = l, handler
}

func (w *world) wait(d time.Duration) {
	w.Helper()
	w.mu.Lock()
	w.now, w.host = w.now.Add(d), w.host.Add(d)
	w.mu.Unlock()
	w.tick()
}

func (w *world) tick() {
	w.Helper()
	if err := w.Tick(context.Background()); err != nil && !w.broken {
		w.Fatal(err)
	}
}

// text is the answer to a scrape.
func (w *world) text() string {
	w.Helper()
	answer := httptest.NewRecorder()
	w.metrics.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		w.Fatalf("got %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// scrape is the values by series: "name{label=…}".
func (w *world) scrape() map[string]float64 {
	w.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(w.text()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			w.Fatal(err)
		}
		values[line[:i]] = v
	}
	return values
}

// want compares some of the values.
func (w *world) want(want map[string]float64) {
	w.Helper()
	got := w.scrape()
	for name, v := range want {
		if x, ok := got[name]; !ok || x != v {
			w.Errorf("%s is %v (there: %v), want %v", name, x, ok, v)
		}
	}
}

// envoy reports as a filter does.
type envoy struct {
	protocol.Report
	w *world
}

func (w *world) newEnvoy(node string, n byte) *envoy {
	id := uuid.UUID{6: 0x70, 8: 0x80, 15: n}
	ms := w.host.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return &envoy{w: w, Report: protocol.Report{Version: protocol.Version, Node: node, Incarnation: id.String()}}
}

// window is what it did on the day that it is.
func (e *envoy) window() *protocol.WindowUsage {
	name := quota.WindowAt(e.w.now).String()
	for i := range e.Windows {
		if e.Windows[i].Window == name {
			return &e.Windows[i]
		}
	}
	e.Windows = append(e.Windows, protocol.WindowUsage{Window: name})
	return &e.Windows[len(e.Windows)-1]
}

func (e *envoy) credential(c string) *protocol.CredentialUsage {
	u := e.window()
	for i := range u.Credentials {
		if u.Credentials[i].Credential == c {
			return &u.Credentials[i]
		}
	}
	u.Credentials = append(u.Credentials, protocol.CredentialUsage{
		Credential: c, Attempts: map[string]int64{}, TimeMS: make([]int64, len(protocol.TimeBuckets)+1),
	})
	return &u.Credentials[len(u.Credentials)-1]
}

// spend is n calls that went well and took tokens together, a third of them the prompts'.
func (e *envoy) spend(c, model string, n, tokens int64) {
	u := e.credential(c)
	u.Requests += n
	u.Attempts["ok"] += n
	u.TimeMS[11] += n
	i := 0
	for i < len(u.Models) && u.Models[i].Model != model {
		i++
	}
	if i == len(u.Models) {
		u.Models = append(u.Models, protocol.ModelUsage{Model: model})
	}
	u.Models[i].Total += tokens
	u.Models[i].Prompt += tokens / 3
	u.Models[i].Completion += tokens - tokens/3
	g := &e.window().Gate
	g.Requests += n
	g.Succeeded += n
	g.TimeMS += n * 1200
	g.LastServedMS = 1
}

// refuse is n calls that no key could serve, over the last second.
func (e *envoy) refuse(n int64) {
	g := &e.window().Gate
	g.Requests += n
	g.Refused += n
	g.FirstRefusalMS, g.LastRefusalMS = 1000, 1
}

func (e *envoy) note(kind protocol.NoteKind, from, to, reason string) {
	e.Notes = append(e.Notes, protocol.Note{
		Seq: int64(len(e.Notes) + 1), Kind: kind, Window: quota.WindowAt(e.w.now).String(), From: from, To: to, Reason: reason,
	})
}

// report sends everything of today and yesterday: a filter has room for two days.
func (e *envoy) report() error {
	e.Seq++
	e.Windows = slices.DeleteFunc(e.Windows, func(u protocol.WindowUsage) bool {
		day, err := quota.ParseWindow(u.Window)
		return err != nil || day < quota.WindowAt(e.w.now)-1
	})
	e.NowMS, e.HostMS = e.w.now.UnixMilli(), e.w.host.UnixMilli()
	r := e.Report
	a, err := e.w.Apply(context.Background(), ledger.Peer{ConnID: 1, Local: true}, &r)
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if err != nil {
		e.w.reports.Unavailable++
		return fmt.Errorf("%s: %w", e.Node, err)
	}
	e.w.reports.Accepted++
	e.Epoch, e.Generation, e.Config = a.Epoch, a.Generation, e.w.Assignment().Generation
	return nil
}

func (e *envoy) mustReport() {
	e.w.Helper()
	if err := e.report(); err != nil {
		e.w.Fatal(err)
	}
}
