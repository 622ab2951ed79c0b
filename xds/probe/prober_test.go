package probe_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/ledger"
	"keywheel/xds/probe"
)

var start = time.Date(2025, 11, 18, 8, 0, 0, 0, time.UTC)

// world is an account, an upstream and a clock that a test moves.
type world struct {
	now     time.Time
	invalid map[string]time.Time
	answers map[string]int // status by secret; 0: unreachable
	tried   []string       // "key after the refusal"
	cleared []string
	failing error
	log     bytes.Buffer
}

func (w *world) View() ledger.View {
	var v ledger.View
	for _, id := range []string{"1", "2"} {
		v.Keys = append(v.Keys, ledger.KeyView{KeyConfig: ledger.KeyConfig{ID: id}, InvalidSince: w.invalid[id]})
	}
	return v
}

func (w *world) Clear(_ context.Context, id string, _ audit.Entry) (int64, error) {
	if w.failing != nil {
		return 0, w.failing
	}
	w.cleared = append(w.cleared, id)
	delete(w.invalid, id)
	return 1, nil
}

func (w *world) prober() *probe.Prober {
	client := probe.NewClient(config.Upstream{Host: "127.0.0.1", Port: 1}, roundTrip(func(r *http.Request) (*http.Response, error) {
		id := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer gsk_")
		w.tried = append(w.tried, id+" after "+w.now.Sub(w.invalid[id]).String())
		status := w.answers[id]
		if status == 0 {
			return nil, errors.New("no route")
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"error":{"code":"invalid_api_key"}}`))}, nil
	}))
	return probe.New(probe.Options{
		Account: w, Client: client, Now: func() time.Time { return w.now },
		Secret: func(id string) secret.Key { return secret.New("gsk_" + id) },
		Log:    slog.New(slog.NewTextHandler(&w.log, nil)),
	})
}

// pass lets time go by in steps of ten seconds.
func (w *world) pass(p *probe.Prober, d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(10 * time.Second)
		p.Step(context.Background())
	}
}

func (w *world) wantTried(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.tried, want) {
		t.Errorf("tried %v, want %v", w.tried, want)
	}
	w.tried = nil
}

func TestSchedule(t *testing.T) {
	w := &world{now: start, invalid: map[string]time.Time{"1": start}, answers: map[string]int{"1": 401}}
	p := w.prober()
	w.pass(p, 3*time.Hour)
	w.wantTried(t, "1 after 1m0s", "1 after 5m0s", "1 after 30m0s", "1 after 1h30m0s", "1 after 2h30m0s")
	if len(w.cleared) > 0 || strings.Count(w.log.String(), "still refused") != 5 || strings.Contains(w.log.String(), "gsk_") {
		t.Errorf("cleared %v, log\n%s", w.cleared, &w.log)
	}
	w.answers["1"] = 200
	w.pass(p, time.Hour)
	w.wantTried(t, "1 after 3h30m0s")
	if !slices.Equal(w.cleared, []string{"1"}) || !strings.Contains(w.log.String(), "Groq Key 1 is accepted by Groq again") {
		t.Errorf("cleared %v, log\n%s", w.cleared, &w.log)
	}
	w.pass(p, 2*time.Hour)
	w.wantTried(t)
}

func TestUnreachableIsNoVerdict(t *testing.T) {
	w := &world{now: start, invalid: map[string]time.Time{"2": start}, answers: map[string]int{}}
	p := w.prober()
	w.pass(p, 6*time.Minute)
	w.wantTried(t, "2 after 1m0s", "2 after 5m0s")
	if len(w.cleared) > 0 || !strings.Contains(w.log.String(), `reason="no route"`) {
		t.Errorf("cleared %v, log\n%s", w.cleared, &w.log)
	}
}

// A key whose models can be listed, but that Groq refuses again at once, must not be tried by a client every minute.
func TestRelapseGoesOnInTheSchedule(t *testing.T) {
	w := &world{now: start, invalid: map[string]time.Time{"1": start}, answers: map[string]int{"1": 200}}
	p := w.prober()
	w.pass(p, time.Minute)
	w.wantTried(t, "1 after 1m0s")
	w.invalid["1"] = w.now.Add(10 * time.Second)
	w.pass(p, 10*time.Minute)
	w.wantTried(t, "1 after 4m0s")

	w.pass(p, 2*time.Hour) // a long time without trouble
	w.invalid["1"] = w.now
	w.pass(p, 2*time.Minute)
	w.wantTried(t, "1 after 1m0s")
}

func TestRestartTriesAtOnce(t *testing.T) {
	w := &world{now: start.Add(5 * time.Hour), invalid: map[string]time.Time{"1": start, "2": start.Add(5 * time.Hour)}, answers: map[string]int{"1": 401, "2": 401}}
	p := w.prober()
	w.pass(p, 10*time.Second)
	w.wantTried(t, "1 after 5h0m10s")
	w.pass(p, 5*time.Minute)
	w.wantTried(t, "2 after 1m0s", "1 after 5h4m10s", "2 after 5m0s")
}

func TestAccountThatFailsIsTriedAgain(t *testing.T) {
	w := &world{now: start, invalid: map[string]time.Time{"1": start}, answers: map[string]int{"1": 200}, failing: errors.New("disk full")}
	p := w.prober()
	w.pass(p, time.Minute)
	w.failing = nil
	w.pass(p, 4*time.Minute)
	w.wantTried(t, "1 after 1m0s", "1 after 5m0s")
	if !slices.Equal(w.cleared, []string{"1"}) || !strings.Contains(w.log.String(), "disk full") {
		t.Errorf("cleared %v, log\n%s", w.cleared, &w.log)
	}
}

func TestRunEnds(t *testing.T) {
	w := &world{now: start.Add(time.Hour), invalid: map[string]time.Time{"1": start}, answers: map[string]int{"1": 200}}
	p := w.prober()
	ticks := make(chan time.Time)
	p.Ticks = ticks
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	ticks <- start
	ticks <- start // taken only once the first step is over
	cancel()
	<-done
	w.wantTried(t, "1 after 1h0m0s")
}
