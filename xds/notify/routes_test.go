package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"keywheel/xds/event"
)

// everybody is one receiver of each kind, and a second service.
func everybody() []Receiver {
	return []Receiver{
		{Name: "telegram", Kind: Telegram}, {Name: "email", Kind: Email}, {Name: "webhook", Kind: Webhook},
		{Name: "slack", Kind: Services}, {Name: "ntfy", Kind: Services},
	}
}

func routed(r *Router, e event.Event) string {
	log, to := r.Route(&e)
	if log {
		to = append([]string{"log"}, to...)
	}
	return strings.Join(to, " ")
}

func TestDefaultRoutes(t *testing.T) {
	const quiet, warning, critical = "log", "log telegram webhook slack ntfy", "log telegram email webhook slack ntfy"
	r := NewRouter(everybody(), nil)
	for _, c := range []struct {
		event event.Event
		want  string
	}{
		{event.Event{Kind: event.Threshold, Level: event.Warning}, warning},
		{event.Event{Kind: event.Threshold, Level: event.Critical}, critical},
		{event.Event{Kind: event.Threshold, Level: event.Info}, quiet},
		{event.Event{Kind: event.Rotated, Level: event.Info}, quiet},
		{event.Event{Kind: event.KeyCooling, Level: event.Info}, quiet},
		{event.Event{Kind: event.Reset, Level: event.Info}, quiet},
		{event.Event{Kind: event.Forecast, Level: event.Warning}, quiet},
		{event.Event{Kind: event.AllOut, Level: event.Critical}, critical},
		{event.Event{Kind: event.KeyInvalid, Level: event.Critical}, critical},
		{event.Event{Kind: event.KeyRestricted, Level: event.Critical}, critical},
		{event.Event{Kind: event.PoolForecast, Level: event.Critical}, critical},
		{event.Event{Kind: event.AllBack, Level: event.Info}, critical},
		{event.Event{Kind: event.KeyRecovered, Level: event.Info, Reason: "invalid"}, critical},
		{event.Event{Kind: event.KeyRecovered, Level: event.Info, Reason: "restricted"}, critical},
		{event.Event{Kind: event.KeyRecovered, Level: event.Info, Reason: "cooling"}, quiet},
		{event.Event{Kind: event.Rejected, Level: event.Warning}, quiet},
		{event.Event{Kind: event.OldEnvoy, Level: event.Warning}, quiet},
		{event.Event{Kind: event.ClockSkew, Level: event.Warning}, quiet},
		{event.Event{Kind: event.Edge, Level: event.Info}, quiet},
		{event.Event{Kind: event.KeyCleared, Level: event.Info}, quiet},
		{event.Event{Kind: event.Summary, Level: event.Info}, quiet},
		{event.Event{Kind: event.Quarantined, Level: event.Warning}, warning},
		{event.Event{Kind: event.Panicked, Level: event.Warning}, warning},
		{event.Event{Kind: event.Voided, Level: event.Warning}, warning},
		{event.Event{Kind: event.Restored, Level: event.Warning}, warning},
	} {
		if got := routed(r, c.event); got != c.want {
			t.Errorf("%s %s %s goes to %s, want %s", c.event.Kind, c.event.Level, c.event.Reason, got, c.want)
		}
	}
}

func TestRules(t *testing.T) {
	r := NewRouter(everybody(), []Rule{
		{Kind: event.Threshold, Receivers: []string{"email"}},
		{Kind: event.Threshold, Level: event.Critical, Receivers: []string{"log", "slack"}},
		{Kind: event.AllOut, Receivers: []string{"services"}},
		{Kind: event.KeyInvalid, Receivers: []string{"log", "email"}},
		{Kind: event.KeyRecovered, Receivers: nil},
		{Kind: event.Summary, Receivers: []string{"email"}},
		{Kind: event.Summary, Receivers: []string{"telegram", "page"}}, // the last one holds
	})
	for _, c := range []struct {
		event event.Event
		want  string
	}{
		{event.Event{Kind: event.Threshold, Level: event.Warning}, "email"},
		{event.Event{Kind: event.Threshold, Level: event.Critical}, "log slack"},
		{event.Event{Kind: event.AllOut, Level: event.Critical}, "slack ntfy"},
		{event.Event{Kind: event.AllBack, Level: event.Info}, "slack ntfy"}, // as the alert that it ends
		{event.Event{Kind: event.KeyRecovered, Level: event.Info, Reason: "invalid"}, ""},
		{event.Event{Kind: event.Summary, Level: event.Info}, "telegram"},
		{event.Event{Kind: event.Rotated, Level: event.Info}, "log"},
	} {
		if got := routed(r, c.event); got != c.want {
			t.Errorf("%s %s goes to %q, want %q", c.event.Kind, c.event.Level, got, c.want)
		}
	}
}

// Every alert reaches the log unless somebody says otherwise.
func TestNothingIsLostByDefault(t *testing.T) {
	for _, kind := range event.Kinds() {
		for _, level := range event.Levels() {
			if to := Default(kind, level); !slices.Contains(to, Log) || !slices.Contains(to, Page) {
				t.Error(fmt.Sprint(kind, level, to))
			}
		}
	}
}
