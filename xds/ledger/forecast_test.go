package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
	"keywheel/xds/summary"
)

// steady lets an Envoy spend so many tokens a minute of a credential, up to a time of the story's day.
func (w *world) steady(e *envoy, c protocol.CredentialID, tokens int64, until string, each func()) {
	w.Helper()
	for to := at(until); w.Now().Before(to); {
		w.wait(time.Minute)
		if tokens > 0 {
			e.spend(quota.WindowAt(w.Now()).String(), c, tokens)
		}
		w.send(e)
		w.tick()
		each()
	}
}

// near says whether a time is within half an hour of one of the story's day.
func near(t time.Time, clock string) bool { return t.Sub(at(clock)).Abs() <= 30*time.Minute }

// Key 1 of 14,400 is spent at 100 a minute from 08:00 on, to 10:24.
func TestForecastIsToldOnce(t *testing.T) {
	w := newRoutedWorld(t, threeKeys(), func(e *event.Event) Route {
		if e.Kind == event.Forecast {
			return Route{Log: true, Receivers: []string{"telegram"}}
		}
		return Route{Log: true}
	})
	e := w.newEnvoy()
	var told time.Time
	w.steady(e, "1.1", 100, "10:20", func() {
		switch n := len(w.eventsOf(event.Forecast)); {
		case n > 1:
			t.Fatalf("told %d times", n)
		case n == 1 && told.IsZero():
			told = w.Now()
			w.reopen() // whoever starts anew tells nothing again
		}
	})
	if told.IsZero() || told.After(at("10:09")) {
		t.Fatalf("told at %v; it is exhausted at 10:24", told)
	}
	ev := w.eventsOf(event.Forecast)[0]
	if ev.Key != "1" || ev.Window != today || ev.Level != event.Warning || !near(ev.Until, "10:24") || ev.Rate < 5000 || ev.Rate > 7000 ||
		ev.Limit != 14400 || ev.Remaining != 14400-ev.Used || ev.Unit != event.Tokens {
		t.Errorf("event %+v", ev)
	}
	if line := "WARN At current rate, Key 1 will exhaust by " + ev.Until.Format("15:04") + " UTC"; !slices.Contains(w.said(), line) {
		t.Errorf("nobody said %q", line)
	}
	if n := w.Waiting("telegram", 9); len(n) != 1 || cmp.Diff(ev, n[0].Event) != "" {
		t.Errorf("notifications %+v", n)
	}
	v := w.View()
	if !near(v.Keys[0].ExhaustedAt, "10:24") || !v.Keys[1].ExhaustedAt.IsZero() || !v.Keys[2].ExhaustedAt.IsZero() {
		t.Errorf("at 10:20 the keys are exhausted at %v, %v, %v", v.Keys[0].ExhaustedAt, v.Keys[1].ExhaustedAt, v.Keys[2].ExhaustedAt)
	}
	if s, _ := w.Summary(window(today)); s.Forecasts.Hits+s.Forecasts.Misses != 0 {
		t.Errorf("before it can be known it is a hit or a miss: %+v", s.Forecasts)
	}
	w.steady(e, "1.1", 100, "10:30", func() {})
	if at := w.key("1").ExhaustedAt; !at.IsZero() {
		t.Errorf("exhausted, it has a forecast of %v", at)
	}
	s, _ := w.Summary(window(today))
	if off := ev.Until.Sub(at("10:25")).Abs(); s.Forecasts.Hits != 1 || s.Forecasts.Misses != 0 || s.Forecasts.MeanOff != off {
		t.Errorf("in the end %+v, want one that is %v off", s.Forecasts, off)
	}
	if s.AlertCount() != 2 {
		t.Errorf("it is counted among the alerts: %+v", s.Alerts)
	}
	if p := w.eventsOf(event.PoolForecast); len(p) > 0 {
		t.Errorf("of the pool %+v", p)
	}
	w.check()
}

// A forecast that did not come true by the end of the day is a miss, and stays one when the day is folded.
func TestForecastThatWasWrong(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.steady(e, "1.1", 100, "10:10", func() {})
	if len(w.eventsOf(event.Forecast)) != 1 {
		t.Fatal("it is not told")
	}
	w.steady(e, "1.1", 0, "12:00", func() {})
	if at := w.key("1").ExhaustedAt; !at.IsZero() {
		t.Errorf("after two idle hours it is to be exhausted at %v", at)
	}
	missed := func() int { s, _ := w.Summary(window(today)); return s.Forecasts.Misses }
	w.jump(at("23:59"))
	if missed() != 0 {
		t.Error("missed before the day is over")
	}
	w.jump(at("24:00"))
	if missed() != 1 {
		t.Error("not missed after the day")
	}
	w.jump(at("24:00").Add(24 * time.Hour))
	for range 3 {
		w.tick()
		w.wait(settled)
	}
	if missed() != 1 || w.days[window(today)].Sum == nil {
		t.Error("not missed any more once it is folded")
	}
}

