// Package trail is what the two roles tell each other about one client call. It travels as a property of the
// downstream stream, which both see: the gate writes it, each attempt adds itself. A stream without one, or with
// another process's, has not passed the gate.
package trail

import (
	"encoding/binary"

	"keywheel/filter/record"
)

// Property is the stream property's name. Its value is not for people; access logs have %RESP(X-KEYWHEEL-KEY)%.
const Property = "keywheel"

// UnknownModel stands for a model that was not seen: audio, or one named late in a large body. What is learned of such
// a call holds for such calls only, not for every model.
const UnknownModel = "?"

// Trail is one client call.
type Trail struct {
	// Call is the call's number in the VM of its gate, so that an attempt in the same one finds it; 0: it has none.
	Call uint64

	Incarnation string
	Model       string // that the caller asked for; UnknownModel: it was not seen
	Need        int64  // tokens the call may take
	Prompt      int64  // the prompt's estimate, tokens
	Only        string // the ID of the one key that the caller wants; empty: any
	Tries       []Try  // in the order in which they were sent
}

// Try is one attempt.
type Try struct {
	Credential string
	VM         uint32 // that holds the reservation
	Reserved   int64  // tokens
	State      State
}

// State says what became of an attempt.
type State byte

// The states of an attempt.
const (
	Pending State = iota // no answer yet, or an answer that the gate meters and settles
	Passed               // settled; nobody's fault, the same key may be tried again
	Failed               // settled; this key cannot help any more
	Lost                 // ended without an answer; what it held is given back, what it cost is settled at the end
)

// A trail has the oldest form that can say it: while one module replaces another under a running Envoy, the roles can be
// of different ones.
const (
	version     = 1
	versionOnly = 2 // the wanted key stands before the tries
	versionCall = 3 // so it does, and the call's number stands first
)

// Append appends t's binary form.
func (t *Trail) Append(b []byte) []byte {
	form := byte(version)
	switch {
	case t.Call != 0:
		form = versionCall
	case t.Only != "":
		form = versionOnly
	}
	b = append(b, form)
	if form == versionCall {
		b = binary.LittleEndian.AppendUint64(b, t.Call)
	}
	b = record.AppendString(b, t.Incarnation)
	b = record.AppendString(b, t.Model)
	b = record.AppendVarint(b, t.Need)
	b = record.AppendVarint(b, t.Prompt)
	if form != version {
		b = record.AppendString(b, t.Only)
	}
	for _, y := range t.Tries {
		b = record.AppendString(b, y.Credential)
		b = binary.LittleEndian.AppendUint32(b, y.VM)
		b = record.AppendVarint(b, y.Reserved)
		b = append(b, byte(y.State))
	}
	return b
}

// Parse reads a trail. ok is false for anything that Append did not make.
func Parse(b []byte) (t Trail, ok bool) {
	p := record.Reader{Rest: b, Text: string(b)}
	form := p.Byte()
	if form < version || form > versionCall {
		return Trail{}, false
	}
	if form == versionCall {
		t.Call = uint64(p.Int64())
	}
	t.Incarnation, t.Model = p.String(), p.String()
	t.Need, t.Prompt = p.Varint(), p.Varint()
	if form != version {
		t.Only = p.String()
	}
	for p.More() {
		t.Tries = append(t.Tries, Try{
			Credential: p.String(), VM: p.Uint32(), Reserved: p.Varint(), State: State(p.Byte()),
		})
	}
	if p.Bad {
		return Trail{}, false
	}
	return t, true
}

// CallOf returns the call's number in a trail of this process's, without reading the rest; ok is false where there is none.
func CallOf(b []byte, incarnation string) (call uint64, ok bool) {
	const before = 1 + 8 + 1
	if len(b) < before+len(incarnation) || b[0] != versionCall || int(b[before-1]) != len(incarnation) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[1:]), string(b[before:before+len(incarnation)]) == incarnation
}

// Last returns the newest try, nil where there is none.
func (t *Trail) Last() *Try {
	if len(t.Tries) == 0 {
		return nil
	}
	return &t.Tries[len(t.Tries)-1]
}
