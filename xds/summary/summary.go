// Package summary says what a day came to: the figures that the ledger kept of a window, and the words in which people
// read them.
package summary

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"keywheel/shared/quota"
)

// Summary is one window, over or not.
type Summary struct {
	Window       string // "2025-11-18"
	Requests     int64  // client calls that ended
	Succeeded    int64
	CallerFaults int64 // neither successes nor failures of ours
	Refused      int64 // because no key was left
	Failed       int64 // 5xx and 429 that reached the client
	Cut          int64
	TimeMS       int64 // headers in to last byte out, summed over Succeeded
	Tokens       int64
	Estimated    int64 // the part of Tokens that no answer stated

	Rotations int64
	Rescues   int64
	Limited   int64 // Groq's 429s
	Absorbed  int64 // of them, those that no client saw
	Alerts    []Count
	Down      time.Duration // requests came and no key could serve them
	Forecasts Forecasts

	Keys   []Key   // by rank
	Models []Model // by tokens, the most first

	RotationLog []Rotation // at most the newest hundred, as the next two
	RescueLog   []Moment
	DownLog     []Span
}

// Count is how often something happened.
type Count struct {
	What string // "Warning"
	N    int64
}

// Forecasts are how the day's forecasts came out.
type Forecasts struct {
	Hits    int           // what was to run out did
	Misses  int           // it did not, by the end of the day
	MeanOff time.Duration // between the forecast time and the true one, on the average of the hits
}

// Key is what one key did.
type Key struct {
	ID, Label string
	Requests  int64
	Tokens    int64
	Limit     int64 // tokens a day; 0: none
	Models    []Model
}

// Model is what one model took.
type Model struct {
	Name                              string
	Prompt, Completion, Cached, Total int64
}

// Rotation is that a key left because it could not serve, and another took over.
type Rotation struct {
	At       time.Time
	From, To string // key IDs
	Reason   string
}

// Moment is that something happened N times in the minute that At begins.
type Moment struct {
	At time.Time
	N  int64
}

// Span is a time during which no key could serve.
type Span struct{ From, To time.Time }

// SuccessRate is the successes out of all that were not the caller's fault, 0…100 with one decimal, rounded down: it is
// 100 only if none failed. ok is false without any.
func (s *Summary) SuccessRate() (percent float64, ok bool) {
	n := s.Requests - s.CallerFaults
	if n <= 0 {
		return 0, false
	}
	return float64(s.Succeeded*1000/n) / 10, true
}

// AvgResponse is the mean response time of successes; ok is false without any.
func (s *Summary) AvgResponse() (mean time.Duration, ok bool) {
	if s.Succeeded <= 0 {
		return 0, false
	}
	return time.Duration(s.TimeMS) * time.Millisecond / time.Duration(s.Succeeded), true
}

// AlertCount is all alerts together.
func (s *Summary) AlertCount() int64 {
	var n int64
	for _, c := range s.Alerts {
		n += c.N
	}
	return n
}

// figure is a line of the summary.
type figure struct{ name, value string }

// figures are those that the user's story has, in its order.
func (s *Summary) figures() []figure {
	rate, average := "no requests", "none"
	if r, ok := s.SuccessRate(); ok {
		rate = strings.TrimSuffix(strconv.FormatFloat(r, 'f', 1, 64), ".0") + "%"
	}
	if a, ok := s.AvgResponse(); ok {
		average = seconds(a)
	}
	return []figure{
		{"Total Requests", quota.Group(s.Requests)}, {"Total Tokens", quota.Group(s.Tokens)},
		{"Success Rate", rate}, {"Avg Response Time", average},
		{"Keys Rotated", s.rotated()}, {"Alerts Sent", s.alerts()}, {"Downtime", s.Down.Round(time.Second).String()},
	}
}

