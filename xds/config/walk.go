package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	groupFix  = "write lines such as name: value below it"
	keysFix   = "write each key's settings below its number, such as 1:"
	routesFix = "write lines such as summary: [log, email] below it"
)

// group takes over the fields of a group, which is of a key if the number is not 0.
func (d *document) group(node *yaml.Node, path string, number int, fields []field) {
	for _, pair := range d.pairs(node, path, groupFix) {
		name, value := pair[0], pair[1]
		f, known := named(fields, name.Value)
		if !known {
			d.strayName(name, path, "there is no such setting", "did you mean "+suggestion(path, fields, name.Value)+"?")
			continue
		}
		d.field(value, below(path, f.name), number, f)
	}
}

func (d *document) field(node *yaml.Node, path string, number int, f field) {
	switch f.kind {
	case group:
		d.group(node, path, number, f.fields)
	case numbered:
		d.keys(node, path, f.fields)
	case routed:
		d.routes(node, path, f)
	case leaf:
		if e, ok := d.value(node, path, f.separator); ok {
			d.entries[f.of(number)] = e
		}
	}
}

// single reads one value; one that is null is empty.
func (d *document) single(node *yaml.Node, path string) (entry, bool) {
	if !d.plain(node, path) {
		return entry{}, false
	}
	if node.Kind != yaml.ScalarNode {
		d.stray(node, path, "it is not one value", "write one value behind its name")
		return entry{}, false
	}
	e := entry{value: node.Value, where: d.where(node), path: path}
	if node.ShortTag() == "!!null" {
		e.value = ""
	}
	return e, true
}

// value reads one value, or a list of several if there is a separator to put them together with. An empty list is an
// empty value.
func (d *document) value(node *yaml.Node, path, separator string) (entry, bool) {
	if node.Kind != yaml.SequenceNode || separator == "" {
		return d.single(node, path)
	}
	e := entry{where: d.where(node), path: path}
	if !d.plain(node, path) {
		return e, false
	}
	for _, item := range node.Content {
		one, ok := d.single(item, path)
		if !ok {
			return e, false
		}
		one.value = strings.TrimSpace(one.value)
		e.items = append(e.items, one)
	}
	e.value = joined(e.items, separator)
	return e, true
}

func joined(items []entry, separator string) string {
	values := make([]string, len(items))
	for i, item := range items {
		values[i] = item.value
	}
	return strings.Join(values, separator)
}

// keys takes over what is said of each key.
func (d *document) keys(node *yaml.Node, path string, fields []field) {
	for _, pair := range d.pairs(node, path, keysFix) {
		name, value := pair[0], pair[1]
		if !keyName.MatchString("GROQ_API_KEY_" + name.Value) {
			d.strayName(name, path, "it is not the number of a key", keysFix)
			continue
		}
		number, _ := strconv.Atoi(name.Value) // the pattern lets only numbers through
		of := fmt.Sprintf("%s[%d]", path, number)
		d.described[number] = entry{path: of, where: d.where(name)}
		d.group(value, of, number, fields)
	}
}

// routes takes over who hears of what. What is said of a level goes before what is said of the event as a whole,
// wherever it stands.
func (d *document) routes(node *yaml.Node, path string, f field) {
	var items []entry
	for _, pair := range d.pairs(node, path, routesFix) {
		if who, ok := d.value(pair[1], path, ","); ok {
			items = append(items, entry{value: pair[0].Value + "=" + cmp.Or(who.value, nobody), where: d.where(pair[0]), path: path})
		}
	}
	if len(items) == 0 {
		return
	}
	slices.SortStableFunc(items, func(a, b entry) int { return leveled(a) - leveled(b) })
	d.entries[f.setting] = entry{value: joined(items, " "), where: d.where(node), path: path, items: items}
}

// leveled is 1 for a route of one level, 0 for one of all.
func leveled(route entry) int {
	event, _, _ := strings.Cut(route.value, "=")
	return strings.Count(event, ".")
}

// checkFile refuses what no field of keywheel.yaml takes, and warns if others can read secrets there.
func (l *loader) checkFile() {
	for _, s := range l.file.strays {
		path, fix := s.at.path, s.fix
		switch {
		case s.name == "":
		case l.unshowable(s.name):
			path, fix = below(path, "…"), "remove it"
		default:
			path = below(path, s.name)
		}
		if path == "" {
			path = l.file.path
		}
		l.problem(path, entry{where: s.at.where}, s.wrong, fix)
	}
	inline := func(name string) bool { return isSecret(name) && l.file.entries[name].value != "" }
	if !slices.ContainsFunc(l.names(), inline) {
		return
	}
	if mode, err := l.opts.FileMode(l.absolute(l.file.path)); err == nil && mode&0o004 != 0 {
		l.warn(l.file.path, "every user of this machine can read the secrets in it; run chmod o-r on it, or give them as secret_file and the like")
	}
}
