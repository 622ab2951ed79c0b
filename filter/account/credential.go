package account

import (
	"math"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// MaxModels is how many models are counted apart in a window; the rest go by OtherModel.
const (
	MaxModels  = 32
	OtherModel = "other"
	maxName    = 64 // bytes of a model's name that are kept
)

// Layout of a credential's entry. The fixed part is edited in place; reservations and models follow it.
const (
	credentialVersion = 1

	offVersion      = 0
	offFlags        = 4
	offEpoch        = 8
	offGeneration   = 16
	offNextWindow   = 24
	offNextFlags    = 28
	offNextTokens   = 32
	offNextRequests = 40
	offSlots        = 48

	slotWindow        = 0
	slotFlags         = 4
	slotAllowTokens   = 8
	slotAllowRequests = 16
	slotTokens        = 24
	slotRequests      = 32
	slotGranted       = 40 // i64: tokens that were unspent when the allowance came
	slotAttempts      = 48
	slotTimes         = slotAttempts + 4*16
	slotSize          = slotTimes + 4*(len(protocol.TimeBuckets)+1)

	offCounts = offSlots + 2*slotSize // u16 reservations, u16 models
	fixedSize = offCounts + 4

	reservationSize = 16 // vm u32, requests u32, tokens i64

	flagNamed = 1 // in offFlags: an answer has named this incarnation
	flagSet   = 1 // in slotFlags, offNextFlags: there is an allowance
	flagMore  = 2 // in slotFlags, offNextFlags: a later answer may allow more
)

// unlimited is what is free of a key without a limit: large, and safe to add to.
const unlimited = math.MaxInt64 / 4

// Entry is one credential's account. Its methods never fail: an Entry is made by NewEntry or Load only.
type Entry []byte

// NewEntry is the entry of a credential that nothing is known of.
func NewEntry() Entry {
	e := make(Entry, fixedSize)
	le.PutUint32(e, credentialVersion)
	return e
}

// load takes b as an entry, or starts anew where it is none.
func load(b []byte) Entry {
	e := Entry(b)
	if !e.sound() {
		return NewEntry()
	}
	return e
}

// sound says whether every record lies within the bytes.
func (e Entry) sound() bool {
	if len(e) < fixedSize || le.Uint32(e) != credentialVersion {
		return false
	}
	n := e.modelsAt()
	for range e.models() {
		if n+2 > len(e) {
			return false
		}
		n += 2 + int(e[n+1]) + 5*8
	}
	return n == len(e)
}

func (e Entry) reservations() int { return int(le.Uint16(e[offCounts:])) }
func (e Entry) models() int       { return int(le.Uint16(e[offCounts+2:])) }
func (e Entry) modelsAt() int     { return fixedSize + e.reservations()*reservationSize }

// slot returns the offset of the window's slot, -1 where it has none.
func (e Entry) slot(w quota.Window) int {
	for off := offSlots; off < offCounts; off += slotSize {
		if quota.Window(le.Uint32(e[off:])) == w {
			return off
		}
	}
	return -1
}

// roll returns the offset of the window's slot and gives it the older of the two where it had none. A window older
// than both kept ones is charged to the older of them.
func (e *Entry) roll(w quota.Window) int {
	if off := e.slot(w); off >= 0 {
		return off
	}
	off := offSlots
	a, b := quota.Window(le.Uint32((*e)[offSlots:])), quota.Window(le.Uint32((*e)[offSlots+slotSize:]))
	if b < a {
		off += slotSize
	}
	if oldest := min(a, b); oldest != 0 && w < oldest {
		return off
	}
	e.dropModels((off - offSlots) / slotSize)
	s := (*e)[off : off+slotSize]
	clear(s)
	le.PutUint32(s, uint32(w))
	if f := le.Uint32((*e)[offNextFlags:]); f&flagSet != 0 && w >= quota.Window(le.Uint32((*e)[offNextWindow:])) {
		le.PutUint32(s[slotFlags:], f)
		putI64(s, slotAllowTokens, i64(*e, offNextTokens))
		putI64(s, slotAllowRequests, i64(*e, offNextRequests))
		putI64(s, slotGranted, max(0, i64(*e, offNextTokens)))
	}
	return off
}

func (e *Entry) dropModels(slot int) {
	b, at := *e, e.modelsAt()
	kept, n := at, 0
	for range b.models() {
		size := 2 + int(b[at+1]) + 5*8
		if int(b[at]) != slot {
			copy(b[kept:], b[at:at+size])
			kept += size
			n++
		}
		at += size
	}
	le.PutUint16(b[offCounts+2:], uint16(n))
	*e = b[:kept]
}

// Room is what a credential can still take in a window.
type Room struct {
	Free            int64 // tokens neither spent nor reserved; negative when overspent
	Unspent         int64 // tokens not spent
	FreeRequests    int64
	UnspentRequests int64
	Granted         int64 // tokens that were unspent when the allowance came; 0: none has
	More            bool  // a later answer may allow more
}

// Room returns what is left in the window. fresh is what the assignment lets an unnamed incarnation spend.
func (e Entry) Room(w quota.Window, fresh []protocol.Fresh) Room {
	tokens, requests, more := e.allowance(w, fresh)
	r := Room{Free: unlimited, FreeRequests: unlimited, More: more}
	if tokens >= 0 {
		r.Free = tokens
	}
	if requests >= 0 {
		r.FreeRequests = requests
	}
	if off := e.slot(w); off >= 0 {
		r.Granted = i64(e, off+slotGranted)
		r.Free -= i64(e, off+slotTokens)
		r.FreeRequests -= i64(e, off+slotRequests)
	}
	r.Unspent, r.UnspentRequests = r.Free, r.FreeRequests
	heldTokens, heldRequests := e.Held()
	r.Free -= heldTokens
	r.FreeRequests -= heldRequests
	return r
}

func (e Entry) allowance(w quota.Window, fresh []protocol.Fresh) (tokens, requests int64, more bool) {
	if le.Uint32(e[offFlags:])&flagNamed == 0 {
		for i := len(fresh) - 1; i >= 0; i-- {
			// Names of windows sort as the windows do. Beyond the last one its slice goes on.
			if name := w.String(); fresh[i].Window == name || i == len(fresh)-1 && fresh[i].Window < name {
				return fresh[i].Tokens, fresh[i].Requests, true
			}
		}
		return 0, 0, true
	}
	if off := e.slot(w); off >= 0 {
		f := le.Uint32(e[off+slotFlags:])
		if f&flagSet == 0 {
			return 0, 0, true
		}
		return i64(e, off+slotAllowTokens), i64(e, off+slotAllowRequests), f&flagMore != 0
	}
	f := le.Uint32(e[offNextFlags:])
	if f&flagSet == 0 || w < quota.Window(le.Uint32(e[offNextWindow:])) {
		return 0, 0, true
	}
	return i64(e, offNextTokens), i64(e, offNextRequests), f&flagMore != 0
}

// Held is what requests in flight reserve, over all VMs.
func (e Entry) Held() (tokens, requests int64) {
	for off := fixedSize; off < e.modelsAt(); off += reservationSize {
		requests += int64(le.Uint32(e[off+4:]))
		tokens += i64(e, off+8)
	}
	return tokens, requests
}

// Reserve holds tokens for one request of a VM.
func (e *Entry) Reserve(vm uint32, tokens int64) { e.reserve(vm, 1, tokens) }

func (e *Entry) reserve(vm uint32, requests, tokens int64) {
	at := e.modelsAt()
	for off := fixedSize; off < at; off += reservationSize {
		if le.Uint32((*e)[off:]) == vm {
			addU32(*e, off+4, uint32(requests))
			addI64(*e, off+8, tokens)
			return
		}
	}
	if off := e.unheld(); off >= 0 {
		at = off
	} else {
		*e = append(*e, make([]byte, reservationSize)...)
		copy((*e)[at+reservationSize:], (*e)[at:])
		le.PutUint16((*e)[offCounts:], uint16(e.reservations()+1))
	}
	le.PutUint32((*e)[at:], vm)
	le.PutUint32((*e)[at+4:], uint32(requests))
	putI64(*e, at+8, tokens)
}

// unheld returns the offset of a record that holds nothing, -1 where each does. Records stay when what they held is
// given back, as most VMs soon hold something again and an entry that keeps its size is not copied.
func (e Entry) unheld() int {
	for off := fixedSize; off < e.modelsAt(); off += reservationSize {
		if le.Uint32(e[off+4:]) == 0 {
			return off
		}
	}
	return -1
}

// Release gives back what Reserve held. What a VM no longer holds, because it was taken for dead, is not given back.
func (e Entry) Release(vm uint32, tokens int64) { e.release(vm, 1, tokens) }

func (e Entry) release(vm uint32, requests, tokens int64) {
	for off := fixedSize; off < e.modelsAt(); off += reservationSize {
		if le.Uint32(e[off:]) != vm {
			continue
		}
		held := int64(le.Uint32(e[off+4:]))
		if held <= requests {
			le.PutUint32(e[off+4:], 0)
			putI64(e, off+8, 0)
			return
		}
		le.PutUint32(e[off+4:], uint32(held-requests))
		putI64(e, off+8, max(0, i64(e, off+8)-tokens))
		return
	}
}

func (e *Entry) dropReservation(off int) {
	*e = append((*e)[:off], (*e)[off+reservationSize:]...)
	le.PutUint16((*e)[offCounts:], uint16(e.reservations()-1))
}

// Reclaim drops what dead VMs held. It returns false where there was nothing.
func (e *Entry) Reclaim(alive func(vm uint32) bool) bool {
	dropped := false
	for off := fixedSize; off < e.modelsAt(); {
		if le.Uint32((*e)[off+4:]) == 0 || alive(le.Uint32((*e)[off:])) {
			off += reservationSize
			continue
		}
		e.dropReservation(off)
		dropped = true
	}
	return dropped
}

// model returns the offset of the model's five counters in a slot.
func (e *Entry) model(slot int, name string) int {
	name = name[:min(len(name), maxName)]
	if name == "" {
		name = OtherModel
	}
	at, n := e.modelsAt(), 0
	other := -1
	for range e.models() {
		size := int((*e)[at+1])
		if int((*e)[at]) == slot {
			n++
			switch string((*e)[at+2 : at+2+size]) {
			case name:
				return at + 2 + size
			case OtherModel:
				other = at + 2 + size
			}
		}
		at += 2 + size + 5*8
	}
	if n >= MaxModels-1 && name != OtherModel {
		if other >= 0 {
			return other
		}
		name = OtherModel
	}
	*e = append(*e, byte(slot), byte(len(name)))
	*e = append(*e, name...)
	*e = append(*e, make([]byte, 5*8)...)
	le.PutUint16((*e)[offCounts+2:], uint16(e.models()+1))
	return len(*e) - 5*8
}
