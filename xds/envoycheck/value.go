package envoycheck

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value is one value of the file and where it is written. The zero value is one that is not there, and so is null: every
// question about it has an answer.
type value struct{ node *yaml.Node }

// What is walked through at most; a file that goes beyond it repeats itself by anchors.
const (
	maxDepth  = 100
	maxWalked = 200_000
	maxHops   = 10 // from one anchor to the next
)

// valueOf follows documents and anchors to what is really there.
func valueOf(n *yaml.Node) value {
	for range maxHops {
		switch {
		case n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null":
			return value{}
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
			n = n.Content[0]
		default:
			return value{n}
		}
	}
	return value{}
}

func (v value) exists() bool { return v.node != nil }

// line is the line in which the value begins, from 1; 0 if it is not there.
func (v value) line() int {
	if v.node == nil {
		return 0
	}
	return v.node.Line
}

// entry is one field of an object.
type entry struct {
	key string
	value
}

// entries are an object's fields, in the order of the file. Those that Envoy is told to ignore are left out.
func (v value) entries() []entry {
	if v.node == nil || v.node.Kind != yaml.MappingNode {
		return nil
	}
	var found []entry
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if key := v.node.Content[i]; key.Tag != "!ignore" {
			found = append(found, entry{key.Value, valueOf(v.node.Content[i+1])})
		}
	}
	return found
}

// key is the value of a map under this very key.
func (v value) key(name string) value {
	for _, e := range v.entries() {
		if e.key == name {
			return e.value
		}
	}
	return value{}
}

// at goes down by names of fields, which may be written as in protobuf (http_filters) or as in its JSON (httpFilters).
func (v value) at(path ...string) value {
	for _, name := range path {
		next := value{}
		for _, e := range v.entries() {
			if e.key == name || snake(e.key) == name {
				next = e.value
				break
			}
		}
		v = next
	}
	return v
}

// snake writes a field's name as protobuf does.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// items are a list's elements.
func (v value) items() []value {
	if v.node == nil || v.node.Kind != yaml.SequenceNode {
		return nil
	}
	found := make([]value, 0, len(v.node.Content))
	for _, n := range v.node.Content {
		found = append(found, valueOf(n))
	}
	return found
}

// text is a scalar as it is written, and empty for everything else.
func (v value) text() string {
	if v.node == nil || v.node.Kind != yaml.ScalarNode {
		return ""
	}
	return v.node.Value
}

// number is a scalar's number. ok is false where there is none.
func (v value) number() (n float64, ok bool) {
	n, err := strconv.ParseFloat(strings.ReplaceAll(v.text(), "_", ""), 64)
	return n, err == nil
}

// isTrue says whether the value is there and true.
func (v value) isTrue() bool { return strings.EqualFold(v.text(), "true") }

// isOneOf says whether the value is one of these names or numbers of an enumeration.
func (v value) isOneOf(names ...string) bool { return v.exists() && slices.Contains(names, v.text()) }

// duration is a protobuf duration, such as 0.025s. ok is false where there is none.
func (v value) duration() (d time.Duration, ok bool) {
	number, found := strings.CutSuffix(v.text(), "s")
	seconds, err := strconv.ParseFloat(number, 64)
	if !found || err != nil || seconds < 0 || seconds > 1e9 {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// anyType is a typed configuration's message, such as envoy.extensions.filters.http.router.v3.Router, and its fields.
// A TypedStruct is looked into.
func (v value) anyType() (message string, fields value) {
	message = v.at("@type").text()
	message = message[strings.LastIndexByte(message, '/')+1:]
	if strings.HasSuffix(message, ".v3.TypedStruct") || strings.HasSuffix(message, ".v1.TypedStruct") {
		message = v.at("type_url").text()
		return message[strings.LastIndexByte(message, '/')+1:], v.at("value")
	}
	return message, v
}

// walk calls visit with the value and everything in it, and the name of the field that each stands in.
func (v value) walk(visit func(field string, v value)) {
	left := maxWalked
	v.walkDown("", maxDepth, &left, visit)
}

func (v value) walkDown(field string, depth int, left *int, visit func(string, value)) {
	if v.node == nil || depth == 0 || *left == 0 {
		return
	}
	*left--
	visit(field, v)
	for _, e := range v.entries() {
		e.walkDown(snake(e.key), depth-1, left, visit)
	}
	for _, item := range v.items() {
		item.walkDown(field, depth-1, left, visit)
	}
}

// canonical writes the value so that two that mean the same are the same, whatever names and order they are written in.
func (v value) canonical() string {
	var lines []string
	left := maxWalked
	v.canonicalDown("", maxDepth, &left, &lines)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (v value) canonicalDown(path string, depth int, left *int, lines *[]string) {
	if v.node == nil || depth == 0 || *left == 0 {
		return
	}
	*left--
	for _, e := range v.entries() {
		e.canonicalDown(path+"."+snake(e.key), depth-1, left, lines)
	}
	for i, item := range v.items() {
		item.canonicalDown(path+"."+strconv.Itoa(i), depth-1, left, lines)
	}
	if text := v.text(); text != "" {
		*lines = append(*lines, fmt.Sprintf("%s=%s", path, text))
	}
}
