package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// strict is a body of which some members are never null. The library takes a null for a member that is left out,
// whatever the document says: then a change that somebody meant would silently not be made.
type strict interface{ neverNull() []string }

// formats are the library's, but that bodies are as strict as the document has them.
func formats(library map[string]huma.Format) map[string]huma.Format {
	out := maps.Clone(library)
	for name, format := range out {
		read := format.Unmarshal
		format.Unmarshal = func(data []byte, v any) error {
			if body, ok := v.(strict); ok {
				if err := findNull(data, body.neverNull()); err != nil {
					return err
				}
			}
			return read(data, v)
		}
		out[name] = format
	}
	return out
}

// findNull says which of the members is null in an object.
func findNull(data []byte, members []string) error {
	var object map[string]*json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	for name, value := range object {
		if value == nil && slices.Contains(members, name) { // in other letters it is no member
			return fmt.Errorf("%s: it is null; leave it out to keep what it is", name)
		}
	}
	return nil
}

func (*KeyFields) neverNull() []string {
	return []string{"id", "label", "priority", "tier", "org", "disabled", "models", "thresholds", "secret"}
}
