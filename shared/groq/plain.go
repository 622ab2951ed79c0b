package groq

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A plain event says nothing new, as most of a stream do: one line of data, its model the one that is known, without a
// usage or an error, and no name in it written with \u. The scanner would find nothing in it either, at many times the
// cost; whatever might be anything else is the scanner's.

const (
	eventStart = "data: {"
	modelField = `"model"`
	longest    = 7 // bytes of the names that are looked for, with their quotes
)

// plainLine is a plain event's line, to compare others with: from one event to the next little more than a word differs.
type plainLine struct {
	length   int // 0: none is kept
	modelEnd int // where the model's value ends; 0: it names none
	text     [512]byte
}

// plainEvent reads a whole plain event at the beginning of b. It returns how many bytes it has, 0 where there is none.
func (m *Meter) plainEvent(b []byte) int {
	r := &m.stream
	if r.at != inField || r.field.n > 0 || r.data || r.name.n > 0 || r.afterCR || m.model.n == 0 || !startsWith(b, eventStart) {
		return 0
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 || end+1 == len(b) || b[end+1] != '\n' {
		return 0
	}
	if line := b[:end]; !m.likePlain(line) {
		modelEnd, ok := m.isPlain(line, len(eventStart), end)
		if !ok {
			return 0
		}
		m.plain.keep(line, modelEnd)
	}
	r.ended++
	m.failed = streamError{}
	return end + 2
}

func (p *plainLine) keep(line []byte, modelEnd int) {
	if p.length = 0; len(line) <= len(p.text) {
		p.length, p.modelEnd = copy(p.text[:], line), modelEnd
	}
}

// likePlain says whether a line is plain as it differs from the kept one only in a stretch that is.
func (m *Meter) likePlain(line []byte) bool {
	p := &m.plain
	if p.length == 0 {
		return false
	}
	last := p.text[:p.length]
	from := commonStart(line, last)
	if from < p.modelEnd { // also where the model stands behind the stretch
		return false
	}
	to := len(line) - commonEnd(line[from:], last[from:])
	// A name can begin or end outside of the stretch; what follows a backslash is no beginning.
	for from = max(from-longest, len(eventStart)); line[from-1] == '\\'; from-- {
	}
	for to = min(to+longest, len(line)); to < len(line) && line[to-1] == '\\'; to++ {
	}
	modelEnd, ok := m.isPlain(line, from, to)
	return ok && (modelEnd == 0 || modelEnd == p.modelEnd && from < p.modelEnd)
}

// isPlain says whether nothing in line[from:to] makes it another kind of line, and where the value of its model ends.
func (m *Meter) isPlain(line []byte, from, to int) (modelEnd int, ok bool) {
	for i := from; ; i++ {
		i += plainLineRun(line[i:to])
		if i >= to {
			return modelEnd, true
		}
		rest := line[i:]
		switch {
		case rest[0] == '"' && len(rest) > 1:
			switch rest[1] {
			case 'u', 'e':
				if startsWith(rest, `"usage"`) || startsWith(rest, `"error"`) {
					return 0, false
				}
			case 'm':
				if !startsWith(rest, modelField) {
					continue
				}
				if modelEnd > 0 || !m.model.quotedIn(rest[len(modelField):]) {
					return 0, false
				}
				modelEnd = i + len(modelField) + len(`:""`) + m.model.n
			}
		case rest[0] == '"':
		case rest[0] == '\\' && len(rest) > 1 && rest[1] != 'u':
			i++
		default:
			return 0, false
		}
	}
}

func startsWith(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

// commonStart returns how many bytes at the beginning of both are the same.
func commonStart(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// commonEnd returns how many bytes at the end of both are the same.
func commonEnd(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[len(a)-i-8:]) ^ binary.LittleEndian.Uint64(b[len(b)-i-8:]); x != 0 {
			return i + bits.LeadingZeros64(x)>>3
		}
	}
	for i < n && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}
