package ledger

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
)

const (
	// maxAge bounds ages and remaining times in reports: a filter that is wrong about the time does no lasting harm.
	maxAge = 48 * time.Hour
	// maxKept bounds the findings in force.
	maxKept = 4096
	// echo is how much later a finding must end to be news: the time that reports and answers take is no news.
	echo = time.Second
	// longCooling is a rest after which people are told.
	longCooling = 15 * time.Minute
)

// findingID names what was learned, so that what several Envoys learn is one finding.
type findingID struct {
	Org        string                `json:"org"`
	Model      string                `json:"model,omitempty"` // empty: every model
	Kind       protocol.FindingKind  `json:"kind"`
	Credential protocol.CredentialID `json:"credential"`
}

// finding is something learned of Groq, in force until UntilMS.
type finding struct {
	findingID
	Code    string `json:"code,omitempty"`
	SinceMS int64  `json:"since_ms"` // Unix milliseconds of the ledger's time
	UntilMS int64  `json:"until_ms"`
	Told    bool   `json:"told,omitempty"` // an event says it, and one will say when it is over

	gone bool
}

func (f *finding) place() (string, string) {
	return findingBucket, string(f.Kind) + "/" + f.Credential + "/" + url.PathEscape(f.Org) + "/" + f.Model
}

func (f *finding) kept() any {
	if f.gone {
		return nil
	}
	return f
}

// learn takes a report's findings in. Of two about the same thing the one that holds longer stays.
func (t *tx) learn(in *incoming) {
	if in.repeated {
		return
	}
	for i := range in.Findings {
		f := &in.Findings[i]
		k := t.l.keyOf(f.Credential)
		if k == nil || k.inForce != f.Credential || !known(f.Kind) {
			t.l.stats.IgnoredFindings++
			continue
		}
		if f.RemainingMS > 0 {
			t.find(k, f)
		}
	}
}

func known(k protocol.FindingKind) bool {
	switch k {
	case protocol.Cooling, protocol.Invalid, protocol.Restricted, protocol.Blocked:
		return true
	}
	return false
}

func (t *tx) find(k *key, f *protocol.Finding) {
	l, limit := t.l, maxAge.Milliseconds()
	id := findingID{Org: k.Org, Model: f.Model, Kind: f.Kind, Credential: f.Credential}
	now := t.now.UnixMilli()
	until := now + min(f.RemainingMS, limit)
	old := l.findings[id]
	if old != nil && until <= old.UntilMS+echo.Milliseconds() {
		return
	}
	if old == nil {
		if len(l.findings) >= maxKept {
			l.stats.IgnoredFindings++
			return
		}
		old = &finding{findingID: id, SinceMS: now - min(f.AgeMS, limit)}
		put(t, l.findings, id, old)
		found := old
		t.undo = append(t.undo, func() { found.gone = true })
	}
	change(t, old)
	old.UntilMS, old.Code = until, f.Code
	t.tellFinding(k, old)
}

// tellFinding says once that a key cannot serve for a while.
func (t *tx) tellFinding(k *key, f *finding) {
	if f.Told {
		return
	}
	until := time.UnixMilli(f.UntilMS).UTC()
	e := event.Event{Key: k.ID, Reason: string(f.Kind), Code: f.Code, Detail: f.Model, Until: until}
	switch {
	case f.Kind == protocol.Invalid:
		e.Kind, e.Level = event.KeyInvalid, event.Critical
	case f.Kind == protocol.Restricted:
		e.Kind, e.Level = event.KeyRestricted, event.Critical
	case f.Kind == protocol.Cooling && f.UntilMS-t.now.UnixMilli() >= longCooling.Milliseconds():
		e.Kind, e.Level = event.KeyCooling, event.Info
	default:
		return
	}
	f.Told = true
	said := line{slog.LevelInfo, k.name() + " is cooling down until " + until.Format(time.RFC3339), []any{"model", f.Model}}
	if e.Level == event.Critical {
		said = line{slog.LevelError, fmt.Sprintf("%s refused by Groq (%s)", k.name(), cmp.Or(f.Code, string(f.Kind))), nil}
	}
	t.tell(e, said)
}

