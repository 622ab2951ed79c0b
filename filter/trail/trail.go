// Package trail is what the two roles tell each other about one client call. It travels as a property of the
// downstream stream, which both see: the gate writes it, each attempt adds itself. A stream without one, or with
// another process's, has not passed the gate.
package trail

import "encoding/binary"

// Property is the stream property's name. Access logs read it as %FILTER_STATE(wasm.keywheel:PLAIN)%.
const Property = "keywheel"

// Trail is one client call.
type Trail struct {
	Incarnation string
	Model       string // empty: unknown
	Need        int64  // tokens the call may take
	Prompt      int64  // the prompt's estimate, tokens
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
)

const version = 1

// Append appends t's binary form.
func (t *Trail) Append(b []byte) []byte {
	b = append(b, version)
	b = str(b, t.Incarnation)
	b = str(b, t.Model)
	b = binary.AppendVarint(b, t.Need)
	b = binary.AppendVarint(b, t.Prompt)
	for _, y := range t.Tries {
		b = str(b, y.Credential)
		b = binary.LittleEndian.AppendUint32(b, y.VM)
		b = binary.AppendVarint(b, y.Reserved)
		b = append(b, byte(y.State))
	}
	return b
}

func str(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

// Parse reads a trail. ok is false for anything that Append did not make.
func Parse(b []byte) (t Trail, ok bool) {
	p := parser{b: b}
	if p.byte() != version {
		return Trail{}, false
	}
	t.Incarnation, t.Model = p.str(), p.str()
	t.Need, t.Prompt = p.varint(), p.varint()
	for len(p.b) > 0 && !p.bad {
		y := Try{Credential: p.str()}
		if vm := p.take(4); vm != nil {
			y.VM = binary.LittleEndian.Uint32(vm)
		}
		y.Reserved, y.State = p.varint(), State(p.byte())
		t.Tries = append(t.Tries, y)
	}
	if p.bad {
		return Trail{}, false
	}
	return t, true
}

// Last returns the newest try, nil where there is none.
func (t *Trail) Last() *Try {
	if len(t.Tries) == 0 {
		return nil
	}
	return &t.Tries[len(t.Tries)-1]
}

type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if p.bad || n > len(p.b) {
		p.bad = true
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *parser) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *parser) str() string { return string(p.take(int(p.byte()))) }

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[n:]
	return v
}
