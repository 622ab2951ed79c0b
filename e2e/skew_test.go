package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// skewed is what an Envoy's environment needs for its host's clock to be ahead by so much. Without a C compiler the test is
// skipped; with CI=true it fails.
func skewed(t *testing.T, ahead time.Duration) map[string]string {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no C compiler to build another clock with: %v", err)
		}
		t.Skipf("no C compiler to build another clock with: %v", err)
	}
	library := filepath.Join(t.TempDir(), "skew.so")
	text, err := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-O1", fmt.Sprintf("-DSKEW_SECONDS=(%d)", int(ahead.Seconds())),
		"-o", library, filepath.Join("testdata", "skew", "skew.c")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return map[string]string{"LD_PRELOAD": library}
}

// Envoy's host and the control plane's are ten minutes apart, either way. That is counted, shown and told once. What Envoy
// reports before it knows is taken in without its times; from its first answer on it goes by the control plane's clock: each
// call is charged to the day that it is there, though it is another one at Envoy's, and a key rests as long as Groq said.
func TestEnvoysClockIsTenMinutesOff(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2025, 11, 19, 0, 0, 0, 0, time.UTC)
	for ahead, now := range map[time.Duration]time.Time{
		10 * time.Minute:  midnight.Add(-5 * time.Minute), // at Envoy's it is the next day
		-10 * time.Minute: midnight.Add(5 * time.Minute),  // at Envoy's it is the day before
	} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{
				Args: []string{"--now", now.Format(time.RFC3339)}, EnvoyEnv: skewed(t, ahead),
				Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
			})
			for range 2 { // days
				moved := s.Keywheel.MoveClock(t, now, 1)
				waitReported(t, s, 2)
				assertDay(t, s, now)
				assertRest(t, s, moved.Earliest, moved.Latest)
				now = now.Add(24 * time.Hour)
			}
			assertSkewShown(t, s, ahead)
		})
		t.Run(ahead.String()+", by the host's clock", func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{EnvoyEnv: skewed(t, ahead), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
			same := func(host time.Time) time.Time { return host }
			waitReported(t, s, 2)
			assertRest(t, s, same, same)
			s.AssertOracle(t)
			assertSkewShown(t, s, ahead)
		})
	}
}

// waitReported waits for so many more reports. With the second one every worker goes by the clock that the answer to the
// first one brought: each looks for such news after a tenth of a second.
func waitReported(t *testing.T, s *harness.Stack, more int64) {
	t.Helper()
	reports := func() (n int64) {
		for _, p := range s.Keywheel.Proxies(t) {
			n += p.Reports
		}
		return n
	}
	before := reports()
	harness.Eventually(t, "Envoy reports again", func() error {
		if n := reports(); n < before+more {
			return fmt.Errorf("%d reports, %d before", n, before)
		}
		return nil
	})
}

// assertDay makes calls, which are charged to this day, all of them.
func assertDay(t *testing.T, s *harness.Stack, now time.Time) {
	t.Helper()
	before := s.Groq.Truth().Told()
	for range 5 {
		for version, c := range s.Clients() {
			if a := c.Do(t, harness.Call{Stream: version == "h2"}); a.Status != 200 || a.Err != nil {
				t.Fatalf("%s: %s", version, a)
			}
		}
	}
	want := s.Groq.Truth().Told() - before
	api := adminOf(t, s.Keywheel)
	harness.Eventually(t, "the day has it all", func() error {
		day, err := api.Summary(t.Context(), now.Format(time.DateOnly))
		if err != nil {
			return err
		}
		if day.Tokens != want || day.EstimatedTokens != 0 || day.Requests != 10 {
			return fmt.Errorf("%s has %d tokens, %d estimated, of %d calls; Groq told %d of 10", day.Date, day.Tokens, day.EstimatedTokens, day.Requests, want)
		}
		return nil
	})
}

// assertRest has Groq limit key 1 for an hour, and sees that it rests so long by the control plane's clock, which shows
// these times at an instant of the host's.
func assertRest(t *testing.T, s *harness.Stack, earliest, latest func(host time.Time) time.Time) {
	t.Helper()
	const rest, some = time.Hour, time.Minute // some of it is on the way, and nothing near ten minutes
	from := earliest(time.Now()).Add(rest - some)
	a := s.H1.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.RateTPD, Wait: fakegroq.Duration(rest), Only: "1"}})
	if a.Status != 200 || a.Key != "2" {
		t.Fatal(a)
	}
	s.Keywheel.WaitKey(t, "1", "rests", func(k harness.KeyState) error {
		if k.CoolingUntil == nil {
			return fmt.Errorf("it is %s", k.Status)
		}
		if by := latest(time.Now()).Add(rest + some); k.CoolingUntil.Before(from) || k.CoolingUntil.After(by) {
			t.Fatalf("it rests until %s, want from %s to %s", k.CoolingUntil, from, by)
		}
		return nil
	})
	s.Recover(t)
}

// assertSkewShown looks for the difference where people do, and that it was counted what came of it.
func assertSkewShown(t *testing.T, s *harness.Stack, ahead time.Duration) {
	t.Helper()
	const some = 30 * time.Second
	near := func(d time.Duration) bool { return (d - ahead).Abs() < some }
	proxies := s.Keywheel.Proxies(t)
	if len(proxies) != 1 || !near(time.Duration(proxies[0].SkewMS)*time.Millisecond) {
		t.Errorf("want one Envoy that is %s ahead: %+v", ahead, proxies)
	}
	page := s.Keywheel.Page(t, "/metrics")
	if n := metric(t, page, `keywheel_proxy_clock_skew_seconds\{[^}]*\}`); !near(time.Duration(n * float64(time.Second))) {
		t.Errorf("the metric says %v seconds", n)
	}
	if n := metric(t, page, `keywheel_reports_clamped_total`); n < 1 {
		t.Errorf("%v reports are counted whose time was wrong", n)
	}
	events, err := adminOf(t, s.Keywheel).Events(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range events {
		if e.Kind == "clock_skew" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
	s.Keywheel.WaitLog(t, "Envoy's clock is far from ours")
}

// metric is the value of a line of /metrics whose name matches.
func metric(t *testing.T, page, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("/metrics shows no %s", name)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
