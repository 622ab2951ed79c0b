package groq

import (
	"bytes"
	"strings"
)

// Meter reads the usage out of an answer that is pushed in piece by piece: a JSON object, an event stream, or a
// batch's output in JSON lines.
//
// A usage counts from the moment its last byte is in, so that an answer cut off later is still known exactly. Groq
// repeats the usage of a stream up to three times: the last one stated counts, and they are never added. Where the
// last one cannot be trusted, the usage is not known. Only the lines of a batch's output, which are answers of their
// own, are added up.
type Meter struct {
	// Expect is the model that the answer is likely to name, whose name is then not copied.
	Expect string

	meterState
	scan  scanner
	model modelText
	plain plainLine
}

// meterState is what begins anew with another answer.
type meterState struct {
	form  form
	eager bool  // the content type says event stream: only an object shows otherwise
	bom   uint8 // bytes of a byte-order mark seen; 3: passed
	bytes int64

	pending statedUsage // the usage object being read
	stated  bool        // usage was
	usage   Usage       // the last one stated, or the sum of the lines; its Model is not set

	stream  eventReader
	failed  streamError // what the event being read says
	failure streamError // what an event that ended said
}

// form is how an answer is written.
type form uint8

const (
	undecided form = iota // the first byte that is not blank decides
	jsonObject
	jsonLines
	events
	unmetered // neither: nothing is read
)

// streamError is an error stated inside a stream.
type streamError struct {
	seen   bool
	status int
	code   codeText
}

// NewMeter returns a meter for an answer with the given content-type header, which may be empty or wrong: apart from
// JSON lines and media files, the body's first byte decides how it is read.
func NewMeter(contentType string) *Meter {
	m := new(Meter)
	m.Reset(contentType)
	return m
}

// Reset makes m a new meter, for another answer.
func (m *Meter) Reset(contentType string) {
	m.Expect = ""
	m.scan.reset()
	m.meterState = meterState{}
	m.model.n, m.plain.length = 0, 0
	if contentType == "application/json" { // most are
		return
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	kind, _, _ := strings.Cut(mediaType, "/")
	switch {
	case kind == "audio" || kind == "video" || kind == "image":
		m.form = unmetered
	case mediaType == "text/event-stream":
		m.eager = true
	case mediaType == "application/jsonl" || mediaType == "application/x-ndjson":
		m.form = jsonLines
	}
}

// Feed reads the next piece of the answer. It keeps nothing of chunk.
func (m *Meter) Feed(chunk []byte) {
	m.bytes += int64(len(chunk))
	if m.form == undecided {
		chunk = m.decide(chunk)
	}
	switch m.form {
	case jsonObject:
		m.scan.feed(chunk, &answerFields, (*answerSink)(m))
	case events:
		m.feedEvents(chunk)
	case jsonLines:
		m.feedLines(chunk)
	}
}

// End says that no more comes, whether the answer is whole or cut off: an event that lacks its blank line counts.
// It may be called more than once.
func (m *Meter) End() {
	if m.form == events {
		m.endEvents()
	}
}

// Usage returns the usage stated so far.
func (m *Meter) Usage() Usage {
	u := m.usage
	u.Model = m.model.as(m.Expect)
	return u
}

// Events returns how many events with data have ended, the closing [DONE] included; 0 for anything but a stream.
func (m *Meter) Events() int { return m.stream.ended }

// Bytes returns how many bytes were pushed in.
func (m *Meter) Bytes() int64 { return m.bytes }

// StreamError returns the error that ended a stream inside its 200: the status that it would have had, 0 where it
// does not say, and Groq's error code, which may be "". ok is false where there was none.
func (m *Meter) StreamError() (status int, code string, ok bool) {
	return m.failure.status, m.failure.code.String(), m.failure.seen
}

// Done says that the answer said all it has to say: the JSON object is closed, or the stream's last event came.
func (m *Meter) Done() bool {
	return m.form == jsonObject && m.scan.state == afterDocument || m.stream.done
}

const byteOrderMark = "\xEF\xBB\xBF"

// decide finds out the answer's form by its first byte that is not blank, after a byte-order mark. It returns what is
// left to read. Until then the line reader is fed, to which leading blanks may matter.
func (m *Meter) decide(b []byte) []byte {
	for len(b) > 0 {
		c := b[0]
		if m.bom < 3 {
			if c == byteOrderMark[m.bom] {
				m.bom++
				b = b[1:]
				continue
			}
			begun := m.bom
			m.bom = 3
			if begun > 0 { // a part of one is no blank, and decides
				m.feedEvents([]byte(byteOrderMark[:begun]))
				m.form = formOf(byteOrderMark[0], m.eager)
				return b
			}
		}
		if !blank(c) {
			m.form = formOf(c, m.eager)
			return b
		}
		m.feedEvents(b[:1])
		b = b[1:]
	}
	return b
}

// formOf returns the form of an answer that begins with c.
func formOf(c byte, eager bool) form {
	switch c {
	case '{', '[':
		return jsonObject
	case 'd', 'e', 'i', 'r', ':': // data, event, id, retry, a comment
		return events
	}
	if eager {
		return events
	}
	return unmetered
}

// feedLines reads a piece of JSON lines.
func (m *Meter) feedLines(b []byte) {
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, newline)
		m.scan.feed(line, &batchFields, (*answerSink)(m))
		if ended {
			m.scan.reset()
		}
		b = rest
	}
}

var newline = []byte{'\n'}

// stateUsage takes the usage object that just ended.
func (m *Meter) stateUsage() {
	u, ok := m.pending.usage()
	if !ok {
		return
	}
	if m.form == jsonLines && m.stated {
		u = m.usage.plus(u)
	}
	m.stated, m.usage = true, u
}

// answerSink takes what the scanner finds in an answer.
type answerSink Meter

func (m *answerSink) opened(is meaning) {
	switch is {
	case usageObject:
		m.pending = statedUsage{}
	case promptDetails:
		m.pending.cached = count{}
	case errorObject:
		m.failed = streamError{}
	}
}

func (m *answerSink) closed(is meaning) {
	switch is {
	case usageObject:
		(*Meter)(m).stateUsage()
	case errorObject:
		m.failed.seen = true
	}
}

func (m *answerSink) value(is meaning, v value) {
	switch is {
	case answerModel:
		m.model.set(v)
		m.plain.length = 0
	case promptTokens:
		m.pending.prompt = countOf(v)
	case completionTokens:
		m.pending.completion = countOf(v)
	case totalTokens:
		m.pending.total = countOf(v)
	case cachedTokens:
		m.pending.cached = countOf(v)
	case errorCode:
		m.failed.code.set(v)
	case errorStatus:
		if c := countOf(v); c.state == stated && c.n < 1000 {
			m.failed.status = int(c.n)
		}
	}
}
