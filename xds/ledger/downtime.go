package ledger

import (
	"slices"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Downtime is time in which requests came and no key could serve them. A refused request says so of its own instant; two
// of them say so of the time between, if that is short enough that requests can be said to have come all along. Spans of
// several Envoys are joined, so that no second counts twice.
const (
	// apart is how far apart two refused requests are one span.
	apart = time.Minute
	// leastDown is what a single refused request counts for.
	leastDown = time.Second
	// maxSpans bounds the spans that are kept of a window. Of older ones only the length is.
	maxSpans = 200
)

// span is a time from one instant to another, in Unix milliseconds of the ledger's time.
type span [2]int64

// downSpan returns the time that a report's refusals add to the downtime. before is the gate as the last report left it.
func downSpan(before *gateRecord, u *protocol.GateUsage, nowMS int64) (span, bool) {
	refusals := u.Refused - before.Refused
	if refusals <= 0 || u.LastRefusalMS <= 0 {
		return span{}, false
	}
	last := nowMS - u.LastRefusalMS
	first, gaps := last, refusals-1
	if u.FirstRefusalMS > 0 { // no call was served after the refusals
		first = nowMS - u.FirstRefusalMS
	}
	// The report before may have told of the beginning; it was under way a little shorter, or longer, than this one.
	if known := before.LastRefusalAtMS; known > 0 && first <= known+leastDown.Milliseconds() {
		first, gaps = known, refusals
	}
	if least := (last - first + apart.Milliseconds() - 1) / apart.Milliseconds(); gaps < least {
		first = last // too few for so long a time
	}
	return span{first, max(last, first+leastDown.Milliseconds())}, true
}

// within returns the part of a span that lies in a window; at least leastDown of it.
func (s span) within(w quota.Window) span {
	begin, end, least := w.Start().UnixMilli(), w.End().UnixMilli(), leastDown.Milliseconds()
	s[0] = min(max(s[0], begin), end-least)
	s[1] = min(max(s[1], s[0]+least), end)
	return s
}

// addDown adds a span to the downtime.
func (d *day) addDown(s span) {
	d.Down = join(d.Down, s.within(d.window))
	if extra := len(d.Down) - maxSpans; extra > 0 {
		d.DownMS += length(d.Down[:extra])
		d.Down = d.Down[extra:]
	}
}

// downtime is the length of all spans together.
func (d *day) downtime() time.Duration {
	return time.Duration(d.DownMS+length(d.Down)) * time.Millisecond
}

// join adds a span to spans, which are in order and do not touch each other.
func join(spans []span, s span) []span {
	out := make([]span, 0, len(spans)+1)
	for _, o := range spans {
		if o[1] < s[0] || o[0] > s[1] {
			out = append(out, o)
			continue
		}
		s = span{min(o[0], s[0]), max(o[1], s[1])}
	}
	i := len(out)
	for i > 0 && out[i-1][0] > s[0] {
		i--
	}
	return slices.Insert(out, i, s)
}

// length is that of spans together, in milliseconds.
func length(spans []span) int64 {
	var ms int64
	for _, s := range spans {
		ms += s[1] - s[0]
	}
	return ms
}
