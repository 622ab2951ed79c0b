package picker

import (
	"strconv"
	"time"

	"keywheel/filter/trail"
	"keywheel/shared/selection"
)

// Refusal says why no key can serve, and when one can again.
type Refusal struct {
	Fault   Fault // other than NoFault: no wait will help, and what follows but Only, Model and Keys is empty
	Busy    bool  // only reservations or an outstanding allowance stand in the way
	More    bool  // a later answer to a report may allow more
	UntilMS int64 // the earliest time at which a key comes back, Unix milliseconds

	Only  string // the ID of the key that was wanted; empty: any would do
	Model string // that was asked for, where keys are kept for other models; empty: none is
	Blind bool   // as the request's
	Keys  []Out  // that may serve the request; with UnknownKey all there are
}

// Fault is what is wrong with a request that no key will ever serve.
type Fault int

// The faults.
const (
	NoFault         Fault = iota
	UnknownKey            // it wants a key that does not exist
	ModelNotAllowed       // every key is kept for other models
)

// Out is one key that cannot serve.
type Out struct {
	ID      string
	Reason  selection.Reason
	UntilMS int64
}

func (p *Picker) unknownKey(r Request) *Refusal {
	refusal := &Refusal{Fault: UnknownKey, Only: r.Only}
	for _, k := range p.a.Keys {
		refusal.Keys = append(refusal.Keys, Out{ID: k.ID})
	}
	return refusal
}

// refusal is made of the states of those keys, of all that may be asked, that are not kept for other models.
func refusal(request Request, states []state, all int, at Instant) *Refusal {
	r := &Refusal{UntilMS: at.NowMS + disabledMS, Only: request.Only, Blind: request.Blind}
	if len(states) < all {
		r.Model = request.Model
	}
	if len(states) == 0 && all > 0 {
		r.Fault, r.UntilMS = ModelNotAllowed, 0
		return r
	}
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
	switch r.Fault {
	case UnknownKey:
		return r.unknown(nowMS)
	case ModelNotAllowed:
		return r.notAllowed()
	}
	again := ". Try again in " + wait(r.RetryAfter(nowMS)) + "."
	if r.Busy {
		return "All free tokens of " + r.keys() + " are held by requests in flight" + again
	}
	if len(r.Keys) == 0 {
		return "No Groq key is configured" + again
	}
	return r.subject() + " out: " + r.list(nowMS) + again
}

// keys are those whose tokens the request could have had.
func (r *Refusal) keys() string {
	if r.Only != "" {
		return "Groq key " + r.Only
	}
	return "the Groq keys" + r.forModel()
}

// subject says which keys are out.
func (r *Refusal) subject() string {
	n := len(r.Keys)
	switch {
	case r.Only != "":
		return "The Groq key that was asked for is"
	case n == 1:
		return "The only Groq key" + r.forModel() + " is"
	}
	return "All " + strconv.Itoa(n) + " Groq keys" + r.forModel() + " are"
}

func (r *Refusal) forModel() string {
	if r.Model == "" {
		return ""
	}
	return " for " + modelText(r.Model)
}

// modelText names a model. What clients call it is at most 128 printable characters.
func modelText(model string) string {
	if model == trail.UnknownModel {
		return "a model that cannot be seen here"
	}
	return "model " + model
}

func (r *Refusal) unknown(nowMS int64) string {
	text := "There is no Groq key " + shortened(r.Only)
	if len(r.Keys) > 0 {
		text += "; there is " + r.list(nowMS)
	}
	return text + "."
}

func (r *Refusal) notAllowed() string {
	text := "No Groq key may serve " + modelText(r.Model) + "."
	if r.Only != "" {
		text = "Groq key " + r.Only + " may not serve " + modelText(r.Model) + "."
	}
	switch {
	case r.Blind:
		text += " Bodies are not looked into here, so keys that are kept for certain models take nothing."
	case r.Model == trail.UnknownModel:
		text += " It is named too late in a large body, or in one that is not JSON; keys that are kept for certain models do not take it."
	}
	return text
}

// list names keys one by one, with what keeps each from serving.
func (r *Refusal) list(nowMS int64) string {
	s := ""
	for i, k := range r.Keys {
		if i == mostNamed {
			s += " and " + strconv.Itoa(len(r.Keys)-i) + " more"
			break
		}
		if i > 0 {
			s += ", "
		}
		s += "key " + k.ID
		if k.Reason != "" {
			s += " " + string(k.Reason)
		}
		if k.UntilMS > nowMS && k.Reason != selection.Disabled {
			s += " until " + time.UnixMilli((k.UntilMS+999)/1000*1000).UTC().Format(time.RFC3339)
		}
	}
	return s
}

// longestID is how much of an ID that does not exist is said back, in bytes.
const longestID = 32

func shortened(s string) string {
	if len(s) > longestID {
		return s[:longestID] + "…"
	}
	return s
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
