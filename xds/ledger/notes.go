package ledger

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/shared/selection"
	"keywheel/xds/event"
)

// turn is that another key came into use. Several Envoys may notice the same one.
type turn struct {
	Kind      protocol.NoteKind `json:"kind"`           // rotated or returned
	From      string            `json:"from,omitempty"` // key IDs
	To        string            `json:"to"`
	Reason    string            `json:"reason,omitempty"`
	AtMS      int64             `json:"at_ms"`
	By        []string          `json:"by"` // incarnations that noticed it
	Completed bool              `json:"completed,omitempty"`
}

const (
	// keptTurns are the newest of a window that another Envoy's note can belong to.
	keptTurns = 16
	// sameTurn is how far apart two Envoys may notice one cause. A key that is exhausted is so for the day.
	sameTurn = 10 * time.Minute
)

// noting is what the notes of one report have said so far.
type noting struct {
	*incoming
	tokens map[*account]int64 // of completions
}

// takeNotes takes in what a report tells of events: each note once, by its number. Notes never count tokens or requests.
func (t *tx) takeNotes(in *incoming) {
	notes := slices.Clone(in.Notes)
	slices.SortFunc(notes, func(a, b protocol.Note) int { return cmp.Compare(a.Seq, b.Seq) })
	said := &noting{incoming: in, tokens: map[*account]int64{}}
	for i := range notes {
		n := &notes[i]
		if n.Seq <= in.inc.NoteSeq {
			continue
		}
		change(t, in.inc)
		if in.inc.NoteSeq > 0 {
			t.l.stats.MissedNotes += n.Seq - in.inc.NoteSeq - 1
		}
		in.inc.NoteSeq = n.Seq
		w, err := quota.ParseWindow(n.Window)
		if err != nil || w < t.window-1 || w > t.window+1 || t.l.folded(w) {
			continue
		}
		t.takeNote(said, w, n)
	}
}

func (t *tx) takeNote(in *noting, w quota.Window, n *protocol.Note) {
	switch n.Kind {
	case protocol.NoteRotated, protocol.NoteReturned:
		if to := t.l.keyOf(n.To); to != nil {
			t.turned(in, w, n, to)
		}
	case protocol.NoteCompletion:
		if to := t.l.keyOf(n.To); to != nil {
			t.completed(in, w, n, to)
		}
	case protocol.NoteOut:
		t.out()
	case protocol.NoteEdge:
		t.tell(event.Event{Kind: event.Edge, Level: event.Info, Window: w.String(), Node: in.inc.Node},
			line{slog.LevelWarn, "The network or Groq's edge refused a call, whatever the key", []any{"node", in.inc.Node}})
	}
}

// at is when a note's event happened.
func (t *tx) at(n *protocol.Note) int64 {
	return t.now.UnixMilli() - min(n.AgeMS, maxAge.Milliseconds())
}

// turned takes down that another key came into use.
func (t *tx) turned(in *noting, w quota.Window, n *protocol.Note, to *key) {
	d := t.day(w)
	from, _, _ := protocol.SplitCredential(n.From)
	c := turn{Kind: n.Kind, From: from, To: to.ID, Reason: n.Reason, AtMS: t.at(n), By: []string{in.Incarnation}}
	if n.Kind == protocol.NoteReturned {
		c.From, c.Reason = "", ""
	}
	level := slog.LevelInfo
	i, use := d.sameAs(c), t.l.meta.InUse
	if i >= 0 {
		change(t, d)
		d.Turns = slices.Clone(d.Turns)
		d.Turns[i].By = append(slices.Clone(d.Turns[i].By), in.Incarnation)
	}
	if i >= 0 || n.Kind == protocol.NoteReturned && use.Key == to.ID && use.Window == w.String() {
		level = slog.LevelDebug // another Envoy says it too, or begins with the key that is in use
	}
	t.use(to, w, c.AtMS)
	var lines []line
	if k := t.l.byID[from]; k != nil && n.Kind == protocol.NoteRotated {
		lines = append(lines, line{level, skippingLine(k, n.Reason), nil})
	}
	a := to.account(w)
	lines = append(lines, line{level, selectedLine(to, in.spentBefore(a), a.tokens.limit), nil})
	if level == slog.LevelInfo {
		t.newTurn(d, c, lines)
		return
	}
	t.lines = append(t.lines, lines...)
}

// newTurn counts a change of the key in use, of which lines tell.
func (t *tx) newTurn(d *day, c turn, lines []line) {
	change(t, d)
	d.Turns = append(slices.Clone(d.Turns[max(0, len(d.Turns)-keptTurns+1):]), c)
	if c.Kind != protocol.NoteRotated {
		t.lines = append(t.lines, lines...)
		return
	}
	d.Rotations++
	t.tell(event.Event{Kind: event.Rotated, Level: event.Info, Key: c.To, Window: d.window.String(), From: c.From, To: c.To, Reason: c.Reason}, lines...)
}

