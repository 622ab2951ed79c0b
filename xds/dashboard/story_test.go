package dashboard_test

import (
	"fmt"
	"strconv"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
)

const (
	day     = "2025-11-18"
	limit   = 14_400
	need    = 100
	allKeys = 3 * limit
)

var midnight = time.Date(2025, 11, 18, 0, 0, 0, 0, time.UTC)

func at(hour, minute int) time.Time {
	return midnight.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

func ref[T any](v T) *T { return &v }

// stateAt is the story's account at a time of its day: what each key has used, and which is in use.
func stateAt(now time.Time, inUse int, used ...int64) state {
	labels := []string{"Primary", "Backup", "Emergency"}
	s := state{Keys: []admin.Key{}, Proxies: []admin.Proxy{{
		Incarnation: "0193…", Node: "envoy-1", Version: ref("1.40.0"), Connected: true, Generation: 7, Config: 3, FirstReport: ref(midnight),
		LastReport: ref(now.Add(-time.Second)), Reports: 4_200,
	}}}
	total, serving := int64(0), false
	for i, n := range used {
		status := quota.State{InUse: i+1 == inUse, Used: n, Limit: limit, Need: need}.Status()
		k := admin.Key{
			ID: strconv.Itoa(i + 1), Label: labels[min(i, 2)], Provider: "groq", Priority: i + 1, Rank: i + 1, Tier: "free", Org: strconv.Itoa(i + 1),
			Status: string(status), Active: i+1 == inUse, UsedTokens: n, LimitTokens: ref(int64(limit)), RemainingTokens: ref(limit - n),
			Percent: ref(quota.Percent(n, limit)), Requests: n / 100, Health: 100, Score: 70, ResetsAt: midnight.Add(24 * time.Hour),
			Models: []string{}, Thresholds: []int{75, 90, 100}, Source: ref("environment"), Changed: []string{},
		}
		total += n
		serving = serving || status.Serves()
		s.Keys = append(s.Keys, k)
	}
	s.Pool = admin.Pool{
		Used: total, Limit: ref(int64(len(used) * limit)), Remaining: ref(int64(len(used)*limit) - total), Percent: ref(quota.Percent(total, int64(len(used)*limit))),
		Health: 100, KeyInUse: ref(strconv.Itoa(inUse)), Window: day, Now: now, ResetsAt: midnight.Add(24 * time.Hour), Requests: total / 100,
		Succeeded: total / 100, AllOut: !serving,
	}
	return s
}

// afternoon is the account at 14:00, as in the picture.
func afternoon() state {
	s := stateAt(at(14, 0), 2, limit, 8_500, 0)
	s.Pool.Health, s.Pool.Rotations = 95, 1
	s.Pool.Requests, s.Pool.Succeeded = 400, 400
	s.Keys[0].Requests, s.Keys[1].Requests = 144, 256
	s.Keys[1].ForecastExhaustedAt = ref(at(15, 12))
	return s
}

// tell the story's day so far.
func tellStory(f *fake) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = []admin.Event{
		event(1, at(0, 0), "reset", "info", "ℹ️ New day 2025-11-18: all Groq keys at 0"),
		event(2, at(10, 0), "threshold", "warning", "⚠️ WARNING: Groq Key 1 at 75%"),
		event(3, at(11, 30), "threshold", "critical", "🚨 CRITICAL: Groq Key 1 at 90%"),
		event(4, at(12, 15), "threshold", "info", "ℹ️ Groq Key 1 is exhausted"),
		event(5, at(12, 15), "rotated", "info", "ℹ️ Groq Key 1 → Groq Key 2"),
	}
	f.events[1].Used, f.events[1].Limit = ref(int64(10_800)), ref(int64(limit))
	f.events[2].Used, f.events[2].Limit = ref(int64(12_960)), ref(int64(limit))
	f.events[4].From, f.events[4].To, f.events[4].Reason = ref("1"), ref("2"), ref("exhausted")
	f.usage["key 5m"] = admin.Usage{Series: []admin.UsageSeries{
		{Name: "1", Label: ref("Primary"), Points: points(at(8, 0), at(12, 15), limit)}, {Name: "2", Label: ref("Backup"), Points: points(at(12, 15), at(14, 0), 8_500)},
	}}
	f.usage["caller 1d"] = admin.Usage{Series: []admin.UsageSeries{
		{Name: "search", Points: []admin.Point{{At: midnight, Tokens: 15_000, Requests: ref(int64(270))}}},
		{Name: "chat", Points: []admin.Point{{At: midnight, Tokens: 7_900, Requests: ref(int64(130))}}},
	}}
	f.notifications = []admin.Notification{
		{ID: "n1", Receiver: "email", Title: "🚨 CRITICAL: Groq Key 1 at 90%", At: at(11, 30), State: "failed", Attempts: 5, Error: ref("550 mailbox unavailable"), SettledAt: ref(at(11, 50))},
		{ID: "n2", Receiver: "telegram", Title: "ℹ️ Groq Key 1 → Groq Key 2", At: at(12, 15), State: "waiting", Attempts: 2, Error: ref("no answer within 10s"), NextAt: ref(at(14, 3))},
	}
	f.summaries[day] = summaryOf(day, 400, 22_900)
	f.summaries["2025-11-17"] = summaryOf("2025-11-17", 450, 24_634)
}