// recovered says that what people were told of a key is over.
func (t *tx) recovered(k *key, f *finding) {
	t.tell(event.Event{Kind: event.KeyRecovered, Level: event.Info, Key: k.ID, Reason: string(f.Kind), Detail: f.Model},
		line{slog.LevelInfo, k.name() + " may serve again", []any{"after", string(f.Kind)}})
}

// forget drops a finding.
func (t *tx) forget(f *finding) {
	change(t, f)
	f.gone = true
	drop(t, t.l.findings, f.findingID)
}

// expire drops the findings that are over, and says so of those that were told.
func (t *tx) expire() {
	for _, f := range t.l.findings {
		if f.UntilMS > t.now.UnixMilli() {
			continue
		}
		t.forget(f)
		if k := t.l.keyOf(f.Credential); k != nil && f.Told {
			t.recovered(k, f)
		}
	}
}

// inForce returns all findings in force, in a fixed order.
func (l *Ledger) inForce(now time.Time) []protocol.Finding {
	out := make([]protocol.Finding, 0, len(l.findings))
	for _, f := range l.findings {
		remaining := f.UntilMS - now.UnixMilli()
		if remaining <= 0 {
			continue
		}
		out = append(out, protocol.Finding{
			Credential: f.Credential, Org: f.Org, Model: f.Model, Kind: f.Kind, Code: f.Code,
			RemainingMS: remaining, AgeMS: max(0, now.UnixMilli()-f.SinceMS),
		})
	}
	slices.SortFunc(out, func(a, b protocol.Finding) int {
		return cmp.Or(cmp.Compare(a.Credential, b.Credential), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Model, b.Model))
	})
	return out
}

// trouble is what findings say of a key.
type trouble struct {
	invalid      *finding  // Groq will not serve it at all; nil: it will
	restricted   bool      // of its organization rather than of the key
	coolingUntil time.Time // no model that is in use can be had before; zero: one can
	cooling      *finding  // one that stands behind coolingUntil
}

// troubles returns what findings in force say of each key.
func (l *Ledger) troubles(now time.Time) map[*key]trouble {
	out := make(map[*key]trouble, len(l.keys))
	if len(l.findings) == 0 {
		return out
	}
	for _, k := range l.keys {
		if t := l.troubleOf(k, now); t != (trouble{}) {
			out[k] = t
		}
	}
	return out
}

func (l *Ledger) troubleOf(k *key, now time.Time) trouble {
	var t trouble
	resting := map[string]*finding{} // by model; empty: every model
	for _, f := range l.findings {
		if f.UntilMS <= now.UnixMilli() {
			continue
		}
		switch {
		case f.Kind == protocol.Invalid && f.Credential == k.inForce:
			t.invalid, t.restricted = f, false
		case f.Org != k.Org:
		case f.Kind == protocol.Restricted:
			if t.invalid == nil {
				t.invalid, t.restricted = f, true
			}
		case f.Kind == protocol.Cooling || f.Kind == protocol.Blocked:
			if old := resting[f.Model]; old == nil || old.UntilMS < f.UntilMS {
				resting[f.Model] = f
			}
		}
	}
	t.cooling = l.restsFor(resting, now)
	if t.cooling != nil {
		t.coolingUntil = time.UnixMilli(t.cooling.UntilMS).UTC()
	}
	return t
}

// restsFor returns the finding that ends first of those that together keep a key from every model in use; nil if one
// can be had.
func (l *Ledger) restsFor(resting map[string]*finding, now time.Time) *finding {
	if f := resting[""]; f != nil || len(resting) == 0 {
		return f
	}
	seen := l.models[quota.WindowAt(now)]
	if len(seen) == 0 {
		return nil
	}
	var first *finding
	for model := range seen {
		f := resting[model]
		if f == nil {
			return nil
		}
		if first == nil || f.UntilMS < first.UntilMS {
			first = f
		}
	}
	return first
}
