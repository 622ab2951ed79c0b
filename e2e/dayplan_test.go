package e2e

import (
	"testing"
	"time"
)

// What each key of the day may spend, and what a call is said to need.
const (
	dayLimit = 14_400
	dayNeed  = 100
)

// dayCall is one call of the day.
type dayCall struct {
	number int
	at     time.Time
	key    string // that must serve it
	tokens int64  // that its answer takes
}

// dayStretch is a part of the day: calls on one key, spread evenly over the quarters of an hour from one time to
// another, or all at one time.
type dayStretch struct {
	from, to string // "15:04"
	key      string
	number   int   // of the last call
	used     int64 // of the key, with that call
}

// dayStretches are the day. The last calls of key 1 are so that it has what a call needs until it has nothing.
var dayStretches = []dayStretch{
	{"08:00", "08:15", "1", 12, 1_234},
	{"08:15", "08:30", "1", 34, 3_456},
	{"08:30", "08:45", "1", 56, 5_678},
	{"08:45", "09:00", "1", 78, 7_890},
	{"09:00", "10:00", "1", 106, 10_691},
	{"10:00", "10:00", "1", 107, 10_800},
	{"10:15", "11:30", "1", 128, 12_853},
	{"11:30", "11:30", "1", 129, 12_960},
	{"11:45", "12:15", "1", 143, 14_281},
	{"12:15", "12:15", "1", 144, 14_400},
	{"12:15", "12:15", "2", 145, 123},
	{"12:15", "14:00", "2", 400, 8_500},
	{"14:00", "18:00", "2", 450, 10_234},
}

// dayTime is a time of the day's date.
func dayTime(clock string) time.Time {
	at, err := time.Parse(time.DateOnly+" 15:04", "2025-11-18 "+clock)
	if err != nil {
		panic(err)
	}
	return at
}

// dayCalls are all calls of the day, in order.
func dayCalls() []dayCall {
	var calls []dayCall
	used := map[string]int64{}
	for _, s := range dayStretches {
		n, before := s.number-len(calls), used[s.key]
		quarters := int(dayTime(s.to).Sub(dayTime(s.from)) / (15 * time.Minute))
		for i := range n {
			upTo := before + unevenly(i+1, n, s.used-before)
			calls = append(calls, dayCall{
				number: len(calls) + 1, at: dayTime(s.from).Add(time.Duration(i*quarters/n) * 15 * time.Minute),
				key: s.key, tokens: upTo - used[s.key],
			})
			used[s.key] = upTo
		}
	}
	return calls
}

// unevenly is the part of a sum that the first i of n calls take: each about as much, and at the end all of it.
func unevenly(i, n int, sum int64) int64 {
	upTo := sum * int64(i) / int64(n)
	if average := sum / int64(n); i < n && average > 1 {
		upTo += int64(i) * 37 % (average / 2)
	}
	return upTo
}

// dayUse sums the tokens, and counts the calls, of a key.
func dayUse(calls []dayCall, key string) (tokens int64, n int) {
	for _, c := range calls {
		if c.key == key {
			tokens += c.tokens
			n++
		}
	}
	return tokens, n
}

// until are the calls before a time; with those at it, if it is included.
func until(calls []dayCall, clock string, included bool) []dayCall {
	at := dayTime(clock)
	for i, c := range calls {
		if c.at.After(at) || !included && c.at.Equal(at) {
			return calls[:i]
		}
	}
	return calls
}

// percentOf is used of the day's limit in percent, with one decimal, half up.
func percentOf(used, limit int64) float64 {
	return float64((2000*used+limit)/(2*limit)) / 10
}

// The calls give every figure of the story.
func TestDayHitsEveryFigure(t *testing.T) {
	calls := dayCalls()
	for _, f := range []struct {
		clock    string
		included bool // the figure comes about at that time, not before it
		key      string
		used     int64
		percent  float64
		calls    int // 0: the story does not say
	}{
		{"08:15", false, "1", 1234, 8.6, 0},
		{"08:30", false, "1", 3456, 24.0, 0},
		{"08:45", false, "1", 5678, 39.4, 0},
		{"09:00", false, "1", 7890, 54.8, 0},
		{"10:00", true, "1", 10800, 75.0, 0},
		{"11:30", true, "1", 12960, 90.0, 0},
		{"12:15", true, "1", 14400, 100.0, 144},
		{"14:00", false, "2", 8500, 59.0, 256},
		{"18:00", false, "1", 14400, 100.0, 144},
		{"18:00", false, "2", 10234, 71.1, 306},
		{"18:00", false, "3", 0, 0.0, 0},
	} {
		used, n := dayUse(until(calls, f.clock, f.included), f.key)
		if used != f.used || percentOf(used, dayLimit) != f.percent || f.calls != 0 && n != f.calls {
			t.Errorf("%s: key %s has used %d tokens (%.1f%%) in %d calls; want %+v", f.clock, f.key, used, percentOf(used, dayLimit), n, f)
		}
	}
	if len(calls) != 450 || len(until(calls, "14:00", false)) != 400 {
		t.Errorf("%d calls, of which %d before 14:00; want 450 and 400", len(calls), len(until(calls, "14:00", false)))
	}
	if c := calls[144]; c.number != 145 || c.key != "2" || c.tokens != 123 || !c.at.Equal(dayTime("12:15")) {
		t.Errorf("call #145 is %+v", c)
	}
}

// Each call finds what it needs on its key until that has nothing left, and every quarter of an hour has calls.
func TestDayCanBePlayed(t *testing.T) {
	used, busy := map[string]int64{}, map[string]bool{}
	for i, c := range dayCalls() {
		if dayLimit-used[c.key] < dayNeed {
			t.Errorf("call #%d finds %d tokens on key %s", c.number, dayLimit-used[c.key], c.key)
		}
		if c.tokens < 3 || c.number != i+1 {
			t.Errorf("call %d is %+v", i+1, c)
		}
		used[c.key] += c.tokens
		busy[c.at.Format("15:04")] = true
	}
	if used["1"]+used["2"] != 24634 {
		t.Errorf("the day takes %d tokens", used["1"]+used["2"])
	}
	if len(busy) != 40 {
		t.Errorf("%d of the 40 quarters of an hour have calls", len(busy))
	}
}
