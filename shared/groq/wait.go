package groq

import (
	"strings"
	"time"
)

// Bounds of the wait after a reached rate limit. A wait that Groq names is cut to them, so that neither a zero nor a
// mistake in an answer can hammer a limit or take a key out for good.
const (
	MinWait     = time.Second
	MaxWait     = 24 * time.Hour
	DefaultWait = 10 * time.Second // where a 429 names none
)

// limitedWait returns how long to wait after a 429, and whether Groq named it: in the message, which is exact, else
// in retry-after, which is rounded up to seconds.
func limitedWait(h ResponseHeaders, message string) (time.Duration, bool) {
	wait, ok := messageWait(message)
	if !ok {
		wait, ok = ParseRetryAfter(h.RetryAfter, h.Date)
	}
	if !ok {
		return DefaultWait, false
	}
	return min(max(wait, MinWait), MaxWait), true
}

// messageWait finds the wait in a message: "… Please try again in 9m38.016s. …". The last place counts.
func messageWait(message string) (time.Duration, bool) {
	at := strings.LastIndex(message, messageTryAgain)
	if at < 0 {
		return 0, false
	}
	word, _, _ := strings.Cut(message[at+len(messageTryAgain):], " ")
	return ParseReset(strings.TrimRight(word, ".,;"))
}

// ParseReset reads a duration as Groq writes it: Go's form, such as "2m59.56s" or "577ms". It returns false for
// anything else and for negative ones.
func ParseReset(s string) (time.Duration, bool) {
	const longest = 64 // no duration in Go's form is longer
	if s == "" || len(s) > longest {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, false
	}
	return d, true
}

// ParseRetryAfter reads a retry-after header: seconds, a fraction rounded up, or an HTTP date, which is taken relative
// to the same answer's date header. The result is 0 to MaxWait. It returns false for anything else.
func ParseRetryAfter(s, date string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, false
	}
	if s[0] > '9' {
		return dateWait(s, date)
	}
	const most = int64(MaxWait / time.Second)
	seconds, fraction := int64(0), false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.' && !fraction && i > 0 && i+1 < len(s):
			fraction = true
			if strings.Trim(s[i+1:], "0") != "" {
				seconds++
			}
		case c < '0' || c > '9':
			return 0, false
		case !fraction:
			seconds = min(seconds*10+int64(c-'0'), most)
		}
	}
	return time.Duration(min(seconds, most)) * time.Second, true
}

// dateWait returns the time from date to until, both as HTTP writes dates.
func dateWait(until, date string) (time.Duration, bool) {
	const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
	end, err := time.Parse(httpDate, until)
	if err != nil {
		return 0, false
	}
	now, err := time.Parse(httpDate, strings.TrimSpace(date))
	if err != nil {
		return 0, false
	}
	return min(max(end.Sub(now), 0), MaxWait), true
}
