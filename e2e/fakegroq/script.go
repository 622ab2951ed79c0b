package fakegroq

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AnyKey is the secret under which Script keeps rules for all keys, known or not.
const AnyKey = "*"

// Rule says how a request is answered. The zero value is a completion as always.
type Rule struct {
	// Which requests it is for.
	Count int    `json:"count,omitempty"` // how many; 0: all until cleared. A rule from a header knows no count
	Only  string `json:"only,omitempty"`  // only for the key of this name
	Model string `json:"model,omitempty"` // only for this model
	Path  string `json:"path,omitempty"`  // only for paths that end in this

	// How it fails.
	Fault      Fault    `json:"fault,omitempty"`
	Wait       Duration `json:"wait,omitempty"`        // how long a limit lasts; 0: as is usual for it
	RetryAfter string   `json:"retry_after,omitempty"` // retry-after as it is; "none": no such header
	Early      bool     `json:"early,omitempty"`       // answer before the body is read
	WholeConn  bool     `json:"whole_conn,omitempty"`  // HTTP/2: a reset breaks the connection, not just the stream
	At         Point    `json:"at,omitempty"`          // where ResetMid, CloseMid and BadFraming break; empty: BeforeUsage
	Echo       string   `json:"echo,omitempty"`        // header of the answer that repeats the request's Authorization

	// What a completion is like.
	Prompt       int64      `json:"prompt,omitempty"`        // tokens; with Completion 0 too: as TokensFor says
	Completion   int64      `json:"completion,omitempty"`    // tokens
	Cached       int64      `json:"cached,omitempty"`        // tokens, inside the prompt's
	Usage        UsagePlace `json:"usage,omitempty"`         // where the usage stands
	Chunks       int        `json:"chunks,omitempty"`        // content chunks of a stream; 0: 3
	ContentBytes int64      `json:"content_bytes,omitempty"` // of the content; in a stream it is one line
	ContentType  string     `json:"content_type,omitempty"`  // that it is called by; "none": no such header

	// How it is sent.
	Hold    Point    `json:"hold,omitempty"`    // wait there until released
	Silence Duration `json:"silence,omitempty"` // say nothing for so long, before the usage
	Piece   int      `json:"piece,omitempty"`   // write so many bytes at a time, each flushed
	Drip    Duration `json:"drip,omitempty"`    // pause between two pieces
	Hints   bool     `json:"hints,omitempty"`   // a 103 goes before it
	Trailer string   `json:"trailer,omitempty"` // value of x-fake-trailer, which comes after the body
}

// UsagePlace says where a completion's usage stands.
type UsagePlace string

// The places of usage. Without one of them, a stream has it in x_groq, and with include_usage in all three places.
const (
	UsageBoth UsagePlace = "both" // stream: in x_groq and at top level of the last chunk
	UsageNone UsagePlace = "none" // nowhere
)

// Point is a place in an answer.
type Point string

// The points of an answer, in order. In one that is not streamed, first content and usage are parts of one body.
const (
	BeforeHeaders Point = "headers"
	AfterHeaders  Point = "head"        // the headers are out, no byte of the body is
	AfterFirst    Point = "first"       // after the first content
	BeforeUsage   Point = "usage"       // all content is out
	AfterUsage    Point = "after-usage" // the usage is out, [DONE] is not
	AfterDone     Point = "done"        // all is out, the answer is not ended
)

// Duration is a time.Duration that is written as text: "20s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// String is the rule as JSON: a value for ScriptHeader.
func (r Rule) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		return "{}" // not reached: every field can be written
	}
	return string(text)
}

// ParseRule reads a rule, either as JSON or as "fault=429-tpd,wait=10m,only=1". An empty text is the zero rule.
func ParseRule(text string) (Rule, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Rule{}, nil
	}
	if !strings.HasPrefix(text, "{") {
		fields, err := parsePairs(text)
		if err != nil {
			return Rule{}, err
		}
		text = fields
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var r Rule
	if err := dec.Decode(&r); err != nil {
		return Rule{}, fmt.Errorf("script: %w", err)
	}
	return r, r.check()
}

// parsePairs turns "a=1,b=x" into JSON. Which values are texts is known from the field, not from the value:
// "fault=500" and "only=1" are texts too.
func parsePairs(text string) (string, error) {
	var out bytes.Buffer
	for i, pair := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return "", fmt.Errorf("script: %q is not name=value", pair)
		}
		out.WriteByte("{,"[min(i, 1)])
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		out.WriteString(strconv.Quote(name) + ":")
		switch name {
		case "count", "prompt", "completion", "cached", "chunks", "content_bytes", "piece", "early", "whole_conn", "hints":
			out.WriteString(value)
		default:
			out.WriteString(strconv.Quote(value))
		}
	}
	out.WriteByte('}')
	return out.String(), nil
}

// check refuses what would otherwise silently do nothing.
func (r Rule) check() error {
	if r.Fault != "" && !r.Fault.known() {
		return fmt.Errorf("script: there is no fault %q", r.Fault)
	}
	for _, p := range [...]Point{r.Hold, r.At} {
		switch p {
		case "", BeforeHeaders, AfterHeaders, AfterFirst, BeforeUsage, AfterUsage, AfterDone:
		default:
			return fmt.Errorf("script: an answer has no point %q", p)
		}
	}
	if r.At != "" && (!r.Fault.breaksOff() || r.At == BeforeHeaders) {
		return fmt.Errorf("script: fault %q does not break off at %q", r.Fault, r.At)
	}
	switch r.Usage {
	case "", UsageBoth, UsageNone:
	default:
		return fmt.Errorf("script: usage is %q or %q, not %q", UsageBoth, UsageNone, r.Usage)
	}
	return nil
}

// early says whether the rule decides before the body is read.
func (r Rule) early() bool { return r.Early || r.Fault == ResetBeforeBody }

// Script adds rules for a key, or for AnyKey. The first that fits a request holds for it, in the order of adding,
// a key's own before AnyKey's. A rule that names a fault or point that does not exist is an error.
func (s *Server) Script(secret string, rules ...Rule) error {
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules[secret] = append(s.rules[secret], &r)
	}
	return nil
}

// ClearScript takes away all rules of a key, or of AnyKey.
func (s *Server) ClearScript(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rules, secret)
}

// Release lets a held answer go on. It does nothing for an id that is not held.
func (s *Server) Release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.held[id]; ch != nil {
		close(ch)
		delete(s.held, id)
	}
}

// takeRule picks the rule for a request, and counts it. early asks before the body was read: only rules that decide
// so early are taken then, and only such as need no model.
func (s *Server) takeRule(req Request, early bool) Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range [...]string{req.Secret, AnyKey} {
		for i, r := range s.rules[secret] {
			if !r.fits(req, early) {
				continue
			}
			if r.early() != early {
				return Rule{}
			}
			taken := *r
			if r.Count > 0 {
				if r.Count--; r.Count == 0 {
					s.rules[secret] = append(s.rules[secret][:i:i], s.rules[secret][i+1:]...)
				}
			}
			return taken
		}
	}
	return Rule{}
}

func (r Rule) fits(req Request, early bool) bool {
	path, _, _ := strings.Cut(req.Path, "?")
	return (r.Only == "" || r.Only == req.Key) &&
		(r.Model == "" || !early && r.Model == req.Model) &&
		strings.HasSuffix(path, r.Path)
}
