package groq

import "unicode/utf8"

// A field is one wanted name of a JSON object. A field with fields of its own wants an object, any other a string,
// number or literal. Trees of fields are constant and at most maxLevel deep.
type field struct {
	name   string
	is     meaning
	fields []field
}

// meaning is what a field's value means to its reader. Fields of different paths may mean the same.
type meaning uint8 // 0: an object that says nothing by itself

// sink takes what a scanner finds, in the order of the bytes. A repeated name is reported each time.
type sink interface {
	opened(meaning)       // a wanted object began
	closed(meaning)       // it ended; never called for one that is cut off
	value(meaning, value) // a wanted value
}

// value is one wanted value. Its text is only valid during the call.
type value struct {
	kind valueKind
	text []byte // a string's contents with escapes decoded, or a literal as written
	cut  bool   // text is only the first captureLimit bytes
}

type valueKind uint8

const (
	literal   valueKind = iota // a number, true, false, null, or whatever stands where they should
	text                       // a string
	composite                  // an object or array where a plain value was wanted
)

const (
	maxLevel     = 6   // open wanted objects, the document included
	captureLimit = 512 // bytes of a value or name that are kept
)

// scanner finds wanted values in a JSON document that is pushed in piece by piece, in constant memory.
//
// It is exact on valid JSON and forgiving on other input: in values that nobody wants it follows only strings and
// brackets (so NaN or a raw line break does no harm), and where a wanted object breaks the grammar it stops.
// The zero value is ready for a document.
type scanner struct {
	state  scanState
	escape uint8            // in a string: 0 plain, 1 after a backslash, 2…5 that many hex digits of \u, less one, to come
	cut    bool             // captured more than fits
	level  uint8            // wanted objects open
	unit   rune             // of the \u escape being read
	depth  int              // brackets open within a value that nobody wants
	length int              // bytes in buf
	open   [maxLevel]*field // the wanted objects that are open
	want   *field           // what the value being read is for; nil: nobody
	buf    [captureLimit]byte
}

type scanState uint8

const (
	beforeDocument scanState = iota
	beforeFirstName
	beforeName
	inName
	beforeColon
	beforeValue
	inText        // a wanted string
	inLiteral     // wanted or not
	inSkippedText // a string that nobody wants
	inSkipped     // an object or array that nobody wants
	afterValue
	afterDocument
	broken
)

// reset makes the scanner ready for another document.
func (s *scanner) reset() {
	s.state, s.escape, s.level, s.depth = beforeDocument, 0, 0, 0
}

// feed reads the next piece of the document and reports to what it finds of root's fields.
func (s *scanner) feed(b []byte, root *field, to sink) {
	for i := 0; i < len(b); {
		switch s.state {
		case inSkipped:
			i += s.skip(b[i:])
		case inSkippedText:
			i += s.skipText(b[i:])
		case inName, inText:
			i += s.capture(b[i:], to)
		case inLiteral:
			i += s.literal(b[i:], to)
		case afterDocument, broken:
			return
		case beforeColon:
			if b[i] == ':' {
				s.state = beforeValue
				i++
				continue
			}
			fallthrough
		default:
			c := b[i]
			if c == '"' && (s.state == beforeName || s.state == beforeFirstName) {
				if n := s.member(b[i:], to); n > 0 {
					i += n
					continue
				}
			}
			if !blank(c) {
				s.punctuation(c, root, to)
			}
			i++
		}
	}
}

// punctuation reads one byte between names and values, or the first of a value.
func (s *scanner) punctuation(c byte, root *field, to sink) {
	switch s.state {
	case beforeValue:
		s.begin(c, to)
		return
	case beforeColon:
		if c == ':' {
			s.state = beforeValue
			return
		}
	case afterValue:
		switch c {
		case ',':
			s.state = beforeName
			return
		case '}':
			s.pop(to)
			return
		}
	case beforeName, beforeFirstName:
		if c == '"' {
			s.state = inName
			s.begun()
			return
		}
		if c == '}' && s.state == beforeFirstName {
			s.pop(to)
			return
		}
	case beforeDocument:
		switch c {
		case '{':
			s.push(root, to)
			return
		case '[':
			s.state, s.depth = inSkipped, 1
			return
		}
	}
	s.state = broken
}

