package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/xds/ledger"
)

// TestCountersPassMidnight: a gauge of today begins anew, a counter goes on.
func TestCountersPassMidnight(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("1.1", llama, 10, 5_000)
	e.refuse(1)
	e.mustReport()
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 5_000, `keywheel_key_used_tokens{key="1"}`: 5_000})
	late := *e // it tells of yesterday's last calls after midnight
	late.spend("1.1", llama, 1, 400)
	w.wait(16*time.Hour + time.Second)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 5_000, `keywheel_key_used_tokens{key="1"}`: 0})
	late.mustReport()
	late.spend("1.1", llama, 2, 70)
	late.mustReport()
	want := map[string]float64{
		`keywheel_key_tokens_total{key="1"}`: 5_470, `keywheel_key_used_tokens{key="1"}`: 70, `keywheel_key_requests_total{key="1"}`: 13,
		`keywheel_client_requests_total{outcome="succeeded"}`: 13, "keywheel_downtime_seconds_total": 1,
		`keywheel_events_total{kind="reset",level="info"}`: 1,
	}
	w.want(want)
	for range 5 { // the days before are folded
		w.wait(24 * time.Hour)
		w.wait(20 * time.Minute)
	}
	want[`keywheel_key_used_tokens{key="1"}`], want[`keywheel_events_total{kind="reset",level="info"}`] = 0, 6
	w.want(want)
}

// TestNobodyLooksForADay: yesterday's last calls are told of after a scrape, and are no longer yesterday's at the next.
func TestNobodyLooksForADay(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("1.1", llama, 1, 100)
	w.wait(17 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 0})
	e.mustReport()
	w.wait(24 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 100})
	e.spend("1.1", llama, 1, 10)
	e.mustReport()
	w.wait(14 * 24 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 110})
}

// TestCountersBeginWithTheProcess: what was counted before a restart is not counted again, what is reported after it is.
func TestCountersBeginWithTheProcess(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("1.1", llama, 100, 13_000)
	e.refuse(1)
	e.mustReport()
	if err := w.Sent(context.Background(), w.Waiting("email", 10)); err != nil {
		t.Fatal(err)
	}
	w.restart()
	zero := map[string]float64{
		`keywheel_key_tokens_total{key="1"}`: 0, `keywheel_client_requests_total{outcome="refused"}`: 0, "keywheel_downtime_seconds_total": 0,
		`keywheel_events_total{kind="threshold",level="critical"}`: 0, `keywheel_notifications_total{outcome="sent",receiver="email"}`: 0,
		`keywheel_notifications_waiting{receiver="telegram"}`: 2, `keywheel_key_used_tokens{key="1"}`: 13_000,
	}
	w.want(zero)
	e.mustReport()
	w.want(zero)
	e.spend("1.1", llama, 1, 300)
	e.mustReport()
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 300, `keywheel_key_used_tokens{key="1"}`: 13_300})
}

// TestYesterdaysCallersTakeNoNames: after a restart the names are for who calls now.
func TestYesterdaysCallersTakeNoNames(t *testing.T) {
	w := newWorld(t, threeKeys())
	call := func(n byte, prefix string) *envoy {
		e := w.newEnvoy("edge", n)
		for i := range 200 {
			e.window().Callers = append(e.window().Callers, protocol.CallerUsage{Caller: fmt.Sprint(prefix, i), Requests: 1, Total: 10})
		}
		e.mustReport()
		return e
	}
	call(1, "yesterday-")
	w.wait(24 * time.Hour)
	e := call(2, "today-")
	w.restart()
	w.want(map[string]float64{`keywheel_caller_tokens_total{caller="today-199"}`: 0})
	e.window().Callers[199].Total += 5
	e.mustReport()
	w.want(map[string]float64{`keywheel_caller_tokens_total{caller="today-199"}`: 5})
	if v, ok := w.scrape()[`keywheel_caller_tokens_total{caller="yesterday-1"}`]; ok {
		t.Errorf("yesterday's caller has %v", v)
	}
}

