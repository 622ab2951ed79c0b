package ledger

import "slices"

// era is the revisions, From to To, in which a key had a secret before its present one.
type era struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	Hash []byte `json:"hash"` // SHA-256 of that secret
}

// maxEras bounds the secrets of a key that are remembered; the oldest go first. Only those of yesterday and today matter.
const maxEras = 64

// counts says whether what was used under a revision was used with the present secret: its usage goes on where it
// stopped, should a secret come back.
func (c *credential) counts(revision uint32) bool {
	if revision >= c.Base {
		return revision <= c.Revision
	}
	return slices.ContainsFunc(c.Earlier, func(e era) bool {
		return revision >= e.From && revision <= e.To && slices.Equal(e.Hash, c.Hash)
	})
}

// eras are all the secrets of the key, with the present one.
func (c *credential) eras() []era {
	return append(slices.Clone(c.Earlier), era{c.Base, c.Revision, c.Hash})
}

// joinEras adds to eras those of others that are not among them.
func joinEras(eras, others []era) []era {
	out := slices.Clone(eras)
	for _, o := range others {
		i := slices.IndexFunc(out, func(e era) bool { return e.From == o.From && slices.Equal(e.Hash, o.Hash) })
		if i < 0 {
			out = append(out, o)
			continue
		}
		out[i].To = max(out[i].To, o.To)
	}
	return out[max(0, len(out)-maxEras):]
}
