package picker

import (
	"slices"

	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

// among returns where the keys that may be asked stand: all of them, or the one that the request wants. ok is false where
// there is no such key.
func (p *Picker) among(r Request) (from, to int, ok bool) {
	if r.Only == "" {
		return 0, len(p.a.Keys), true
	}
	i, ok := p.byID[r.Only]
	return i, i + 1, ok
}

// serves says whether a key may be used for the request's model. A model that was not seen may be any.
func serves(k *protocol.Key, r Request) bool {
	return len(k.Models) == 0 || r.Need == 0 || !r.Blind && r.Model != trail.UnknownModel && slices.Contains(k.Models, r.Model)
}
