package metrics_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

const llama = "llama-3.3-70b-versatile"

// eventful is a morning with something of everything, to just after 10:00.
func eventful(t tb) *world {
	w := newWorld(t, threeKeys())
	e, old := w.newEnvoy("edge", 1), w.newEnvoy("old", 2)
	old.mustReport()
	e.spend("2.1", "", 2, 500)
	e.credential("2.1").Models[0] = protocol.ModelUsage{Total: 500, Estimated: 500}
	for w.now.Before(at("10:00")) {
		w.wait(5 * time.Minute)
		e.spend("1.1", llama, 5, 545)
		e.mustReport()
	}
	e.credential("1.1").Attempts["limited"] = 3
	g := &e.window().Gate
	g.Requests += 4
	g.CallerFaults, g.Failed, g.Limited, g.Cut, g.Rescues = 1, 2, 1, 1, 2
	e.refuse(2)
	e.window().Callers = []protocol.CallerUsage{{Caller: "search", Requests: 100, Total: 9000}, {Caller: "none", Requests: 26, Total: 4580}}
	e.Findings = []protocol.Finding{
		{Credential: "2.1", Org: "key-2", Kind: protocol.Cooling, RemainingMS: 600_000},
		{Credential: "3.1", Org: "key-3", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: 3_600_000},
	}
	e.note(protocol.NoteRotated, "2.1", "1.1", "cooling")
	e.mustReport()
	w.settle()
	w.NodeSeen("edge", "1.40.0", 1)
	w.wait(time.Minute)
	e.mustReport()
	w.reports.Malformed, w.reports.Unauthorized = 1, 2
	return w
}

// settle has e-mails received, and Telegram in trouble.
func (w *world) settle() {
	w.Helper()
	ctx := context.Background()
	mails, chats := w.Waiting("email", 100), w.Waiting("telegram", 100)
	err := w.Sent(ctx, mails)
	if err == nil {
		err = w.GiveUp(ctx, chats[:1], "chat not found")
	}
	if err == nil {
		err = w.Postpone(ctx, chats[1:], time.Minute, "it did not answer in time")
	}
	if err != nil {
		w.Fatal(err)
	}
}

// TestExposition holds the whole answer, but what Go and the system say of the process.
func TestExposition(t *testing.T) {
	var got strings.Builder
	for line := range strings.Lines(eventful(t).text()) {
		if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "keywheel_") {
			got.WriteString(line)
		}
	}
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	text := eventful(t).text()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "promhttp_metric_handler_errors_total"} {
		if there := strings.Contains(text, "\n"+name+" ") || strings.Contains(text, "\n"+name+"{"); there == strings.HasPrefix(name, "promhttp") {
			t.Errorf("%s: there: %v", name, there)
		}
	}
}

