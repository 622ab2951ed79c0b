package admin

import (
	"math"
	"time"
)

// percent is a share as the API writes it: 0…100, one decimal.
func percent(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return math.Round(min(max(v, 0), 100)*10) / 10
}

// utc is a time as the API writes it: in UTC, to the millisecond.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// instant is utc of a time that there may not be: nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = utc(t)
	return &t
}

// limit is a limit as the API writes it: nil if there is none.
func limit(n int64) *int64 {
	if n <= 0 {
		return nil
	}
	return &n
}

// remaining is what is left of a limit: nil if there is none, never negative.
func remaining(left, limit int64) *int64 {
	if limit <= 0 {
		return nil
	}
	left = max(left, 0)
	return &left
}

// text is a text as the API writes it: nil if it is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