func event(id int, at time.Time, kind, level, title string) admin.Event {
	return admin.Event{ID: strconv.Itoa(id), At: at, Kind: kind, Level: level, Title: title, Window: day}
}

// points spreads tokens over the five minutes of a time, a little unevenly.
func points(from, to time.Time, tokens int64) []admin.Point {
	n := int64(to.Sub(from) / (5 * time.Minute))
	var out []admin.Point
	left := tokens
	for i := range n {
		share := tokens / n * (80 + (i*37)%41) / 100
		if i == n-1 {
			share = left
		}
		left -= share
		out = append(out, admin.Point{At: from.Add(time.Duration(i) * 5 * time.Minute), Tokens: share, Requests: ref(share / 100)})
	}
	return out
}

func summaryOf(date string, requests, tokens int64) admin.Summary {
	return admin.Summary{
		Date: date, Requests: requests, Tokens: tokens, SuccessRate: ref(100.0), AvgResponseMS: ref(int64(1_200)), Rotations: 1, Alerts: 2,
		AlertKinds: []admin.Count{{Kind: "Warning", Count: 1}, {Kind: "Critical", Count: 1}},
		Keys: []admin.KeySummary{
			{ID: "1", Label: "Primary", Requests: 144, Tokens: limit, LimitTokens: ref(int64(limit)), Percent: ref(100.0), Models: []admin.ModelUsage{}},
			{ID: "2", Label: "Backup", Requests: requests - 144, Tokens: tokens - limit, LimitTokens: ref(int64(limit)), Percent: ref(quota.Percent(tokens-limit, limit)), Models: []admin.ModelUsage{}},
			{ID: "3", Label: "Emergency", LimitTokens: ref(int64(limit)), Percent: ref(0.0), Models: []admin.ModelUsage{}},
		},
		Models:      []admin.ModelUsage{{Model: "llama-3.3-70b-versatile", Tokens: tokens, PromptTokens: tokens / 3, CompletionTokens: tokens - tokens/3}},
		RotationLog: []admin.Rotation{{At: at(12, 15), From: "1", To: "2", Reason: "exhausted"}}, RescueLog: []admin.Moment{}, DowntimeLog: []admin.Span{},
		Text: fmt.Sprintf("📊 Daily Summary (%s)\n\nTotal Requests: %s\nTotal Tokens: %s\nSuccess Rate: 100%%\nAvg Response Time: 1.2s\n"+
			"Keys Rotated: 1 time (Key 1 → Key 2)\nAlerts Sent: 2 (Warning + Critical)\nDowntime: 0s", date, quota.Group(requests), quota.Group(tokens)),
	}
}