// seconds is 1.2s; below a second it is 850ms.
func seconds(d time.Duration) string {
	if ms := d.Round(time.Millisecond).Milliseconds(); ms < 1000 {
		return strconv.FormatInt(ms, 10) + "ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
}

// fewNamed is how many things of a kind a line names.
const fewNamed = 5

func (s *Summary) rotated() string {
	text := quota.Group(s.Rotations) + " times"
	if s.Rotations == 1 {
		text = "1 time"
	}
	var named []string
	for _, r := range s.RotationLog {
		if len(named) == fewNamed {
			named = append(named, "…")
			break
		}
		named = append(named, "Key "+r.From+" → Key "+r.To)
	}
	return text + inBrackets(named, ", ")
}

func (s *Summary) alerts() string {
	var named []string
	for _, c := range s.Alerts {
		name := c.What
		if c.N > 1 {
			name = quota.Group(c.N) + " " + name
		}
		named = append(named, name)
	}
	return quota.Group(s.AlertCount()) + inBrackets(named, " + ")
}

func inBrackets(words []string, between string) string {
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, between) + ")"
}

// Title is the summary's heading.
func (s *Summary) Title() string { return "📊 Daily Summary (" + s.Window + ")" }

// Line is the story's figures in one line, for the log.
func (s *Summary) Line() string {
	var parts []string
	for _, f := range s.figures() {
		parts = append(parts, f.name+" "+f.value)
	}
	return s.Title() + ": " + strings.Join(parts, " · ")
}

// Text is the whole summary: the story's figures, each key and model, and what happened when.
func (s *Summary) Text() string {
	var b strings.Builder
	b.WriteString(s.Title() + "\n\n")
	for _, f := range s.figures() {
		fmt.Fprintf(&b, "%s: %s\n", f.name, f.value)
	}
	fmt.Fprintf(&b, "\nRescues: %s\n429s absorbed: %s of %s\n", quota.Group(s.Rescues), quota.Group(s.Absorbed), quota.Group(s.Limited))
	fmt.Fprintf(&b, "Forecasts: %s\n", s.Forecasts)
	if s.Estimated > 0 {
		fmt.Fprintf(&b, "Estimated: %s of the tokens\n", quota.Group(s.Estimated))
	}
	s.writeKeys(&b)
	s.writeLogs(&b)
	return strings.TrimRight(b.String(), "\n")
}

// String is "1 hit, 0 misses (12m off on average)".
func (f Forecasts) String() string {
	text := plural(int64(f.Hits), "hit", "hits") + ", " + plural(int64(f.Misses), "miss", "misses")
	if f.Hits > 0 {
		text += " (" + strconv.FormatInt(int64(f.MeanOff.Round(time.Minute)/time.Minute), 10) + "m off on average)"
	}
	return text
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return quota.Group(n) + " " + many
}

func (s *Summary) writeKeys(b *strings.Builder) {
	b.WriteString("\n")
	for _, k := range s.Keys {
		fmt.Fprintf(b, "Key %s (%s): %s, %s", k.ID, k.Label, plural(k.Requests, "request", "requests"), plural(k.Tokens, "token", "tokens"))
		if k.Limit > 0 {
			fmt.Fprintf(b, " of %s (%s)", quota.Group(k.Limit), quota.FormatPercent(k.Tokens, k.Limit))
		}
		b.WriteString("\n")
	}
	if len(s.Models) > 0 {
		b.WriteString("\n")
	}
	for _, m := range s.Models {
		fmt.Fprintf(b, "%s: %s (%s in, %s out)\n", m.Name, plural(m.Total, "token", "tokens"), quota.Group(m.Prompt), quota.Group(m.Completion))
	}
}

func (s *Summary) writeLogs(b *strings.Builder) {
	if len(s.RotationLog)+len(s.RescueLog)+len(s.DownLog) > 0 {
		b.WriteString("\n")
	}
	for _, r := range s.RotationLog {
		fmt.Fprintf(b, "%s Key %s → Key %s (%s)\n", clock(r.At), r.From, r.To, r.Reason)
	}
	for _, m := range s.RescueLog {
		fmt.Fprintf(b, "%s %s\n", clock(m.At), plural(m.N, "call rescued", "calls rescued"))
	}
	for _, d := range s.DownLog {
		fmt.Fprintf(b, "%s no key could serve, for %s\n", clock(d.From), d.To.Sub(d.From).Round(time.Second))
	}
}

func clock(t time.Time) string { return t.UTC().Format("15:04") }
