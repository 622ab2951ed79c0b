package quota

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindowNamesItsDay(t *testing.T) {
	for at, want := range map[string]string{
		"2025-11-18T00:00:00Z":           "2025-11-18",
		"2025-11-18T23:59:59.999999999Z": "2025-11-18",
		"2025-11-19T00:00:00Z":           "2025-11-19",
		"2025-11-19T00:30:00+01:00":      "2025-11-18",
		"1969-12-31T23:59:59Z":           "1969-12-31",
		"2024-02-29T12:00:00Z":           "2024-02-29",
	} {
		tm, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := WindowAt(tm).String(); got != want {
			t.Errorf("WindowAt(%s) = %s, want %s", at, got, want)
		}
	}
}

func TestWindowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Window(rapid.Int32Range(-100000, 1000000).Draw(t, "w"))
		got, err := ParseWindow(w.String())
		if err != nil || got != w {
			t.Fatalf("ParseWindow(%s) = %d, %v; want %d", w, got, err, w)
		}
		if WindowAt(w.Start()) != w || WindowAt(w.End()) != w+1 || WindowAt(w.End().Add(-1)) != w {
			t.Fatalf("window %s does not hold its own ends", w)
		}
	})
}

func TestFormatPercentRoundsHalfUp(t *testing.T) {
	for _, c := range []struct {
		used, limit int64
		want        string
	}{
		{1234, 14400, "8.6%"}, {3456, 14400, "24.0%"}, {5678, 14400, "39.4%"}, {7890, 14400, "54.8%"},
		{10800, 14400, "75.0%"}, {14400, 14400, "100.0%"}, {0, 14400, "0.0%"}, {1, 2000, "0.1%"},
		{999, 2000000, "0.0%"}, {1000, 2000000, "0.1%"}, {150, 100, "150.0%"}, {5, 0, "0.0%"},
		{math.MaxInt64, math.MaxInt64, "100.0%"}, {math.MaxInt64 / 2, math.MaxInt64, "50.0%"},
	} {
		if got := FormatPercent(c.used, c.limit); got != c.want {
			t.Errorf("FormatPercent(%d, %d) = %s, want %s", c.used, c.limit, got, c.want)
		}
	}
}

func TestStatusIsTheFirstThatApplies(t *testing.T) {
	for _, c := range []struct {
		name string
		s    State
		want Status
	}{
		{"disabled before invalid", State{Disabled: true, Invalid: true, Used: 100, Limit: 100}, Disabled},
		{"invalid before exhausted", State{Invalid: true, Used: 100, Limit: 100}, Invalid},
		{"exhausted before cooling", State{Cooling: true, Used: 100, Limit: 100}, Exhausted},
		{"exhausted below the need", State{Used: 14301, Limit: 14400, Need: 100}, Exhausted},
		{"exactly the need left", State{Used: 14300, Limit: 14400, Need: 100}, Critical},
		{"exhausted by requests", State{Requests: 10, LimitReqs: 10}, Exhausted},
		{"cooling before critical", State{Cooling: true, Used: 95, Limit: 100}, Cooling},
		{"critical at 90", State{Used: 90, Limit: 100, InUse: true}, Critical},
		{"warning at 75", State{Used: 75, Limit: 100, InUse: true}, Warning},
		{"warning by requests", State{Requests: 8, LimitReqs: 10}, Warning},
		{"just below warning", State{Used: 749, Limit: 1000, InUse: true}, Active},
		{"no limit never exhausts", State{Used: math.MaxInt64, InUse: true}, Active},
		{"standby", State{Limit: 100}, Standby},
	} {
		if got := c.s.Status(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestRankLabel(t *testing.T) {
	for rank, want := range []string{"Primary", "Backup", "Emergency", "Emergency"} {
		if got := RankLabel(rank); got != want {
			t.Errorf("RankLabel(%d) = %s, want %s", rank, got, want)
		}
	}
}

func TestGroup(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 14400: "14,400", 1234567: "1,234,567", -1: "-1", -123: "-123", -1234: "-1,234",
	} {
		if got := Group(n); got != want {
			t.Errorf("Group(%d) = %s, want %s", n, got, want)
		}
	}
}
