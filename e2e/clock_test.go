package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// timed is a stack whose clock the test moves.
func timed(t *testing.T, seed uint64, now time.Time, keys ...harness.Key) *harness.Stack {
	t.Helper()
	return harness.Start(t, harness.Options{
		Keys: keys, Args: []string{"--now", now.Format(time.RFC3339)},
		Groq: fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, reserved), Remember: -1},
		Settings: map[string]string{
			"KEYWHEEL_REQUIRED_TOKENS": fmt.Sprint(reserved), "KEYWHEEL_REPORT_INTERVAL": "100ms",
		},
	})
}

// assertDays waits until all of these days together have what the simulated Groq told, and each has something.
func assertDays(t *testing.T, s *harness.Stack, days ...time.Time) {
	t.Helper()
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	told := s.Groq.Truth().Told()
	c := adminOf(t, s.Keywheel)
	byDay := map[string]int64{}
	harness.Eventually(t, "the days have it all", func() error {
		var sum int64
		for _, d := range days {
			date := d.UTC().Format(time.DateOnly)
			summary, err := c.Summary(t.Context(), date)
			if err != nil {
				return err
			}
			byDay[date] = summary.Tokens
			sum += summary.Tokens
		}
		if sum != told {
			return fmt.Errorf("the days have %v, in all %d; %d were served", byDay, sum, told)
		}
		return nil
	})
	for date, tokens := range byDay {
		if tokens == 0 {
			t.Errorf("nothing is charged to %s", date)
		}
	}
	t.Logf("tokens by day: %v", byDay)
}

// Midnight passes under load, with a key that is spent. Each answer is charged to one day; a stream that began before
// midnight, to the day in which it ends; and the key serves again at once.
func TestMidnightUnderLoad(t *testing.T) {
	evening := time.Date(2025, 11, 18, 22, 0, 0, 0, time.UTC)
	midnight := evening.Add(2 * time.Hour)
	const limit = 20_000
	s := timed(t, harness.Seed(t), evening, harness.Key{ID: "1", LimitTokens: limit}, harness.Key{ID: "2"})
	load := startServed(t, s, 8)
	s.Keywheel.WaitKey(t, "1", "is spent", func(k harness.KeyState) error {
		if k.UsedTokens+reserved <= limit {
			return fmt.Errorf("%d tokens are used", k.UsedTokens)
		}
		return nil
	})
	const lasts = 60_000 // more than any other answer, so that the day that has it is seen
	stream := s.H2.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterFirst, Prompt: 1000, Completion: lasts - 1000}})
	s.Keywheel.MoveClock(t, midnight.Add(-2*time.Second), 1)
	load.WaitFor(t, "it is the next day", func() bool { return load.calls%50 == 0 && s.Keywheel.Pool(t).Window == "2025-11-19" })
	s.Keywheel.WaitKey(t, "1", "serves again", func(k harness.KeyState) error {
		if k.UsedTokens == 0 {
			return errors.New("it does not")
		}
		return nil
	})
	load.Stop()
	assertSum := func(want int64) {
		t.Helper()
		harness.Eventually(t, "the new day has it", func() error {
			if got := s.Keywheel.Pool(t).Used; got != want {
				return fmt.Errorf("it has %d tokens, want %d", got, want)
			}
			return nil
		})
	}
	quietUsed := stableUse(t, s)
	s.Groq.Release(stream.ID)
	stream.ReadUntil(t, "[DONE]")
	assertSum(quietUsed + lasts)
	assertDays(t, s, evening, midnight)
}

// stableUse is what the day has, once nothing comes any more: every call but one that is held has ended, and a report
// that was made after that is in.
func stableUse(t *testing.T, s *harness.Stack) int64 {
	t.Helper()
	err := s.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool { return truth.InFlight == 1 })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // of each worker's and the main thread's
		before := s.Keywheel.Proxies(t)[0].Reports
		harness.Eventually(t, "a report comes", func() error {
			if s.Keywheel.Proxies(t)[0].Reports <= before+2 {
				return errors.New("none came")
			}
			return nil
		})
	}
	return s.Keywheel.Pool(t).Used
}

// The clock jumps an hour back, 25 hours ahead and back again, under load. No call fails, and no token is lost or counted
// in two days.
func TestClockJumpsUnderLoad(t *testing.T) {
	noon := time.Date(2025, 11, 18, 12, 0, 0, 0, time.UTC)
	s := timed(t, harness.Seed(t), noon, harness.Keys(2, 0)...)
	load := startServed(t, s, 8)
	for _, jump := range []time.Duration{0, -time.Hour, 25 * time.Hour, 0, -30 * time.Second, 30 * time.Second} {
		s.Keywheel.MoveClock(t, noon.Add(jump), 1)
		load.more(t, 500)
	}
	load.Stop()
	assertDays(t, s, noon, noon.Add(24*time.Hour))
}
