package groq

import (
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	const date = "Wed, 21 Oct 2026 07:28:00 GMT"
	for s, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, " 35 ": 35 * time.Second, "007": 7 * time.Second, "1.5": 2 * time.Second, "2.0": 2 * time.Second,
		"0.001": time.Second, "86400": MaxWait, "86401": MaxWait, "86399.9": MaxWait, "99999999999999999999": MaxWait,
		"Wed, 21 Oct 2026 07:29:00 GMT": time.Minute, "Wed, 21 Oct 2026 07:20:00 GMT": 0, "Fri, 21 Oct 2999 07:20:00 GMT": MaxWait,
	} {
		if got, ok := ParseRetryAfter(s, date); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", " ", "-1", "+1", "1.", ".5", "1.2.3", "1e3", "35s", "soon", "NaN", "0x10", "1 2", "٣",
		"Wed, 21 Oct 2026", "Wed, 21 Oct 2026 07:29:00 CET"} {
		if got, ok := ParseRetryAfter(s, date); ok || got != 0 {
			t.Errorf("%q: %v %v", s, got, ok)
		}
	}
	if got, ok := ParseRetryAfter(date, ""); ok || got != 0 {
		t.Errorf("a date without the answer's own: %v %v", got, ok)
	}
}

func TestParseReset(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0s": 0, "1ms": time.Millisecond, "577ms": 577 * time.Millisecond, "106.666666ms": 106666666, "7.66s": 7660 * time.Millisecond,
		"10.332999999s": 10332999999, "1m0.363142857s": 60363142857, "2m59.56s": 179560 * time.Millisecond, "6m0s": 6 * time.Minute,
		"1h0m5s": time.Hour + 5*time.Second, "1h12m3s": time.Hour + 12*time.Minute + 3*time.Second, "24h0m0s": 24 * time.Hour,
		"1h23m31s": time.Hour + 23*time.Minute + 31*time.Second, "15µs": 15 * time.Microsecond, "15us": 15 * time.Microsecond, "9ns": 9,
	} {
		if got, ok := ParseReset(s); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "12", "s", "-1s", "1d", "1h ", "soon", "9999999999h", "1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m1m"} {
		if got, ok := ParseReset(s); ok || got != 0 {
			t.Errorf("%q: %v %v", s, got, ok)
		}
	}
}

func TestParseRateLimits(t *testing.T) {
	headers := map[string]string{
		"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14370", "x-ratelimit-reset-requests": "3m0s",
		"x-ratelimit-limit-tokens": " 6000 ", "x-ratelimit-remaining-tokens": "5997", "x-ratelimit-reset-tokens": "garbage",
		"x-ratelimit-limit-audio-seconds": "7200", "x-ratelimit-remaining-audio-seconds": "REDACTED", "x-ratelimit-reset-audio-seconds": "1s",
	}
	want := RateLimits{
		Requests: Limit{Limit: 14400, Remaining: 14370, Reset: 3 * time.Minute, Known: true},
		Tokens:   Limit{Limit: 6000, Remaining: 5997, Known: true},
	}
	if got := ParseRateLimits(func(name string) string { return headers[name] }); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"-1", "1.5", "9007199254740993", "1e3", "", "x"} {
		headers["x-ratelimit-limit-requests"] = bad
		if got := ParseRateLimits(func(name string) string { return headers[name] }); got.Requests != (Limit{}) {
			t.Errorf("%q: %+v", bad, got.Requests)
		}
	}
}