func TestForecastOfThePool(t *testing.T) {
	keys := threeKeys()
	for i := range keys {
		keys[i].LimitTokens = 6000
	}
	w := newWorld(t, keys)
	e := w.newEnvoy()
	w.steady(e, "1.1", 100, "09:00", func() {})
	w.steady(e, "2.1", 100, "10:00", func() {})
	n := 0
	w.steady(e, "3.1", 100, "10:59", func() {
		if got := len(w.eventsOf(event.PoolForecast)); got > n {
			n = got
			w.reopen()
		}
	})
	pool := w.eventsOf(event.PoolForecast)
	if len(pool) != 1 {
		t.Fatalf("told %+v", pool)
	}
	ev := pool[0]
	if ev.Key != "" || ev.Window != today || ev.Level != event.Critical || !near(ev.Until, "11:00") || ev.Used+ev.Remaining != ev.Limit || ev.Limit > 18000 {
		t.Errorf("event %+v", ev)
	}
	line := "ERROR 🚨 At current rate, all Groq keys will be exhausted by " + ev.Until.Format("15:04") + " UTC"
	if !slices.Contains(w.said(), line) {
		t.Errorf("nobody said %q", line)
	}
	if at := w.View().Pool.ExhaustedAt; !near(at, "11:00") {
		t.Errorf("the pool is shown to be exhausted at %v", at)
	}
	w.steady(e, "3.1", 100, "11:05", func() {})
	if at := w.View().Pool.ExhaustedAt; !at.IsZero() {
		t.Errorf("exhausted, it has a forecast of %v", at)
	}
	s, _ := w.Summary(window(today))
	if want := len(w.eventsOf(event.Forecast)) + 1; s.Forecasts.Hits != want || s.Forecasts.Misses != 0 {
		t.Errorf("%+v of %d", s.Forecasts, want)
	}
	w.check()
}