// TestGaugesAreTheView compares the gauges with what the admin API shows.
func TestGaugesAreTheView(t *testing.T) {
	w := eventful(t)
	v := w.View()
	want := map[string]float64{
		"keywheel_pool_used_tokens": float64(v.Pool.Used), "keywheel_pool_limit_tokens": float64(v.Pool.Limit),
		"keywheel_pool_remaining_tokens": float64(v.Pool.Remaining), "keywheel_health_ratio": v.Health / 100, "keywheel_pool_out": 0,
		"keywheel_time_seconds": float64(v.Now.Unix()), "keywheel_reset_timestamp_seconds": float64(v.ResetsAt.Unix()),
		"keywheel_assignment_generation":                                float64(w.Assignment().Generation),
		"keywheel_client_requests_total{outcome=\"succeeded\"}":         float64(v.Pool.Succeeded),
		"keywheel_client_requests_total{outcome=\"refused\"}":           float64(v.Pool.Refused),
		"keywheel_rotations_total":                                      float64(v.Pool.Rotations),
		"keywheel_rescues_total":                                        float64(v.Pool.Rescues),
		"keywheel_downtime_seconds_total":                               v.Pool.Downtime.Seconds(),
		"keywheel_proxies_connected":                                    1,
		`keywheel_reports_total{outcome="accepted"}`:                    float64(w.Stats().Reports),
		"keywheel_reports_repeated_total":                               float64(w.Stats().Repeated),
		"keywheel_store_failures_total":                                 0,
		`keywheel_notifications_total{outcome="sent",receiver="email"}`: float64(len(w.Notifications(100, event.Sent))),
	}
	var statuses []quota.Status
	for _, k := range v.Keys {
		statuses = append(statuses, k.Status)
		label := fmt.Sprintf("{key=%q}", k.ID)
		maps.Copy(want, map[string]float64{
			"keywheel_key_used_tokens" + label: float64(k.Used), "keywheel_key_tokens_total" + label: float64(k.Used),
			"keywheel_key_limit_tokens" + label: float64(k.LimitTokens), "keywheel_key_remaining_tokens" + label: float64(k.Remaining),
			"keywheel_key_estimated_tokens" + label: float64(k.Estimated), "keywheel_key_health_ratio" + label: k.Health / 100,
			"keywheel_key_score" + label: k.Score, "keywheel_key_used_requests" + label: float64(k.Requests),
			"keywheel_key_requests_total" + label:                                float64(k.Requests),
			fmt.Sprintf("keywheel_key_status{key=%q,status=%q}", k.ID, k.Status): 1,
		})
	}
	if !slices.Contains(statuses, quota.Critical) || !slices.Contains(statuses, quota.Invalid) || v.Pool.Downtime == 0 || v.Pool.Rotations == 0 {
		t.Errorf("the day has too little in it: %v, %+v", statuses, v.Pool)
	}
	w.want(want)
	ones := 0.0
	for name, v := range w.scrape() {
		if strings.HasPrefix(name, "keywheel_key_status{") {
			ones += v
		}
	}
	if ones != float64(len(v.Keys)) {
		t.Errorf("%v statuses for %d keys", ones, len(v.Keys))
	}
}

func TestWhatThereIsNotIsLeftOut(t *testing.T) {
	keys := threeKeys()
	keys[2].LimitTokens = 0
	w := newWorld(t, keys)
	got := w.scrape()
	for _, name := range []string{
		"keywheel_pool_limit_tokens", "keywheel_pool_remaining_tokens", "keywheel_pool_forecast_exhausted_timestamp_seconds",
		`keywheel_key_limit_tokens{key="3"}`, `keywheel_key_remaining_tokens{key="3"}`, `keywheel_key_limit_requests{key="3"}`,
		`keywheel_key_median_response_seconds{key="1"}`, `keywheel_key_cooling_until_timestamp_seconds{key="1"}`,
		`keywheel_key_forecast_exhausted_timestamp_seconds{key="1"}`,
	} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v", name, v)
		}
	}
	// A counter that begins when something happens hides its first rise.
	for _, name := range []string{
		`keywheel_events_total{kind="all_out",level="critical"}`, `keywheel_client_requests_total{outcome="refused"}`,
		`keywheel_key_tokens_total{key="3"}`, `keywheel_key_attempts_total{key="3",outcome="invalid"}`,
		`keywheel_notifications_total{outcome="failed",receiver="email"}`, "keywheel_downtime_seconds_total", "keywheel_rotations_total",
	} {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s is %v (there: %v), want 0", name, v, ok)
		}
	}
}

func TestForecastsAndRests(t *testing.T) {
	w := eventful(t)
	v := w.View()
	if v.Pool.ExhaustedAt.IsZero() || v.Keys[0].ExhaustedAt.IsZero() || v.Keys[1].CoolingUntil.IsZero() || v.Keys[0].MedianMS == 0 {
		t.Fatalf("no forecast, no rest or no traffic: %+v", v)
	}
	w.want(map[string]float64{
		"keywheel_pool_forecast_exhausted_timestamp_seconds":         float64(v.Pool.ExhaustedAt.UnixMilli()) / 1000,
		`keywheel_key_forecast_exhausted_timestamp_seconds{key="1"}`: float64(v.Keys[0].ExhaustedAt.UnixMilli()) / 1000,
		`keywheel_key_cooling_until_timestamp_seconds{key="2"}`:      float64(v.Keys[1].CoolingUntil.UnixMilli()) / 1000,
		`keywheel_key_median_response_seconds{key="1"}`:              float64(v.Keys[0].MedianMS) / 1000,
	})
}

