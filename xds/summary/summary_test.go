package summary_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/xds/summary"
)

var update = flag.Bool("update", false, "write the golden files anew")

func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", "2025-11-18 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// story is the user's day.
func story() summary.Summary {
	return summary.Summary{
		Window: "2025-11-18", Requests: 450, Succeeded: 450, TimeMS: 450 * 1200, Tokens: 24634, Rotations: 1,
		Alerts: []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 1}},
		Keys: []summary.Key{
			{ID: "1", Label: "Primary", Requests: 144, Tokens: 14400, Limit: 14400},
			{ID: "2", Label: "Backup", Requests: 306, Tokens: 10234, Limit: 14400},
			{ID: "3", Label: "Emergency", Limit: 14400},
		},
		Models:      []summary.Model{{Name: "llama-3.3-70b-versatile", Prompt: 12000, Completion: 12634, Total: 24634}},
		RotationLog: []summary.Rotation{{At: at("12:15"), From: "1", To: "2", Reason: "exhausted"}},
	}
}

// eventful is a day with something of everything.
func eventful() summary.Summary {
	return summary.Summary{
		Window: "2025-11-18", Requests: 12345, Succeeded: 12000, CallerFaults: 300, Refused: 30, Failed: 10, Cut: 5, TimeMS: 12000 * 85,
		Tokens: 2345678, Estimated: 1234, Rotations: 7, Rescues: 3, Limited: 1005, Absorbed: 1001,
		Alerts:    []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 2}, {What: "All keys out", N: 1}},
		Down:      12*time.Minute + 3400*time.Millisecond,
		Forecasts: summary.Forecasts{Hits: 2, Misses: 1, MeanOff: 72*time.Minute + 40*time.Second},
		Keys: []summary.Key{
			{ID: "1", Label: "Primary", Requests: 12000, Tokens: 2345677, Limit: 2000000}, {ID: "2", Label: "Team", Requests: 1, Tokens: 1},
		},
		Models: []summary.Model{{Name: "a", Prompt: 2000000, Completion: 345677, Total: 2345677}, {Name: "unknown model", Total: 1}},
		RotationLog: []summary.Rotation{
			{At: at("09:00"), From: "1", To: "2", Reason: "cooling"}, {At: at("10:00"), From: "2", To: "1", Reason: "cooling"},
			{At: at("11:00"), From: "1", To: "2", Reason: "invalid"}, {At: at("12:00"), From: "2", To: "3", Reason: "cooling"},
			{At: at("13:00"), From: "3", To: "2", Reason: "cooling"}, {At: at("14:00"), From: "2", To: "1", Reason: "exhausted"},
			{At: at("15:00"), From: "1", To: "3", Reason: "exhausted"},
		},
		RescueLog: []summary.Moment{{At: at("09:00"), N: 1}, {At: at("11:07"), N: 2}},
		DownLog:   []summary.Span{{From: at("15:00"), To: at("15:12").Add(2400 * time.Millisecond)}, {From: at("16:00"), To: at("16:00").Add(time.Second)}},
	}
}

func TestText(t *testing.T) {
	for name, s := range map[string]summary.Summary{"story": story(), "eventful": eventful(), "empty": {Window: "2025-11-18"}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(s.Text()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), s.Text()+"\n"); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLine(t *testing.T) {
	for want, s := range map[string]summary.Summary{
		"📊 Daily Summary (2025-11-18): Total Requests 450 · Total Tokens 24,634 · Success Rate 100% · Avg Response Time 1.2s · " +
			"Keys Rotated 1 time (Key 1 → Key 2) · Alerts Sent 2 (Warning + Critical) · Downtime 0s": story(),
		"📊 Daily Summary (2025-11-18): Total Requests 12,345 · Total Tokens 2,345,678 · Success Rate 99.6% · Avg Response Time 85ms · " +
			"Keys Rotated 7 times (Key 1 → Key 2, Key 2 → Key 1, Key 1 → Key 2, Key 2 → Key 3, Key 3 → Key 2, …) · " +
			"Alerts Sent 4 (Warning + 2 Critical + All keys out) · Downtime 12m3s": eventful(),
		"📊 Daily Summary (2025-11-18): Total Requests 0 · Total Tokens 0 · Success Rate no requests · Avg Response Time none · " +
			"Keys Rotated 0 times · Alerts Sent 0 · Downtime 0s": {Window: "2025-11-18"},
	} {
		if diff := cmp.Diff(want, s.Line()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSuccessRate(t *testing.T) {
	for _, c := range []struct {
		requests, succeeded, callerFaults int64
		want                              float64
		ok                                bool
	}{
		{0, 0, 0, 0, false},
		{5, 0, 5, 0, false},
		{450, 450, 0, 100, true},
		{10, 5, 5, 100, true},
		{100_000, 99_999, 0, 99.9, true}, // 100 only if none failed
		{3, 2, 0, 66.6, true},
		{4, 0, 0, 0, true},
	} {
		s := summary.Summary{Requests: c.requests, Succeeded: c.succeeded, CallerFaults: c.callerFaults}
		if got, ok := s.SuccessRate(); got != c.want || ok != c.ok {
			t.Errorf("%+v: %v, %v", c, got, ok)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1<<50).Draw(t, "requests")
		succeeded := rapid.Int64Range(0, n).Draw(t, "succeeded")
		s := summary.Summary{Requests: n, Succeeded: succeeded}
		got, ok := s.SuccessRate()
		if exact := 100 * float64(succeeded) / float64(n); !ok || got > exact+1e-9 || got < exact-0.1-1e-9 || (got == 100) != (succeeded == n) {
			t.Fatalf("%d of %d is %v", succeeded, n, got)
		}
	})
}

func TestAvgResponse(t *testing.T) {
	for want, s := range map[string]summary.Summary{
		"none":    {TimeMS: 500},
		"0ms":     {Succeeded: 3},
		"333ms":   {Succeeded: 3, TimeMS: 1000},
		"999ms":   {Succeeded: 10, TimeMS: 9990},
		"1.0s":    {Succeeded: 10, TimeMS: 9996}, // not 1000ms
		"61.5s":   {Succeeded: 2, TimeMS: 123_000},
		"3600.0s": {Succeeded: 1, TimeMS: 3_600_000},
	} {
		if _, ok := s.AvgResponse(); ok != (want != "none") {
			t.Errorf("%d ms over %d: %v", s.TimeMS, s.Succeeded, ok)
		}
		if !strings.Contains(s.Line(), "Avg Response Time "+want+" ·") {
			t.Errorf("want %s in %s", want, s.Line())
		}
	}
}

func TestForecasts(t *testing.T) {
	for want, f := range map[string]summary.Forecasts{
		"0 hits, 0 misses":                      {},
		"0 hits, 1 miss":                        {Misses: 1},
		"1 hit, 0 misses (0m off on average)":   {Hits: 1, MeanOff: 20 * time.Second},
		"2 hits, 3 misses (12m off on average)": {Hits: 2, Misses: 3, MeanOff: 12*time.Minute + 10*time.Second},
		"1 hit, 2 misses (60m off on average)":  {Hits: 1, Misses: 2, MeanOff: time.Hour},
	} {
		if got := f.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
