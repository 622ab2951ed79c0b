package account

import (
	"keywheel/filter/record"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Layout of the gate's entry: a fixed head, two window slots, then the key in use.
const (
	gateVersion = 2

	gateChange = 8  // i64: how often the key in use changed
	gateNoted  = 16 // i64: the change whose first completion is noted
	gateCause  = 24 // u64: what the last rotation was counted for
	gateOut    = 32 // i64: when it was last noted that no key can serve
	gateSlots  = 40

	gateCounts   = 8 // after i32 window and four bytes of room
	gateFields   = 12
	gateSlotSize = gateCounts + 8*gateFields
	gateFixed    = gateSlots + 2*gateSlotSize
)

// Places of the gate's counters, in the order of protocol.GateUsage. The last three hold times, not counts.
const (
	fieldRequests = iota
	fieldSucceeded
	fieldCallerFaults
	fieldRefused
	fieldFailed
	fieldCut
	fieldLimited
	fieldRescues
	fieldTimeMS
	fieldFirstRefusal
	fieldLastRefusal
	fieldLastServed
)

// Outcome is how a client call ended.
type Outcome int

// The outcomes.
const (
	Succeeded Outcome = iota
	CallerFault
	Refused
	Failed
	Cut
)

var outcomeField = [...]int{fieldSucceeded, fieldCallerFaults, fieldRefused, fieldFailed, fieldCut}

// Call is a client call that has ended.
type Call struct {
	Outcome    Outcome
	Limited    bool                  // failed with a 429 of Groq's
	Rescued    bool                  // another key took over
	Out        bool                  // refused because no key could serve it for longer than a moment
	TimeMS     int64                 // headers in to last byte out
	Credential protocol.CredentialID // that served it; empty: none
	Tokens     int64
}

type gate []byte

func loadGate(b []byte) gate {
	if len(b) < gateFixed+1 || le.Uint32(b) != gateVersion || len(b) != gateFixed+1+int(b[gateFixed]) {
		b = make([]byte, gateFixed+1)
		le.PutUint32(b, gateVersion)
	}
	return b
}

func (g gate) inUse() string { return string(g[gateFixed+1:]) }

// slot returns the window's slot and gives it the older one where it had none; a window older than both is counted in
// the older of them.
func (g gate) slot(w quota.Window) []byte {
	a, b := g[gateSlots:gateSlots+gateSlotSize], g[gateSlots+gateSlotSize:gateFixed]
	for _, s := range [][]byte{a, b} {
		if quota.Window(le.Uint32(s)) == w {
			return s
		}
	}
	if le.Uint32(b) < le.Uint32(a) {
		a = b
	}
	if old := quota.Window(le.Uint32(a)); old != 0 && w < old {
		return a
	}
	clear(a)
	le.PutUint32(a, uint32(w))
	return a
}

// outEveryMS is how often it is noted that no key can serve: refusals and served calls can alternate.
const outEveryMS = 10_000

// End counts a call that ended at now, in Unix milliseconds, and notes the first completion since the key in use changed.
// It returns whether the call's credential is the one in use and its first completion is noted: calls like this one can
// then be counted together, see Ended.
func (k *Book) End(w quota.Window, nowMS int64, c Call) (settled bool) {
	var note *Note
	update(k.data, gateName, func(old []byte) []byte {
		note = nil
		g := loadGate(old)
		s := g.slot(w)[gateCounts:]
		addI64(s, 8*fieldRequests, 1)
		addI64(s, 8*outcomeField[c.Outcome], 1)
		if c.Limited && c.Outcome == Failed {
			addI64(s, 8*fieldLimited, 1)
		}
		if c.Rescued && c.Outcome == Succeeded {
			addI64(s, 8*fieldRescues, 1)
		}
		switch c.Outcome {
		case Succeeded:
			addI64(s, 8*fieldTimeMS, c.TimeMS)
			putI64(s, 8*fieldLastServed, nowMS)
			putI64(s, 8*fieldFirstRefusal, 0)
			if g.inUse() == c.Credential && i64(g, gateChange) != i64(g, gateNoted) {
				putI64(g, gateNoted, i64(g, gateChange))
				note = &Note{Kind: protocol.NoteCompletion, Window: w, AtMS: nowMS, To: c.Credential, Tokens: c.Tokens, Ordinal: i64(s, 8*fieldSucceeded)}
			}
		case Refused:
			putI64(s, 8*fieldLastRefusal, nowMS)
			first := i64(s, 8*fieldFirstRefusal) == 0
			if first {
				putI64(s, 8*fieldFirstRefusal, nowMS)
			}
			if since := nowMS - i64(g, gateOut); c.Out && first && (since < 0 || since >= outEveryMS) {
				putI64(g, gateOut, nowMS)
				note = &Note{Kind: protocol.NoteOut, Window: w, AtMS: nowMS}
			}
		}
		settled = g.inUse() == c.Credential && i64(g, gateChange) == i64(g, gateNoted)
		return g
	})
	if note != nil {
		k.Note(*note)
	}
	return settled
}

// Ended is calls of one window that succeeded, without a rescue, by a credential for which End had said that it is settled.
type Ended struct {
	Window quota.Window
	Calls  int64
	TimeMS int64 // of all of them
	LastMS int64 // when the last one ended, Unix milliseconds
}

// EndMany counts calls that ended.
func (k *Book) EndMany(n Ended) {
	update(k.data, gateName, func(old []byte) []byte {
		g := loadGate(old)
		s := g.slot(n.Window)[gateCounts:]
		addI64(s, 8*fieldRequests, n.Calls)
		addI64(s, 8*fieldSucceeded, n.Calls)
		addI64(s, 8*fieldTimeMS, n.TimeMS)
		putI64(s, 8*fieldLastServed, max(n.LastMS, i64(s, 8*fieldLastServed)))
		if i64(s, 8*fieldLastRefusal) <= n.LastMS { // a refusal since then begins a new span
			putI64(s, 8*fieldFirstRefusal, 0)
		}
		return g
	})
}

// Leave says why the key in use was passed over; the zero value: it was not.
type Leave struct {
	Reason string // selection.Reason
	Cause  uint64 // tells one cause from the next, so that a key that leaves and returns for the same one counts once
}

// Use takes down that a request goes to c, and notes a change of the key in use: rotated where the one before had to
// leave, else returned. See picker.Takes for when it is to be called.
// It returns whether this was a rotation.
func (k *Book) Use(w quota.Window, nowMS int64, c protocol.CredentialID, why Leave) (rotated bool) {
	var note *Note
	update(k.data, gateName, func(old []byte) []byte {
		note = nil
		g := loadGate(old)
		from := g.inUse()
		if from == c {
			return nil
		}
		switch {
		case why.Reason == "":
			note = &Note{Kind: protocol.NoteReturned, From: from}
		case le.Uint64(g[gateCause:]) == why.Cause: // out for one model, say, and in use for the others
			return nil
		default:
			le.PutUint64(g[gateCause:], why.Cause)
			note = &Note{Kind: protocol.NoteRotated, From: from, Reason: why.Reason}
		}
		note.Window, note.AtMS, note.To = w, nowMS, c
		addI64(g, gateChange, 1)
		return record.AppendString(g[:gateFixed], c)
	})
	if note == nil {
		return false
	}
	k.Note(*note)
	return note.Kind == protocol.NoteRotated
}

// InUse returns the credential in use; empty: none yet.
func (k *Book) InUse() protocol.CredentialID {
	b, _, _ := k.data.Get(gateName)
	return loadGate(b).inUse()
}

// GateUsage returns the gate's counts by window, with times as ages at now.
func (k *Book) GateUsage(nowMS int64) map[quota.Window]protocol.GateUsage {
	b, _, _ := k.data.Get(gateName)
	g := loadGate(b)
	out := map[quota.Window]protocol.GateUsage{}
	for i := range 2 {
		s := g[gateSlots+i*gateSlotSize:]
		w := quota.Window(le.Uint32(s))
		if w == 0 {
			continue
		}
		var u protocol.GateUsage
		for f := range gateFields {
			v := i64(s, gateCounts+8*f)
			if f >= fieldFirstRefusal && v > 0 {
				v = max(1, nowMS-v)
			}
			*u.Field(f) = v
		}
		out[w] = u
	}
	return out
}