func TestAllKeysOut(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	for _, c := range []string{"1.1", "2.1", "3.1"} {
		e.spend(c, llama, 100, 14_400)
	}
	e.note(protocol.NoteOut, "", "", "")
	e.refuse(3)
	e.mustReport()
	w.want(map[string]float64{
		"keywheel_pool_out": 1, "keywheel_pool_remaining_tokens": 0, `keywheel_client_requests_total{outcome="refused"}`: 3,
		`keywheel_events_total{kind="all_out",level="critical"}`: 1, "keywheel_downtime_seconds_total": w.View().Pool.Downtime.Seconds(),
	})
}

// TestProxies: processes of one node are one series, and a node that is gone stays at 0 for a while.
func TestProxies(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy("edge", 1), w.newEnvoy("edge", 2)
	for _, e := range []*envoy{a, b, a} {
		e.mustReport()
	}
	w.NodeSeen("new", "1.40.0", 7)
	want := map[string]float64{
		"keywheel_proxies_connected": 3, `keywheel_proxy_connected{node="edge"}`: 2, `keywheel_proxy_connected{node="new"}`: 1,
		`keywheel_proxy_generation{node="edge"}`: 0, `keywheel_proxy_info{node="new",version="1.40.0"}`: 1,
		`keywheel_proxy_last_report_timestamp_seconds{node="edge"}`: float64(w.now.Unix()),
	}
	w.want(want)
	b.mustReport()
	want[`keywheel_proxy_generation{node="edge"}`] = float64(w.Assignment().Generation)
	w.want(want)
	w.wait(30 * time.Minute)
	w.want(map[string]float64{"keywheel_proxies_connected": 1, `keywheel_proxy_connected{node="edge"}`: 0})
	if v, ok := w.scrape()[`keywheel_proxy_generation{node="edge"}`]; ok {
		t.Errorf("a node that is gone runs %v", v)
	}
}

func TestStore(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.mustReport()
	w.want(map[string]float64{"keywheel_store_writable": 1, "keywheel_store_failures_total": 0})
	w.broken = true
	e.spend("1.1", llama, 1, 100)
	if err := e.report(); err == nil {
		t.Fatal("taken")
	}
	w.want(map[string]float64{
		"keywheel_store_writable": 0, "keywheel_store_failures_total": 1, `keywheel_key_tokens_total{key="1"}`: 0,
		`keywheel_reports_total{outcome="unavailable"}`: 1,
	})
	w.broken = false
	e.mustReport()
	w.want(map[string]float64{"keywheel_store_writable": 1, "keywheel_store_failures_total": 1, `keywheel_key_tokens_total{key="1"}`: 100})
}

// TestNoSecretAndNoProse plants a canary wherever somebody else's text comes in.
func TestNoSecretAndNoProse(t *testing.T) {
	const canary = "gsk_CANARY_0123456789"
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("1.1", llama, 1, 100)
	e.credential("1.1").Attempts[canary] = 1
	e.spend(canary+".1", llama, 1, 100)
	e.Findings = []protocol.Finding{{Credential: "1.1", Org: canary, Model: canary, Kind: protocol.Invalid, Code: canary, RemainingMS: 3_600_000}}
	e.note(protocol.NoteRotated, "1.1", "2.1", canary)
	e.mustReport()
	if err := w.Rejected(context.Background(), "edge", "bad "+canary); err != nil {
		t.Fatal(err)
	}
	if err := w.Postpone(context.Background(), w.Waiting("email", 9), time.Minute, canary); err != nil {
		t.Fatal(err)
	}
	text := w.text()
	if strings.Contains(text, "CANARY") {
		t.Errorf("told:\n%s", text)
	}
	w.want(map[string]float64{
		`keywheel_key_attempts_total{key="1",outcome="other"}`: 1, "keywheel_unknown_credential_uses_total": 1,
		`keywheel_events_total{kind="rejected",level="warning"}`: 1, `keywheel_notifications_retrying{receiver="email"}`: 2,
	})
}

func TestModelsAreBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	for n := range byte(5) {
		e := w.newEnvoy("edge", n)
		for i := range 40 {
			e.spend("1.1", fmt.Sprintf("model-%d-%d", n, i), 1, 30)
		}
		e.mustReport()
	}
	models, tokens := map[string]bool{}, 0.0
	for name, v := range w.scrape() {
		if strings.HasPrefix(name, "keywheel_model_tokens_total{") {
			_, model, _ := strings.Cut(name, "model=")
			tokens += v
			models[model] = true
		}
	}
	if len(models) != 101 || !models[`"other"}`] || tokens != 200*30 {
		t.Errorf("%d models, other: %v, %v tokens", len(models), models[`"other"}`], tokens)
	}
}

// TestCallers: more than the ledger counts apart take turns to displace each other. Nothing is counted twice, or lost.
func TestCallers(t *testing.T) {
	w := newWorld(t, threeKeys())
	envoys := []*envoy{w.newEnvoy("a", 1), w.newEnvoy("b", 2)}
	var tokens, requests int64
	last := map[string]float64{}
	for round := range 12 {
		for n, e := range envoys {
			uses := &e.window().Callers
			for i := range 150 {
				name := fmt.Sprintf("team-%d", 100*n+i)
				at := slices.IndexFunc(*uses, func(u protocol.CallerUsage) bool { return u.Caller == name })
				if at < 0 {
					at = len(*uses)
					*uses = append(*uses, protocol.CallerUsage{Caller: name})
				}
				if (i+round)%3 == 0 {
					(*uses)[at].Requests++
					(*uses)[at].Total += int64(i)
					requests, tokens = requests+1, tokens+int64(i)
				}
			}
			e.mustReport()
		}
		if round == 5 {
			w.wait(17 * time.Hour)
		}
		got, sums, names := w.scrape(), map[string]int64{}, 0
		for name, v := range got {
			family, _, labelled := strings.Cut(name, "{")
			if !labelled || !strings.HasPrefix(family, "keywheel_caller_") {
				continue
			}
			sums[family] += int64(v)
			names++
			if v < last[name] {
				t.Errorf("%s is %v after %v", name, v, last[name])
			}
		}
		last = got
		if diff := cmp.Diff(map[string]int64{"keywheel_caller_requests_total": requests, "keywheel_caller_tokens_total": tokens}, sums); diff != "" {
			t.Fatalf("round %d (-want +got)\n%s", round, diff)
		}
		if names > 2*201 {
			t.Fatalf("%d series", names)
		}
	}
	w.restart()
	for name, v := range w.scrape() {
		if strings.HasPrefix(name, "keywheel_caller_") && v != 0 {
			t.Errorf("%s is %v after a restart", name, v)
		}
	}
	if last[`keywheel_caller_requests_total{caller="other"}`] == 0 || last[`keywheel_caller_requests_total{caller="team-120"}`] == 0 {
		t.Error("nobody was displaced, or nobody stands apart")
	}
}

// TestManyAtOnce scrapes while reports come.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	var group sync.WaitGroup
	group.Go(func() {
		for range 50 {
			e.spend("1.1", llama, 1, 10)
			e.mustReport()
		}
	})
	for range 2 { // as many as are answered at once
		group.Go(func() {
			last := 0.0
			for range 20 {
				now := w.scrape()[`keywheel_key_tokens_total{key="1"}`]
				if now < last {
					t.Errorf("%v after %v", now, last)
				}
				last = now
			}
		})
	}
	group.Wait()
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 500})
}