// TestARemovedKeysCallsCount: a call that was in flight when its key was removed.
func TestARemovedKeysCallsCount(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("3.1", llama, 1, 100)
	e.mustReport()
	if err := w.SetKeys(context.Background(), threeKeys()[:2]); err != nil {
		t.Fatal(err)
	}
	e.spend("3.1", llama, 1, 50)
	e.mustReport()
	w.want(map[string]float64{`keywheel_key_tokens_total{key="3"}`: 150})
	if v, ok := w.scrape()[`keywheel_key_used_tokens{key="3"}`]; ok {
		t.Errorf("a key that is gone spent %v today", v)
	}
}

func TestTheClockIsPutBack(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy("edge", 1)
	e.spend("1.1", llama, 10, 5_000)
	e.mustReport()
	w.wait(10 * 24 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 5_000})
	w.wait(-10 * 24 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 5_000})
	w.wait(10 * 24 * time.Hour)
	w.restart()
	w.wait(-10 * 24 * time.Hour)
	w.want(map[string]float64{`keywheel_key_tokens_total{key="1"}`: 0})
}

// TestCountersOnlyGrow plays days at random: calls, lost and late reports, a store that fails, keys that come and go. No
// counter ever goes down, and in the end each says what was spent.
func TestCountersOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, threeKeys())
		envoys := []*envoy{w.newEnvoy("a", 1), w.newEnvoy("b", 2)}
		last, spent := map[string]float64{}, map[string]float64{}
		look := func() map[string]float64 {
			now := w.scrape()
			for name, v := range last {
				if strings.Contains(name, "_total") && strings.HasPrefix(name, "keywheel_") && now[name] < v {
					t.Fatalf("%s is %v after %v", name, now[name], v)
				}
			}
			last = now
			return now
		}
		report := func(e *envoy) {
			if err := e.report(); err != nil && !errors.Is(err, ledger.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		actions := map[string]func(*rapid.T){
			"call": func(t *rapid.T) {
				e, key := rapid.SampledFrom(envoys).Draw(t, "envoy"), rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "key")
				tokens := rapid.Int64Range(0, 3_000).Draw(t, "tokens")
				e.spend(key+".1", rapid.SampledFrom([]string{llama, "", "other"}).Draw(t, "model"), 1, tokens)
				spent[key] += float64(tokens)
			},
			"refuse":  func(t *rapid.T) { rapid.SampledFrom(envoys).Draw(t, "envoy").refuse(1) },
			"report":  func(t *rapid.T) { report(rapid.SampledFrom(envoys).Draw(t, "envoy")) },
			"scrape":  func(*rapid.T) { look() },
			"break":   func(t *rapid.T) { w.broken = rapid.Bool().Draw(t, "broken") },
			"minutes": func(t *rapid.T) { w.wait(time.Duration(rapid.IntRange(1, 120).Draw(t, "minutes")) * time.Minute) },
			"midnight": func(*rapid.T) {
				for _, e := range envoys { // what is older than a day cannot be told any more
					w.broken = false
					report(e)
				}
				w.wait(w.View().ResetsAt.Sub(w.now))
			},
			"keys": func(t *rapid.T) {
				w.broken = false
				w.keys = threeKeys()[:rapid.IntRange(1, 3).Draw(t, "keys")]
				if err := w.SetKeys(context.Background(), w.keys); err != nil {
					t.Fatal(err)
				}
			},
		}
		t.Repeat(actions)
		w.broken, w.keys = false, threeKeys()
		if err := w.SetKeys(context.Background(), w.keys); err != nil {
			t.Fatal(err)
		}
		for _, e := range envoys {
			report(e)
		}
		now := look()
		for _, key := range slices.Sorted(maps.Keys(spent)) {
			name := fmt.Sprintf("keywheel_key_tokens_total{key=%q}", key)
			if now[name] != spent[key] {
				t.Errorf("%s is %v, %v were spent", name, now[name], spent[key])
			}
		}
	})
}