// sameAs returns the turn that another incarnation noticed before; -1 if c is a new one.
func (d *day) sameAs(c turn) int {
	for i := len(d.Turns) - 1; i >= 0; i-- {
		o := &d.Turns[i]
		if o.Kind != c.Kind || o.From != c.From || o.Reason != c.Reason || c.From == "" && o.To != c.To {
			continue
		}
		if c.Reason != string(selection.Exhausted) && c.AtMS-o.AtMS > sameTurn.Milliseconds() {
			return -1
		}
		if slices.Contains(o.By, c.By[0]) {
			return -1 // the same Envoy: it happened again
		}
		return i
	}
	return -1
}

// use takes down which key filters use.
func (t *tx) use(k *key, w quota.Window, atMS int64) {
	use := inUse{Key: k.ID, Window: w.String(), AtMS: atMS}
	if old := t.l.meta.InUse; old.Key == use.Key && old.Window == use.Window || atMS < old.AtMS && w.String() <= old.Window {
		return
	}
	change(t, t.l.meta).InUse = use
}

// spentBefore is what an account had spent when the notes' events happened, as far as can be told: before the report,
// with the tokens that notes before this one told of.
func (in *noting) spentBefore(a *account) int64 {
	before := a.tokens.spent
	if b, ok := in.before[a]; ok {
		before = b.tokens
	}
	return min(before+in.tokens[a], a.tokens.spent)
}

// completed takes down the first completion since another key came into use.
func (t *tx) completed(in *noting, w quota.Window, n *protocol.Note, to *key) {
	level := slog.LevelDebug
	d := t.day(w)
	if i := len(d.Turns) - 1; i >= 0 && d.Turns[i].To == to.ID && !d.Turns[i].Completed {
		level = slog.LevelInfo
		change(t, d)
		d.Turns = slices.Clone(d.Turns)
		d.Turns[i].Completed = true
	}
	t.use(to, w, t.at(n))
	a := to.account(w)
	in.tokens[a] += n.Tokens
	t.log(level, completedLine(to, n.Ordinal+t.completedElsewhere(w, in.inc)))
	t.log(level, addedLine(to, n.Tokens, max(n.Tokens, in.spentBefore(a)), a.tokens.limit))
}

// completedElsewhere is how many calls of a window went well through other incarnations.
func (t *tx) completedElsewhere(w quota.Window, inc *incarnation) int64 {
	var n int64
	for id, g := range t.l.gates {
		if id.window == w && id.incarnation != inc.id {
			n += g.Succeeded
		}
	}
	return n
}

// out takes down that a filter had no key for a call. While a key can serve, by all that is known here, it only had to
// wait.
func (t *tx) out() {
	l := t.l
	if l.meta.AllOut || len(l.keys) == 0 {
		return
	}
	troubles := l.troubles(t.now)
	for _, k := range l.keys {
		if l.status(k.account(t.window), troubles[k], false).Serves() && !l.rests(k, t.now) {
			return
		}
	}
	change(t, l.meta).AllOut = true
	t.tell(event.Event{Kind: event.AllOut, Level: event.Critical, Until: l.firstBack(t.now, troubles)},
		line{slog.LevelError, fmt.Sprintf("🚨 All %d Groq keys are out: calls are refused", len(l.keys)), nil})
}

// firstBack is when the first of keys that are all out can serve again; zero: that is not known.
func (l *Ledger) firstBack(now time.Time, troubles map[*key]trouble) time.Time {
	var first time.Time
	w := quota.WindowAt(now)
	for _, k := range l.keys {
		var at time.Time
		switch t := troubles[k]; {
		case k.Disabled || t.invalid != nil:
			continue
		case l.status(k.account(w), t, false) == quota.Exhausted:
			at = newer(w.End(), t.coolingUntil)
		case !t.coolingUntil.IsZero():
			at = t.coolingUntil
		default:
			at = time.UnixMilli(l.restsUntil(k, now)).UTC()
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// restsUntil is when the last of the rests of a key ends, in Unix milliseconds.
func (l *Ledger) restsUntil(k *key, now time.Time) int64 {
	until := now.UnixMilli()
	for _, f := range l.findings {
		if f.Org == k.Org {
			until = max(until, f.UntilMS)
		}
	}
	return until
}

// rests says whether a key cools down for any model.
func (l *Ledger) rests(k *key, now time.Time) bool {
	return l.restsUntil(k, now) > now.UnixMilli()
}

// backAgain takes down that a call was served after all keys were out.
func (t *tx) backAgain(in *incoming) {
	if !t.l.meta.AllOut || !in.served {
		return
	}
	change(t, t.l.meta).AllOut = false
	t.tell(event.Event{Kind: event.AllBack, Level: event.Info}, line{slog.LevelInfo, "Groq keys serve again", nil})
}
