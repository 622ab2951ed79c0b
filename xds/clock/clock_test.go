package clock_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keywheel/xds/clock"
)

var (
	hostStart = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	morning   = time.Date(2025, 11, 18, 8, 0, 0, 0, time.UTC)
)

// hostClock is a host's clock that a test moves.
type hostClock struct{ now time.Time }

func (h *hostClock) Now() time.Time { return h.now }

func TestVirtualClock(t *testing.T) {
	for name, tc := range map[string]struct {
		speed  float64
		passed time.Duration // on the host
		want   time.Time
	}{
		"as fast":      {speed: 1, passed: 90 * time.Second, want: morning.Add(90 * time.Second)},
		"faster":       {speed: 3600, passed: 4 * time.Second, want: morning.Add(4 * time.Hour)},
		"slower":       {speed: 0.5, passed: time.Minute, want: morning.Add(30 * time.Second)},
		"stands still": {speed: 0, passed: time.Hour, want: morning},
	} {
		t.Run(name, func(t *testing.T) {
			host := &hostClock{now: hostStart}
			c := clock.New(morning, tc.speed, host.Now)
			if !c.Virtual() || !c.Now().Equal(morning) {
				t.Fatalf("at the start: virtual %v, now %v; want %v", c.Virtual(), c.Now(), morning)
			}
			host.now = host.now.Add(tc.passed)
			if got := c.Now(); !got.Equal(tc.want) {
				t.Errorf("after %v: %v, want %v", tc.passed, got, tc.want)
			}
		})
	}
}

func TestSetMovesBothWays(t *testing.T) {
	host := &hostClock{now: hostStart}
	c := clock.New(morning, 1, host.Now)
	for _, to := range []time.Time{morning.Add(6 * time.Hour), morning.Add(-time.Hour)} {
		host.now = host.now.Add(time.Minute)
		c.Set(to, 0)
		host.now = host.now.Add(time.Minute)
		if got := c.Now(); !got.Equal(to) {
			t.Errorf("set to %v: shows %v", to, got)
		}
	}
}

func TestRealClock(t *testing.T) {
	c := clock.Real()
	before := time.Now()
	now := c.Now()
	if now.Before(before) || now.After(time.Now()) || now.Location() != time.UTC {
		t.Errorf("shows %v, want the host's time in UTC", now)
	}
	if c.Virtual() || c.Spec().AnchorNowMS != 0 {
		t.Errorf("virtual %v, spec %+v", c.Virtual(), c.Spec())
	}
}

func TestFiltersShowTheSameTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := &hostClock{now: hostStart}
		speed := rapid.Float64Range(0, clock.MaxSpeed).Draw(t, "speed")
		c := clock.New(morning.Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "anchor"))), speed, host.Now)
		host.now = host.now.Add(time.Duration(rapid.Int64Range(0, 1e14).Draw(t, "passed")))
		if got, want := c.Spec().Now(host.now.UnixMilli()), c.Now().UnixMilli(); got != want {
			t.Fatalf("by the spec %d, by the clock %d", got, want)
		}
	})
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		now   time.Time
		speed float64
		ok    bool
	}{
		"good":       {morning, 60, true},
		"standing":   {morning, 0, true},
		"backwards":  {morning, -1, false},
		"not finite": {morning, math.Inf(1), false},
		"no number":  {morning, math.NaN(), false},
		"zero time":  {time.Time{}, 1, false},
		"too late":   {morning.AddDate(1000, 0, 0), 1, false},
	} {
		if err := clock.Check(tc.now, tc.speed); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := clock.New(morning, 1, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				c.Set(c.Now(), 2)
				_ = c.Virtual()
			}
		})
	}
	wg.Wait()
}
