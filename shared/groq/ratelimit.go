package groq

import (
	"strconv"
	"strings"
	"time"
)

// Limit is one bucket of Groq's as the headers of an answer show it. Buckets refill all the time: Reset is when this
// one would be full again, not how long a request has to wait.
type Limit struct {
	Limit     int64 // its size
	Remaining int64 // what is left
	Reset     time.Duration
	Known     bool // both Limit and Remaining were stated
}

// RateLimits are the buckets that headers show: requests per day, tokens per minute and, of audio, seconds per hour.
// Tokens per day and requests per minute are in no header. A 401 and a 404 show none.
type RateLimits struct {
	Requests     Limit
	Tokens       Limit
	AudioSeconds Limit
}

// RateLimitPrefix is what the names of all rate-limit headers begin with.
const RateLimitPrefix = "x-ratelimit-"

// ParseRateLimits reads the rate-limit headers of an answer. get returns a header's value by its lower-case name, or
// "". What is missing, negative or no number is left unknown.
func ParseRateLimits(get func(name string) string) RateLimits {
	return RateLimits{
		Requests:     parseLimit(get, "requests"),
		Tokens:       parseLimit(get, "tokens"),
		AudioSeconds: parseLimit(get, "audio-seconds"),
	}
}

func parseLimit(get func(name string) string, bucket string) Limit {
	limit, hasLimit := parseAmount(get(RateLimitPrefix + "limit-" + bucket))
	remaining, hasRemaining := parseAmount(get(RateLimitPrefix + "remaining-" + bucket))
	reset, _ := ParseReset(strings.TrimSpace(get(RateLimitPrefix + "reset-" + bucket)))
	if !hasLimit || !hasRemaining {
		return Limit{}
	}
	return Limit{Limit: limit, Remaining: remaining, Reset: reset, Known: true}
}

// parseAmount reads a count from 0 to maxCount.
func parseAmount(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil && n >= 0 && n <= maxCount
}
