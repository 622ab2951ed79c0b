package picker

import (
	"strconv"
	"time"

	"keywheel/shared/selection"
)

// Refusal says why no key can serve, and when one can again.
type Refusal struct {
	Busy    bool  // only reservations or an outstanding allowance stand in the way
	More    bool  // a later answer to a report may allow more
	UntilMS int64 // the earliest time at which a key comes back, Unix milliseconds
	Keys    []Out
}

// Out is one key that cannot serve.
type Out struct {
	ID      string
	Reason  selection.Reason
	UntilMS int64
}

func refusal(states []state, at Instant) *Refusal {
	r := &Refusal{UntilMS: at.NowMS + disabledMS}
	for i, s := range states {
		r.Busy = r.Busy || s.reason == selection.Busy
		r.More = r.More || s.reason == selection.Busy && s.room.More
		r.Keys = append(r.Keys, Out{ID: s.key.ID, Reason: s.reason, UntilMS: s.until})
		if i == 0 || s.until < r.UntilMS {
			r.UntilMS = s.until
		}
	}
	if r.Busy {
		r.UntilMS = at.NowMS + busyMS
	}
	return r
}

// RetryAfter is the whole seconds until a key comes back, at least 1.
func (r *Refusal) RetryAfter(nowMS int64) int64 { return max(1, (r.UntilMS-nowMS+999)/1000) }

// mostNamed is how many keys a refusal names one by one.
const mostNamed = 10

// Message is what the client is told. It names key IDs, never a secret.
func (r *Refusal) Message(nowMS int64) string {
	again := ". Try again in " + wait(r.RetryAfter(nowMS)) + "."
	if r.Busy {
		return "All free tokens of the Groq keys are held by requests in flight" + again
	}
	n := len(r.Keys)
	if n == 0 {
		return "No Groq key is configured" + again
	}
	s := "All " + strconv.Itoa(n) + " Groq keys are out: "
	if n == 1 {
		s = "The only Groq key is out: "
	}
	for i, k := range r.Keys {
		if i == mostNamed {
			s += " and " + strconv.Itoa(n-i) + " more"
			break
		}
		if i > 0 {
			s += ", "
		}
		s += "key " + k.ID + " " + string(k.Reason)
		if k.Reason != selection.Disabled {
			s += " until " + time.UnixMilli((k.UntilMS+999)/1000*1000).UTC().Format(time.RFC3339)
		}
	}
	return s + again
}

// wait writes seconds as 9h59m, 4m12s or 7s.
func wait(s int64) string {
	h, m := s/3600, s/60%60
	switch {
	case h > 0:
		return strconv.FormatInt(h, 10) + "h" + strconv.FormatInt(m, 10) + "m"
	case m > 0:
		return strconv.FormatInt(m, 10) + "m" + strconv.FormatInt(s%60, 10) + "s"
	}
	return strconv.FormatInt(s, 10) + "s"
}