// begin reads the first byte of a value.
func (s *scanner) begin(c byte, to sink) {
	plain := s.want != nil && s.want.fields == nil
	switch c {
	case '"':
		s.state = inSkippedText
		if plain {
			s.state = inText
			s.begun()
		}
	case '{', '[':
		if c == '{' && s.want != nil && !plain {
			s.push(s.want, to)
			return
		}
		s.state, s.depth = inSkipped, 1
		if plain {
			to.value(s.want.is, value{kind: composite})
		}
	case ',', ':', '}', ']':
		s.state = broken
	default:
		s.state = inLiteral
		s.begun()
		s.buf[0], s.length = c, 1
	}
}

// push opens a wanted object.
func (s *scanner) push(f *field, to sink) {
	s.open[s.level] = f
	s.level++
	s.state = beforeFirstName
	to.opened(f.is)
}

// pop closes the innermost open object.
func (s *scanner) pop(to sink) {
	s.level--
	s.state = s.after()
	to.closed(s.open[s.level].is)
}

// after is the state that follows a whole value.
func (s *scanner) after() scanState {
	if s.level == 0 {
		return afterDocument
	}
	return afterValue
}

// begun makes room for a captured name or value.
func (s *scanner) begun() { s.length, s.cut = 0, false }

// keep captures b, as far as there is room.
func (s *scanner) keep(b []byte) {
	n := copy(s.buf[s.length:], b)
	s.length += n
	s.cut = s.cut || n < len(b)
}

// capture reads a part of a name or of a wanted string. It returns how many bytes it read.
func (s *scanner) capture(b []byte, to sink) int {
	if s.escape != 0 {
		s.unescape(b[0])
		return 1
	}
	n := plainRun(b)
	if n == len(b) || b[n] == '\\' {
		s.keep(b[:n])
		if n == len(b) {
			return n
		}
		s.escape = 1
		return n + 1
	}
	captured := b[:n]
	if s.length > 0 || n > captureLimit { // not whole here, or too long
		s.keep(captured)
		captured = s.buf[:s.length]
	}
	if s.state == inName {
		s.want = s.wanted(captured)
		s.state = beforeColon
	} else {
		s.state = afterValue
		to.value(s.want.is, value{text, captured, s.cut})
	}
	return n + 1
}

// wanted returns the field that has this name in the innermost open object, or nil.
func (s *scanner) wanted(name []byte) *field {
	fields := s.open[s.level-1].fields
	for i := range fields {
		if fields[i].name == string(name) {
			return &fields[i]
		}
	}
	return nil
}

// unescape reads one byte of an escape. A surrogate pair becomes two replacement characters: no value that is asked
// for has any.
func (s *scanner) unescape(c byte) {
	if s.escape == 1 {
		s.escape = 0
		switch c {
		case 'u':
			s.escape, s.unit = 5, 0
			return
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case '"', '\\', '/':
		default:
			s.state = broken
			return
		}
		s.keep([]byte{c})
		return
	}
	d := hexDigit(c)
	if d < 0 {
		s.state = broken
		return
	}
	s.unit = s.unit<<4 | d
	if s.escape--; s.escape == 1 {
		s.escape = 0
		var enc [utf8.UTFMax]byte
		s.keep(enc[:utf8.EncodeRune(enc[:], s.unit)])
	}
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// literal reads a part of a number or literal, up to whatever ends it.
func (s *scanner) literal(b []byte, to sink) int {
	n := 0
	for n < len(b) && !endsLiteral[b[n]] {
		n++
	}
	plain := s.want != nil && s.want.fields == nil
	if plain {
		s.keep(b[:n])
	}
	if n < len(b) {
		s.state = afterValue
		if plain {
			to.value(s.want.is, value{literal, s.buf[:s.length], s.cut})
		}
	}
	return n
}

// skip reads a part of an object or array that nobody wants.
func (s *scanner) skip(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch bracket[b[i]] {
		case bracketNone:
		case bracketQuote:
			s.state = inSkippedText
			i += s.skipText(b[i+1:])
		case bracketOpen:
			s.depth++
		case bracketClose:
			if s.depth--; s.depth == 0 {
				s.state = s.after()
				return i + 1
			}
		}
	}
	return len(b)
}

// skipText reads a part of a string that nobody wants. Only its end and backslashes matter: the digits of \u are
// neither.
func (s *scanner) skipText(b []byte) int {
	i := 0
	if s.escape != 0 && len(b) > 0 {
		i, s.escape = 1, 0
	}
	for i < len(b) {
		i += plainRun(b[i:])
		if i == len(b) {
			break
		}
		if b[i] == '"' {
			s.state = inSkipped
			if s.depth == 0 {
				s.state = s.after()
			}
			return i + 1
		}
		if i += 2; i > len(b) {
			s.escape = 1
		}
	}
	return len(b)
}
