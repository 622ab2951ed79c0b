package config

import (
	"cmp"
	"strings"
)

// entry is a value and where it was set.
type entry struct {
	value string
	where string  // "file:line"; empty: the environment
	path  string  // in keywheel.yaml; empty: it is not from there
	items []entry // what value was put together from, if it was written as a list
}

// called is what messages call the setting: by its path if it is from keywheel.yaml.
func (e entry) called(name string) string { return cmp.Or(e.path, name) }

// list returns the entries of a list: those that were written one by one, or what stands between commas.
func (e entry) list() []entry {
	if e.items != nil {
		return e.items
	}
	var list []entry
	for part := range strings.SplitSeq(e.value, ",") {
		list = append(list, entry{value: strings.TrimSpace(part), where: e.where, path: e.path})
	}
	return list
}
