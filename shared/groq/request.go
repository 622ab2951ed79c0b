package groq

// requestFields are the fields of a request that decide what it may need. /responses says max_output_tokens.
var requestFields = field{fields: []field{
	{name: "model", is: modelName},
	{name: "max_tokens", is: maxTokens},
	{name: "max_completion_tokens", is: maxTokens},
	{name: "max_output_tokens", is: maxTokens},
	{name: "stream", is: streamed},
}}

const (
	modelName meaning = iota + 1
	maxTokens
	streamed
)

// RequestPeek finds in a JSON request body, pushed in piece by piece, the fields that decide what the request may need.
// It says what it saw and judges nothing: a body that Groq would refuse is Groq's to refuse.
// The zero value is ready.
type RequestPeek struct {
	scan      scanner
	bytes     int64
	maxTokens int64
	stream    bool
	model     modelText
	expect    string
}

// Reset makes p ready for another body. expect is the model that it is likely to ask for, whose name is then not copied.
func (p *RequestPeek) Reset(expect string) {
	p.scan.reset()
	p.bytes, p.maxTokens, p.stream, p.model.n, p.expect = 0, 0, false, 0, expect
}

// Feed reads the next piece of the body. Once Done, more is only counted.
func (p *RequestPeek) Feed(chunk []byte) {
	p.bytes += int64(len(chunk))
	p.scan.feed(chunk, &requestFields, (*requestSink)(p))
}

// Model returns the model asked for, or "" where there is none or its name is not a sane one: 1 to 128 printable ASCII
// bytes without blanks.
func (p *RequestPeek) Model() string { return p.model.as(p.expect) }

// MaxTokens returns the most tokens that the answer may take, or 0 where the request does not say. Of several names
// for it (max_completion_tokens replaced max_tokens) the largest that was read counts, as it may have to be paid.
func (p *RequestPeek) MaxTokens() int64 { return p.maxTokens }

// Stream says whether an event stream was asked for, as far as seen.
func (p *RequestPeek) Stream() bool { return p.stream }

// Done says that the rest need not be read: model and a maximum are known, or the body's object has ended or broken.
func (p *RequestPeek) Done() bool { return p.scan.state == afterDocument || p.scan.state == broken }

// Bytes returns how many bytes were pushed in.
func (p *RequestPeek) Bytes() int64 { return p.bytes }

// requestSink takes what the scanner finds in a request.
type requestSink RequestPeek

func (p *requestSink) opened(meaning) {}
func (p *requestSink) closed(meaning) {}

func (p *requestSink) value(is meaning, v value) {
	switch is {
	case modelName:
		p.model.set(v)
	case maxTokens:
		if c := countOf(v); c.state == stated {
			p.maxTokens = max(p.maxTokens, c.n)
		}
	case streamed:
		p.stream = v.kind == literal && string(v.text) == "true"
	}
	if p.model.n > 0 && p.maxTokens > 0 {
		p.scan.state = afterDocument // here, not at the piece's end: what is read must not depend on the pieces
	}
}

// maxModel is the longest model name that is believed, in bytes.
const maxModel = 128

// modelText is a model's name without an allocation.
type modelText struct {
	n    int
	text [maxModel]byte
}

// set takes a model's name, or forgets it where v is no sane one.
func (m *modelText) set(v value) {
	m.n = 0
	if v.kind != text || v.cut || len(v.text) > maxModel {
		return
	}
	for _, c := range v.text {
		if c <= ' ' || c > '~' {
			return
		}
	}
	m.n = copy(m.text[:], v.text)
}

// as returns the name, without an allocation where it is the expected one.
func (m *modelText) as(expected string) string {
	if string(m.text[:m.n]) == expected {
		return expected
	}
	return string(m.text[:m.n])
}

// quotedIn says whether b begins with a colon and the known name in quotes, without blanks.
func (m *modelText) quotedIn(b []byte) bool {
	return len(b) >= m.n+3 && b[0] == ':' && b[1] == '"' && b[m.n+2] == '"' && string(b[2:m.n+2]) == string(m.text[:m.n])
}
