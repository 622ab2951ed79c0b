package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	configSetting = "KEYWHEEL_CONFIG" // names another file than keywheel.yaml
	defaultConfig = "keywheel.yaml"
)

// document is what keywheel.yaml says.
type document struct {
	path      string           // of the file, as it is named
	entries   map[string]entry // by setting
	described map[int]entry    // where each key is
	strays    []stray
}

// stray is what no field takes.
type stray struct {
	at    entry  // its path is that of the group if there is a name
	name  string // as it is written there, which may be anything; empty: at has the whole path
	wrong string
	fix   string
}

// readDocument reads keywheel.yaml. If it does not exist it is an empty one, unless it was asked for by name. The problem
// never repeats what the file holds.
func (l *loader) readDocument() (document, *Problem) {
	d := document{path: defaultConfig, entries: map[string]entry{}, described: map[int]entry{}}
	e, byName := l.lookup(configSetting)
	if byName {
		d.path = e.value
	}
	refused := func(wrong, fix string) (document, *Problem) {
		if byName {
			return d, &Problem{Name: configSetting, Wrong: "the file " + wrong, Fix: fix, Where: e.where}
		}
		return d, &Problem{Name: d.path, Wrong: "it " + wrong, Fix: fix}
	}
	if l.holdsSecret(d.path) {
		return d, &Problem{Name: configSetting, Wrong: "it looks like a key", Fix: "write the path of a file of settings", Where: e.where}
	}
	content, err := l.read(l.absolute(d.path))
	switch {
	case !byName && errors.Is(err, fs.ErrNotExist):
		return d, nil
	case err != nil:
		return refused("cannot be read: "+reason(err), "make it readable, or leave it out")
	case len(content) > maxSettings:
		return refused(fmt.Sprintf("is larger than %d bytes", maxSettings), "keep only settings in it")
	}
	root, line, wrong := parseYAML(content)
	if wrong != "" {
		return d, &Problem{Name: d.place(line), Wrong: wrong, Fix: "write settings as examples/keywheel.yaml does"}
	}
	if root != nil {
		d.group(root, "", 0, fileFields)
	}
	return d, nil
}

// yamlError is how the parser says what is wrong, and where if it is not the first line.
var yamlError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// parseYAML reads the one document of a file; nil if it is empty. wrong says what is wrong, and line where; 0: unknown.
func parseYAML(content []byte) (root *yaml.Node, line int, wrong string) {
	defer func() {
		if recover() != nil { // the parser gives up so on what its authors thought impossible; a bad edit must end nothing
			root, line, wrong = nil, 0, "it is not YAML"
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) {
		return nil, 0, ""
	}
	if err == nil {
		err = decoder.Decode(&second)
		switch {
		case errors.Is(err, io.EOF):
			return first.Content[0], 0, ""
		case err == nil:
			return nil, second.Line, "another document begins here"
		}
	}
	line, wrong = explain(err)
	return nil, min(line, 1+bytes.Count(bytes.TrimRight(content, "\n"), []byte("\n"))), wrong
}

// explain takes what the parser says apart.
func explain(err error) (line int, wrong string) {
	wrong = "it is not YAML"
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil || strings.Contains(m[2], "anchor") { // that text repeats the file
		return 0, wrong
	}
	line, _ = strconv.Atoi(m[1])
	if strings.HasPrefix(m[2], "did not find expected") { // the parser's half of the library counts from 0, the scanner's from 1
		line++
	}
	return line, wrong + ": " + m[2]
}

// place is a line of the file; 0: the file.
func (d *document) place(line int) string {
	if line == 0 {
		return d.path
	}
	return fmt.Sprintf("%s:%d", d.path, line)
}

func (d *document) where(node *yaml.Node) string { return d.place(node.Line) }

// stray notes what no field takes: a node at a path.
func (d *document) stray(node *yaml.Node, path, wrong, fix string) {
	d.strays = append(d.strays, stray{at: entry{path: path, where: d.where(node)}, wrong: wrong, fix: fix})
}

// strayName notes a name that no field of the group at path has.
func (d *document) strayName(name *yaml.Node, path, wrong, fix string) {
	d.strays = append(d.strays, stray{at: entry{path: path, where: d.where(name)}, name: name.Value, wrong: wrong, fix: fix})
}

// plain says whether a node is written without what YAML has beyond names, values and lists, and notes if it is not.
func (d *document) plain(node *yaml.Node, path string) bool {
	switch {
	case node.Kind == yaml.AliasNode:
		d.stray(node, path, "it is an alias of something elsewhere in the file", "write it out")
	case node.Style&yaml.TaggedStyle != 0:
		d.stray(node, path, "it has a tag", "write it without what begins with !")
	default:
		return true
	}
	return false
}

// pairs are the names and values of a mapping. Nothing written is an empty one.
func (d *document) pairs(node *yaml.Node, path, fix string) (pairs [][2]*yaml.Node) {
	if !d.plain(node, path) || node.ShortTag() == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		d.stray(node, path, "it has no settings below it", fix)
		return nil
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		switch {
		case name.Kind != yaml.ScalarNode:
			d.stray(name, path, "a name in it is not one word", fix)
		case seen[name.Value]:
			d.strayName(name, path, "it stands there twice", "remove one of the two")
		default:
			seen[name.Value] = true
			pairs = append(pairs, [2]*yaml.Node{name, value})
		}
	}
	return pairs
}
