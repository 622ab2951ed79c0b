package groq

import "bytes"

// eventReader is where in an event stream a Meter is. Lines end with LF, CRLF or CR.
type eventReader struct {
	at      lineState
	afterCR bool // an LF that comes now belongs to the last line's end
	field   smallText
	name    smallText // of the event, from its event field
	data    bool      // the event has a data field
	tag     uint8     // bytes of doneTag that its data began with; noTag: with something else
	done    bool      // the last event came
	ended   int       // events with data
}

// lineState is where in a line a Meter is.
type lineState uint8

const (
	inField lineState = iota // in the field's name, or at the line's start
	beforeData
	inData
	beforeEventName
	inEventName
	inIgnored
)

const (
	doneTag = "[DONE]"
	noTag   = uint8(len(doneTag)) + 1
)

// smallText keeps a short name. What it keeps of a long one is longer than any that is asked for.
type smallText struct {
	n    int
	text [24]byte
}

func (t *smallText) add(b []byte) { t.n += copy(t.text[t.n:], b) }

func (t *smallText) is(name string) bool { return string(t.text[:t.n]) == name }

// feedEvents reads a piece of an event stream. It looks for each line end only once, so a piece without one costs no
// more than a piece with many.
func (m *Meter) feedEvents(b []byte) {
	for pos, lf := 0, -1; pos < len(b); {
		if n := m.plainEvent(b[pos:]); n > 0 {
			pos += n
			continue
		}
		if m.stream.afterCR {
			m.stream.afterCR = false
			if b[pos] == '\n' {
				pos++
				continue
			}
		}
		if lf < pos {
			if lf = bytes.IndexByte(b[pos:], '\n'); lf < 0 {
				lf = len(b)
			} else {
				lf += pos
			}
		}
		end := lf
		if cr := bytes.IndexByte(b[pos:lf], '\r'); cr >= 0 {
			end = pos + cr
		}
		m.feedLine(b[pos:end])
		if end < len(b) {
			m.stream.afterCR = b[end] == '\r'
			m.endLine()
		}
		pos = end + 1
	}
}

// feedLine reads a part of a line.
func (m *Meter) feedLine(b []byte) {
	r := &m.stream
	if r.at == inField {
		name, rest, colon := bytes.Cut(b, colonByte)
		r.field.add(name)
		if !colon {
			return
		}
		b = rest
		m.beginField()
	}
	if len(b) > 0 && (r.at == beforeData || r.at == beforeEventName) {
		r.at++ // into the value, after at most one space
		if b[0] == ' ' {
			b = b[1:]
		}
	}
	switch r.at {
	case inData:
		r.matchTag(b)
		m.scan.feed(b, &answerFields, (*answerSink)(m))
	case inEventName:
		r.name.add(b)
	}
}

var colonByte = []byte{':'}

// beginField begins the value of the field whose name was read.
func (m *Meter) beginField() {
	r := &m.stream
	switch {
	case r.field.is("data"):
		r.at = beforeData
		if r.data { // lines of data are joined by a line break
			r.matchTag(newline)
			m.scan.feed(newline, &answerFields, (*answerSink)(m))
			break
		}
		r.data, r.tag = true, 0
		m.failed = streamError{}
		m.scan.reset()
	case r.field.is("event"):
		r.at = beforeEventName
		r.name.n = 0
	default:
		r.at = inIgnored
	}
}

// endLine ends a line. An empty one ends the event.
func (m *Meter) endLine() {
	r := &m.stream
	switch {
	case r.at != inField:
	case r.field.n == 0:
		m.endEvent()
	default: // a field without a colon has an empty value
		m.beginField()
	}
	r.at, r.field.n = inField, 0
}

// endEvent takes the event that just ended.
func (m *Meter) endEvent() {
	r := &m.stream
	if r.data {
		r.ended++
		if m.failed.seen || r.name.is("error") {
			m.failed.seen = true
			m.failure = m.failed
		}
		if r.name.is("response.completed") || r.name.is("response.incomplete") || r.name.is("response.failed") {
			r.done = true
		}
	}
	r.data, r.name.n = false, 0
}

// endEvents ends a stream at its end, whatever it stopped in.
func (m *Meter) endEvents() {
	if m.stream.at != inField || m.stream.field.n > 0 {
		m.endLine()
	}
	m.endEvent()
}

// matchTag compares the beginning of an event's data with doneTag.
func (r *eventReader) matchTag(b []byte) {
	for _, c := range b {
		if r.tag >= uint8(len(doneTag)) {
			return
		}
		if c != doneTag[r.tag] {
			r.tag = noTag
			return
		}
		if r.tag++; r.tag == uint8(len(doneTag)) {
			r.done = true
		}
	}
}
