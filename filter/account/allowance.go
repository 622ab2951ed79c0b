package account

import (
	"keywheel/filter/record"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Version orders assignments: the higher epoch, then the higher generation, is the newer.
type Version struct{ Epoch, Generation int64 }

// Before says whether v is older than o.
func (v Version) Before(o Version) bool {
	return v.Epoch < o.Epoch || v.Epoch == o.Epoch && v.Generation < o.Generation
}

// Version returns which answer's allowances the entry follows.
func (e Entry) Version() Version { return Version{i64(e, offEpoch), i64(e, offGeneration)} }

// Allow takes over the allowances of an answer and returns false where the entry follows a newer one. Allowances are
// of one credential, for any windows; the one for the latest window also holds for those after it.
func (e *Entry) Allow(v Version, current quota.Window, allowances []protocol.Allowance) bool {
	if v.Before(e.Version()) {
		return false
	}
	putI64(*e, offEpoch, v.Epoch)
	putI64(*e, offGeneration, v.Generation)
	le.PutUint32((*e)[offFlags:], le.Uint32((*e)[offFlags:])|flagNamed)
	for _, a := range allowances {
		w, err := quota.ParseWindow(a.Window)
		if err != nil {
			continue
		}
		flags := uint32(flagSet)
		if a.More {
			flags |= flagMore
		}
		if w <= current {
			if w == current {
				e.rewind(w)
			}
			e.grant(e.roll(w), flags, a)
			continue
		}
		if off := e.slot(w); off >= 0 { // this process was there before the control plane's clock
			e.grant(off, flags, a)
		}
		le.PutUint32((*e)[offNextWindow:], uint32(w))
		le.PutUint32((*e)[offNextFlags:], flags)
		putI64(*e, offNextTokens, a.Tokens)
		putI64(*e, offNextRequests, a.Requests)
	}
	return true
}

func (e *Entry) grant(off int, flags uint32, a protocol.Allowance) {
	le.PutUint32((*e)[off+slotFlags:], flags)
	putI64(*e, off+slotAllowTokens, a.Tokens)
	putI64(*e, off+slotAllowRequests, a.Requests)
	putI64(*e, off+slotGranted, max(0, a.Tokens-i64(*e, off+slotTokens)))
}

// rewind makes room for the current window where the clock went back behind both kept ones. The later of them goes.
func (e *Entry) rewind(current quota.Window) {
	later := offSlots
	for off := offSlots; off < offCounts; off += slotSize {
		w := quota.Window(le.Uint32((*e)[off:]))
		if w <= current { // also a slot that was never used
			return
		}
		if w > quota.Window(le.Uint32((*e)[later:])) {
			later = off
		}
	}
	e.dropModels((later - offSlots) / slotSize)
	s := (*e)[later : later+slotSize]
	clear(s)
	le.PutUint32(s, uint32(current))
}

// Usage returns what the windows' slots hold, for a report.
func (e Entry) Usage(id protocol.CredentialID) map[quota.Window]protocol.CredentialUsage {
	out := map[quota.Window]protocol.CredentialUsage{}
	for i := range 2 {
		off := offSlots + i*slotSize
		w := quota.Window(le.Uint32(e[off:]))
		if w == 0 {
			continue
		}
		u := protocol.CredentialUsage{Credential: id, Requests: i64(e, off+slotRequests), Attempts: map[string]int64{}}
		attempts := false
		for j, c := range classes {
			if n := le.Uint32(e[off+slotAttempts+4*j:]); n > 0 {
				u.Attempts[string(c)] = int64(n)
				attempts = true
			}
		}
		for j := range len(protocol.TimeBuckets) + 1 {
			u.TimeMS = append(u.TimeMS, int64(le.Uint32(e[off+slotTimes+4*j:])))
		}
		u.Models = e.usageOfModels(i)
		if attempts {
			out[w] = u
		}
	}
	return out
}

func (e Entry) usageOfModels(slot int) []protocol.ModelUsage {
	var out []protocol.ModelUsage
	at := e.modelsAt()
	for range e.models() {
		c := at + 2 + int(e[at+1])
		if int(e[at]) == slot {
			out = append(out, protocol.ModelUsage{
				Model: string(e[at+2 : c]), Prompt: i64(e, c), Completion: i64(e, c+8), Cached: i64(e, c+16),
				Total: i64(e, c+24), Estimated: i64(e, c+32),
			})
		}
		at = c + 5*8
	}
	return out
}

// Book is the account of one Envoy process.
type Book struct{ data Data }

// NewBook opens the account in the host's shared data.
func NewBook(d Data) *Book { return &Book{data: d} }

// Entry returns a credential's entry as it is now; an empty one where there is none.
func (k *Book) Entry(c protocol.CredentialID) Entry {
	e, _ := k.Get(NameOf(c))
	return e
}

// Name is what a credential's entry is called in the host's shared data.
type Name string

// NameOf returns the name of a credential's entry. Who asks for one often keeps it.
func NameOf(c protocol.CredentialID) Name { return Name(credentialPrefix + c) }

// Get returns the entry of this name as it is now, and the number to swap against.
func (k *Book) Get(n Name) (Entry, uint32) {
	b, cas, ok := k.data.Get(string(n))
	if !ok {
		return NewEntry(), Absent
	}
	return load(b), cas
}

// Update changes a credential's entry. f may run several times, each time on what is then the newest; with false it
// leaves the entry as it is. Update returns what f returned last.
func (k *Book) Update(c protocol.CredentialID, f func(e *Entry) bool) bool {
	n := NameOf(c)
	for {
		e, cas := k.Get(n)
		if !f(&e) {
			return false
		}
		if k.Swap(n, e, cas) {
			return true
		}
	}
}

// Swap stores the entry of this name if nobody did since Get returned cas.
func (k *Book) Swap(n Name, e Entry, cas uint32) bool {
	if cas == Absent {
		k.list(string(n[len(credentialPrefix):]))
	}
	return k.data.Swap(string(n), e, cas)
}

// list puts a credential on the list of all that have an entry, before the entry is there, so that none is forgotten.
func (k *Book) list(c protocol.CredentialID) {
	update(k.data, indexName, func(old []byte) []byte {
		for r := (record.Reader{Rest: old}); r.More(); {
			if r.String() == c {
				return nil
			}
		}
		return record.AppendString(old, c)
	})
}

// Credentials returns all that have an entry, in the order in which they came.
func (k *Book) Credentials() []protocol.CredentialID {
	b, _, _ := k.data.Get(indexName)
	var out []protocol.CredentialID
	for r := (record.Reader{Rest: b}); r.More(); {
		out = append(out, r.String())
	}
	return out
}