func TestNoForecast(t *testing.T) {
	set := func(change func(*KeyConfig)) func(*testing.T, *world, *envoy) {
		return func(t *testing.T, w *world, _ *envoy) {
			keys := threeKeys()
			change(&keys[0])
			if err := w.SetKeys(t.Context(), keys); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		happens func(*testing.T, *world, *envoy)
		told    int
	}{
		"nothing":  {func(*testing.T, *world, *envoy) {}, 1},
		"disabled": {set(func(k *KeyConfig) { k.Disabled = true }), 0},
		"no limit": {set(func(k *KeyConfig) { k.LimitTokens = 0 }), 0},
		"plenty":   {set(func(k *KeyConfig) { k.LimitTokens *= 100 }), 0},
		"too little left for a request": {func(_ *testing.T, w *world, e *envoy) {
			e.spend(today, "1.1", 14400-9000-99)
			w.send(e)
		}, 0},
		"invalid": {func(_ *testing.T, w *world, e *envoy) {
			e.found = []protocol.Finding{{Credential: "1.1", Kind: protocol.Invalid, RemainingMS: maxAge.Milliseconds()}}
			w.send(e)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			e := w.newEnvoy()
			w.steady(e, "1.1", 100, "09:30", func() {})
			if at := w.key("1").ExhaustedAt; !near(at, "10:24") {
				t.Fatalf("before, it is to be exhausted at %v", at)
			}
			c.happens(t, w, e)
			w.steady(e, "1.1", 0, "09:31", func() {})
			if at := w.key("1").ExhaustedAt; at.IsZero() != (c.told == 0) {
				t.Errorf("it is to be exhausted at %v", at)
			}
			tokens := int64(0)
			if c.told > 0 || name == "plenty" || name == "no limit" {
				tokens = 100
			}
			w.steady(e, "1.1", tokens, "10:15", func() {})
			if n := len(w.eventsOf(event.Forecast)); n != c.told {
				t.Errorf("told %d times, want %d", n, c.told)
			}
		})
	}
}

func TestForecastThatTheStoreRefused(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.steady(e, "1.1", 100, "08:30", func() {})
	refused := 0
	w.store.Before = func(writes []store.Record) error {
		for _, r := range writes {
			if refused < 3 && r.Bucket == eventBucket && strings.Contains(string(r.Value), `"forecast"`) {
				refused++
				return errors.New("broken")
			}
		}
		return nil
	}
	for w.Now().Before(at("10:20")) {
		w.wait(time.Minute)
		e.spend(today, "1.1", 100)
		w.send(e)
		for w.Tick(t.Context()) != nil {
			if n := len(w.eventsOf(event.Forecast)); n > 0 {
				t.Fatal("told though it is not kept")
			}
		}
	}
	if n := len(w.eventsOf(event.Forecast)); n != 1 || refused != 3 {
		t.Errorf("told %d times after %d refusals", n, refused)
	}
	w.check()
}

// The forecasts of a day are gone with it, at once.
func TestForecastEndsAtMidnight(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.policy.RequiredTokens = 1
	w.reopen()
	e := w.newEnvoy()
	w.jump(at("21:30").Add(30 * time.Second))
	e.spend(today, "1.1", 60)
	w.steady(e, "1.1", 96, "23:59", func() {})
	if at := w.key("1").ExhaustedAt; at.IsZero() {
		t.Fatal("half a minute before it has no forecast")
	}
	w.jump(at("24:00"))
	w.tick()
	if v := w.View(); !v.Keys[0].ExhaustedAt.IsZero() || !v.Pool.ExhaustedAt.IsZero() {
		t.Errorf("on the new day it is exhausted at %v", v.Keys[0].ExhaustedAt)
	}
}

// A forecast of a key is a hit when the key was exhausted, one of the pool when all keys were that are not disabled.
func TestForecastsAreScored(t *testing.T) {
	keys := threeKeys()
	keys[2].Disabled = true
	w := newWorld(t, keys)
	e := w.newEnvoy()
	forecast := func(kind event.Kind, key, until string) {
		err := w.do(t.Context(), func(t *tx) error {
			t.tell(event.Event{Kind: kind, Level: event.Warning, Key: key, Until: at(until)})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	forecast(event.Forecast, "1", "08:25") // 20 minutes too late
	forecast(event.Forecast, "2", "09:00")
	forecast(event.Forecast, "9", "09:00")    // no such key
	forecast(event.PoolForecast, "", "08:55") // 10 minutes too early
	e.spend(today, "1.1", 14301)              // less is left than a request needs
	e.spend(today, "2.1", 14300)
	w.send(e)
	w.jump(at("09:00"))
	w.send(e)
	score := func(want summary.Forecasts) {
		t.Helper()
		if s, _ := w.Summary(window(today)); s.Forecasts != want {
			t.Errorf("at %v %+v, want %+v", w.Now(), s.Forecasts, want)
		}
	}
	score(summary.Forecasts{Hits: 1, MeanOff: 20 * time.Minute})
	e.spend(today, "2.1", 1)
	w.send(e) // by 09:05
	score(summary.Forecasts{Hits: 3, MeanOff: (20 + 5 + 10) * time.Minute / 3})
	w.jump(at("24:00"))
	score(summary.Forecasts{Hits: 3, Misses: 1, MeanOff: (20 + 5 + 10) * time.Minute / 3})
}

// What is learned of earlier days ends where all keys were exhausted; else it is known to the end of the day.
func TestDemandOfEarlierDays(t *testing.T) {
	for name, c := range map[string]struct {
		keys  []protocol.CredentialID
		known int
	}{
		"one key is left": {[]protocol.CredentialID{"1.1", "2.1"}, buckets},
		"none is left":    {[]protocol.CredentialID{"1.1", "2.1", "3.1"}, bucketAt(window(today), at("10:00")) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			e := w.newEnvoy()
			w.jump(at("10:00"))
			for _, c := range c.keys {
				e.spend(today, c, 14350)
			}
			w.send(e)
			for range 3 {
				w.jump(w.Now().Add(24 * time.Hour))
				for range 3 {
					w.tick()
					w.wait(settled)
				}
				demand := w.demand(window(today))
				if len(demand) != c.known || sum(demand) != int64(14350*len(c.keys)) {
					t.Errorf("known are %d buckets with %d tokens; the day is %+v", len(demand), sum(demand), w.days[window(today)])
				}
			}
			if w.days[window(today)].Folded == nil {
				t.Error("it is not folded")
			}
			if demand := w.demand(window("2025-11-01")); len(demand) != 0 {
				t.Errorf("of an unknown day %d buckets are known", len(demand))
			}
			w.check()
		})
	}
}
