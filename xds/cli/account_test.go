package cli_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/admin/admintest"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger"
	"keywheel/xds/notify"
	"keywheel/xds/summary"
)

// account is the scenario's at 14:00.
type account struct {
	admintest.Nothing
	envoys  int
	proxies []ledger.ProxyView // beside these
}

func (a account) View() ledger.View {
	now := time.Date(2025, 11, 18, 14, 0, 0, 0, time.UTC)
	v := ledger.View{
		Now: now, Window: quota.WindowAt(now), ResetsAt: quota.WindowAt(now).End(), Health: 95,
		Pool: ledger.PoolView{Used: 22900, Limit: 43200, Remaining: 20300, KeyInUse: "2"},
	}
	for i, k := range []struct {
		label  string
		status quota.Status
		used   int64
	}{{"Primary", quota.Exhausted, 14400}, {"Backup", quota.Active, 8500}, {"Emergency", quota.Standby, 0}} {
		v.Keys = append(v.Keys, ledger.KeyView{
			KeyConfig: ledger.KeyConfig{ID: fmt.Sprint(i + 1), Label: k.label, Priority: i + 1, Rank: i, Org: fmt.Sprintf("key-%d", i+1), Tier: "free", LimitTokens: 14400},
			Status:    k.status, InUse: k.status == quota.Active, Used: k.used, Remaining: 14400 - k.used, Percent: quota.Percent(k.used, 14400), Health: 100, Score: 70,
		})
	}
	for range a.envoys {
		v.Proxies = append(v.Proxies, ledger.ProxyView{Incarnation: "one", Connected: true})
	}
	v.Proxies = append(v.Proxies, a.proxies...)
	return v
}

func (account) Clear(context.Context, string, audit.Entry) (int64, error) { return 7, nil }

// at is a time of the story's day.
func at(hour, minute int) time.Time { return time.Date(2025, 11, 18, hour, minute, 0, 0, time.UTC) }

// happened are the story's events, the older ones first. With envoys none, nothing happened.
func (a account) happened() []event.Event {
	if a.envoys == 0 {
		return nil
	}
	all := []event.Event{
		{At: at(0, 0), Kind: event.Reset, Level: event.Info},
		{At: at(0, 2), Kind: event.Summary, Level: event.Info, Window: "2025-11-17", Detail: "📊 Daily Summary (2025-11-17)"},
		{At: at(10, 0), Kind: event.Threshold, Level: event.Warning, Key: "1", Percent: 75, Used: 10800, Limit: 14400, Remaining: 3600, Unit: event.Tokens},
		{At: at(11, 30), Kind: event.Threshold, Level: event.Critical, Key: "1", Percent: 90, Used: 12960, Limit: 14400, Remaining: 1440, Unit: event.Tokens},
		{At: at(12, 15), Kind: event.Threshold, Level: event.Info, Key: "1", Percent: 100, Used: 14400, Limit: 14400, Unit: event.Tokens},
		{At: at(12, 15), Kind: event.Rotated, Level: event.Info, Key: "2", From: "1", To: "2", Reason: "exhausted"},
	}
	for i := range all {
		e := &all[i]
		e.ID, e.Keys = int64(i+1), 3
		if e.Window == "" {
			e.Window = "2025-11-18"
		}
	}
	return all
}

func (a account) Newest(limit int) []event.Event {
	all := a.happened()
	return all[max(0, len(all)-limit):]
}

func (account) Events(int64, int) []event.Event { return nil } // the command line asks for the newest alone

// Notifications are of the 75 % and the 90 %: one sent, one given up, one waiting. With no events there are none.
func (a account) Notifications(limit int, states ...event.State) []event.Notification {
	var out []event.Notification
	all := a.happened()
	if len(all) == 0 {
		return nil
	}
	for _, n := range []event.Notification{
		{Receiver: "telegram-2", State: event.Waiting, Attempts: 3, Error: "429 Too Many Requests: retry after 7"},
		{Receiver: "email", State: event.Failed, Attempts: 1, Error: "550 5.1.1 \x1b[31mno such\nuser"},
		{Receiver: "telegram", State: event.Sent, Attempts: 1},
	} {
		if n.Event = all[3]; n.State == event.Sent {
			n.Event = all[2]
		}
		if len(out) < limit && (len(states) == 0 || slices.Contains(states, n.State)) {
			out = append(out, n)
		}
	}
	return out
}

// Summary is the story's day at its end, and one of nothing but a label that nobody should have given.
func (account) Summary(w quota.Window) (summary.Summary, bool) {
	switch w.String() {
	case "2025-11-18":
		return summary.Summary{
			Window: w.String(), Requests: 450, Succeeded: 450, TimeMS: 540_000, Tokens: 24634, Rotations: 1,
			Alerts: []summary.Count{{What: "Warning", N: 1}, {What: "Critical", N: 1}},
			Keys: []summary.Key{
				{ID: "1", Label: "Primary", Requests: 144, Tokens: 14400, Limit: 14400}, {ID: "2", Label: "Backup", Requests: 306, Tokens: 10234, Limit: 14400},
				{ID: "3", Label: "Emergency", Limit: 14400},
			},
			Models:      []summary.Model{{Name: "llama-3.3-70b-versatile", Prompt: 20000, Completion: 4634, Total: 24634}},
			RotationLog: []summary.Rotation{{At: at(12, 15), From: "1", To: "2", Reason: "exhausted"}},
		}, true
	case "2025-11-17":
		return summary.Summary{Window: w.String(), Keys: []summary.Key{{ID: "1", Label: "mo\x1b[2Jve\r\u202e"}}}, true
	}
	return summary.Summary{}, false
}

// notifier has receivers of which it is known what comes of a test.
type notifier []notify.Tried

func (n notifier) Try(context.Context) []notify.Tried { return n }

// Void knows one Envoy.
func (account) Void(_ context.Context, incarnation string, _ audit.Entry) error {
	if incarnation != "one" {
		return ledger.ErrNoIncarnation
	}
	return nil
}
