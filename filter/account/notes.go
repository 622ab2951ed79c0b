package account

import (
	"keywheel/filter/record"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// maxNotes is how many notes are kept for the reports; older ones go.
const maxNotes = 64

// Note is something that happened, for log lines and rotations only.
type Note struct {
	Seq      int64
	Kind     protocol.NoteKind
	Window   quota.Window
	AtMS     int64
	From, To protocol.CredentialID
	Reason   string
	Ordinal  int64
	Tokens   int64
}

// Note keeps n for the reports and numbers it.
func (k *Book) Note(n Note) {
	update(k.data, notesName, func(old []byte) []byte {
		notes := readNotes(old)
		n.Seq = 1
		if len(notes) > 0 {
			n.Seq = notes[len(notes)-1].Seq + 1
		}
		notes = append(notes, n)
		var out []byte
		for _, n := range notes[max(0, len(notes)-maxNotes):] {
			out = le.AppendUint64(out, uint64(n.Seq))
			out = le.AppendUint32(out, uint32(n.Window))
			out = le.AppendUint64(out, uint64(n.AtMS))
			out = le.AppendUint64(out, uint64(n.Ordinal))
			out = le.AppendUint64(out, uint64(n.Tokens))
			for _, s := range [...]string{string(n.Kind), n.From, n.To, n.Reason} {
				out = record.AppendString(out, s)
			}
		}
		return out
	})
}

// Notes returns the kept notes, oldest first.
func (k *Book) Notes() []Note {
	b, _, _ := k.data.Get(notesName)
	return readNotes(b)
}

func readNotes(b []byte) []Note {
	var out []Note
	for r := (record.Reader{Rest: b}); r.More(); {
		n := Note{
			Seq: r.Int64(), Window: quota.Window(r.Uint32()), AtMS: r.Int64(), Ordinal: r.Int64(), Tokens: r.Int64(),
			Kind: protocol.NoteKind(r.String()), From: r.String(), To: r.String(), Reason: r.String(),
		}
		if r.Bad {
			break
		}
		out = append(out, n)
	}
	return out
}
