package groq

// member reads a name with its value, and the comma after it, where all of it is here and has no blanks, no escapes and no
// brackets, as most members do. It returns how many bytes it read; 0: it is not so, and was not read.
func (s *scanner) member(b []byte, to sink) int {
	colon := 2 + plainRun(b[1:])
	if colon+1 >= len(b) || colon > captureLimit || b[colon-1] != '"' || b[colon] != ':' {
		return 0
	}
	start, kind := colon+1, literal
	end := start
	switch c := b[start]; {
	case c == '"':
		kind = text
		start++
		if end = start + plainRun(b[start:]); end >= len(b) || b[end] != '"' {
			return 0
		}
	default:
		for end < len(b) && !endsLiteral[b[end]] {
			end++
		}
		if end == start || end == len(b) {
			return 0
		}
	}
	f := s.wanted(b[1 : colon-1])
	plain := f != nil && f.fields == nil
	if plain && end-start > captureLimit {
		return 0
	}
	s.want, s.state = f, afterValue
	n := end
	if kind == text {
		n++
	}
	if n < len(b) && b[n] == ',' {
		s.state = beforeName
		n++
	}
	if plain {
		to.value(f.is, value{kind: kind, text: b[start:end]}) // which may end the document
	}
	return n
}
