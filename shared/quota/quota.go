// Package quota holds the words of the account: windows, limits, usage, percentages and statuses.
package quota

import (
	"errors"
	"strconv"
	"time"
)

// Window is one day of the account, in UTC, counted in days since 1970-01-01. A window is a name, not a reset:
// counters are kept by window, and midnight is simply another name.
type Window int32

const day = 24 * time.Hour

// WindowAt returns the window that t falls into.
func WindowAt(t time.Time) Window { return WindowAtMS(t.UnixMilli()) }

// WindowAtMS is WindowAt of Unix milliseconds.
func WindowAtMS(ms int64) Window {
	d := ms / day.Milliseconds()
	if ms%day.Milliseconds() < 0 {
		d--
	}
	return Window(d)
}

// ParseWindow reads a window's name, "2025-11-18".
func ParseWindow(s string) (Window, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, errors.New("a window is a date such as 2025-11-18")
	}
	return WindowAt(t), nil
}

// Start is the window's first instant.
func (w Window) Start() time.Time { return time.Unix(int64(w)*86400, 0).UTC() }

// End is the first instant after the window: when limits reset.
func (w Window) End() time.Time { return w.Start().Add(day) }

// String returns the window's name, "2025-11-18".
func (w Window) String() string { return w.Start().Format(time.DateOnly) }

// Permille returns used in tenths of a percent of limit, half up. It returns 0 where there is no limit.
func Permille(used, limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	q, r := used/limit, used%limit
	if r > (1<<62)/1000 { // too large to multiply: a precision of one in 2^52 is left
		return q*1000 + r/(limit/1000)
	}
	v := q*1000 + r*1000/limit
	if 2*(r*1000%limit) >= limit {
		v++
	}
	return v
}

// Percent returns used as a percentage of limit with one decimal, half up; 0 where there is no limit.
func Percent(used, limit int64) float64 { return float64(Permille(used, limit)) / 10 }

// FormatPercent is Percent as text: "8.6%".
func FormatPercent(used, limit int64) string {
	p := Permille(used, limit)
	return strconv.FormatInt(p/10, 10) + "." + strconv.FormatInt(p%10, 10) + "%"
}

// Status is what a key is good for now.
type Status string

// The statuses, in the order in which the first that applies is shown.
const (
	Disabled  Status = "disabled"
	Invalid   Status = "invalid"
	Exhausted Status = "exhausted"
	Cooling   Status = "cooling"
	Critical  Status = "critical"
	Warning   Status = "warning"
	Active    Status = "active"
	Standby   Status = "standby"
)

// Levels of use, in percent, from which a key is shown as warning and as critical.
const (
	WarningPercent  = 75
	CriticalPercent = 90
)

// State is what a key's status follows from.
type State struct {
	Disabled  bool
	Invalid   bool // or restricted: Groq will not serve it
	Cooling   bool // for every model
	InUse     bool
	Used      int64 // tokens
	Limit     int64 // tokens; 0: no limit
	Requests  int64
	LimitReqs int64 // 0: no limit
	Need      int64 // the smallest need of a request, in tokens; at least 1 is assumed
}

// Status returns the first status that applies.
func (s State) Status() Status {
	need := max(s.Need, 1)
	switch {
	case s.Disabled:
		return Disabled
	case s.Invalid:
		return Invalid
	case s.Limit > 0 && s.Limit-s.Used < need, s.LimitReqs > 0 && s.Requests >= s.LimitReqs:
		return Exhausted
	case s.Cooling:
		return Cooling
	}
	used := max(Permille(s.Used, s.Limit), Permille(s.Requests, s.LimitReqs))
	switch {
	case used >= CriticalPercent*10:
		return Critical
	case used >= WarningPercent*10:
		return Warning
	case s.InUse:
		return Active
	}
	return Standby
}

// Serves says whether a key in this status can still take requests.
func (s Status) Serves() bool {
	switch s {
	case Disabled, Invalid, Exhausted, Cooling:
		return false
	}
	return true
}

// RankLabel is what a key is called that was given no label, by its rank: 0 for the key that is preferred.
func RankLabel(rank int) string {
	switch rank {
	case 0:
		return "Primary"
	case 1:
		return "Backup"
	}
	return "Emergency"
}

// Group writes n with commas between thousands: 14,400.
func Group(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
