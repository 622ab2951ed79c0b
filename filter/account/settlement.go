package account

import (
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Settlement is how an attempt ended.
type Settlement struct {
	Class     groq.Class
	Model     string // as the answer names it, never as a caller does; empty: unknown
	Usage     groq.Usage
	Estimated int64 // tokens charged without an answer that states them; Usage is then zero
	Charged   bool  // the request counts against a daily limit of requests
	TimeMS    int64 // of a success: headers in to last byte out
}

// Tokens is what the attempt cost, stated or estimated.
func (s *Settlement) Tokens() int64 { return s.Usage.Total + s.Estimated }

// tally is what attempts of one class, answered by one model, came to together.
type tally struct {
	class     groq.Class
	model     string
	attempts  uint32
	requests  int64 // charged ones
	times     [len(protocol.TimeBuckets) + 1]uint32
	usage     groq.Usage
	estimated int64
}

// add counts one attempt more.
func (t *tally) add(s *Settlement) {
	t.attempts++
	if s.Charged {
		t.requests++
	}
	if s.Class == groq.ClassOK {
		t.times[bucket(s.TimeMS)]++
	}
	t.usage.Prompt += s.Usage.Prompt
	t.usage.Completion += s.Usage.Completion
	t.usage.Cached += s.Usage.Cached
	t.usage.Total += s.Usage.Total
	t.estimated += s.Estimated
}

// Settle counts an attempt in the window in which it completed.
func (e *Entry) Settle(w quota.Window, s Settlement) {
	t := tally{class: s.Class, model: s.Model}
	t.add(&s)
	e.count(w, &t)
}

// count counts attempts in the window in which they completed.
func (e *Entry) count(w quota.Window, t *tally) {
	off := e.roll(w)
	b := *e
	tokens := t.usage.Total + t.estimated
	addI64(b, off+slotTokens, tokens)
	addI64(b, off+slotRequests, t.requests)
	addU32(b, off+slotAttempts+4*classIndex(t.class), t.attempts)
	for i, n := range t.times {
		addU32(b, off+slotTimes+4*i, n)
	}
	if tokens == 0 {
		return
	}
	m := e.model((off-offSlots)/slotSize, t.model)
	for i, n := range [...]int64{t.usage.Prompt, t.usage.Completion, t.usage.Cached, tokens, t.estimated} {
		addI64(*e, m+8*i, n)
	}
}

func bucket(ms int64) int {
	for i, b := range protocol.TimeBuckets {
		if ms <= b {
			return i
		}
	}
	return len(protocol.TimeBuckets)
}

// classes gives each failure class its place in an entry. New ones are added at the end; there is room for 16.
var classes = [...]groq.Class{
	groq.ClassOK, groq.ClassLimited, groq.ClassTooLarge, groq.ClassInvalid, groq.ClassRestricted, groq.ClassPermission, groq.ClassEdge, groq.ClassCaller,
	groq.ClassCapacity, groq.ClassTransient, groq.ClassReset, groq.ClassConnect,
}

func classIndex(c groq.Class) int {
	for i, k := range classes {
		if k == c {
			return i
		}
	}
	return len(classes) // counted, but as no class that is reported
}
