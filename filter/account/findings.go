package account

import (
	"slices"

	"keywheel/filter/record"
	"keywheel/shared/protocol"
)

// maxFindings bounds what is remembered; the one that ends first goes.
const maxFindings = 256

// echoMS is how much later a finding must end to be news: less is the time that a report and its answer took.
const echoMS = 500

// Finding is something learned about a credential or its organization, in force until UntilMS.
type Finding struct {
	Credential protocol.CredentialID // whose answer taught it
	Org        string
	Model      string // empty: every model
	Kind       protocol.FindingKind
	Code       string
	UntilMS    int64 // Unix milliseconds, by Keywheel's clock
	AtMS       int64
}

// same says whether two findings are of the same thing, so that the newer replaces the older.
func (f Finding) same(o Finding) bool {
	return f.Kind == o.Kind && f.Org == o.Org && f.Model == o.Model && (f.Credential == o.Credential || f.Kind != protocol.Invalid)
}

// Findings returns what is in force at now.
func (k *Book) Findings(nowMS int64) []Finding {
	b, _, _ := k.data.Get(findingsName)
	if len(b) == 0 {
		return nil
	}
	return inForce(readFindings(b), nowMS)
}

func inForce(fs []Finding, nowMS int64) []Finding {
	return slices.DeleteFunc(fs, func(f Finding) bool { return f.UntilMS <= nowMS })
}

// Learn takes findings over. Of two about the same thing the one that holds longer stays: an answer of Groq's that
// names a later time knows more, and a report's echo of one's own finding changes nothing.
func (k *Book) Learn(nowMS int64, learned ...Finding) {
	if len(learned) == 0 {
		return
	}
	update(k.data, findingsName, func(old []byte) []byte {
		fs := inForce(readFindings(old), nowMS)
		changed := false
		for _, n := range learned {
			if n.UntilMS <= nowMS {
				continue
			}
			i := slices.IndexFunc(fs, n.same)
			switch {
			case i < 0:
				fs = append(fs, n)
			case fs[i].UntilMS+echoMS >= n.UntilMS && !outdated(fs[i].Credential, n.Credential):
				continue
			default:
				fs[i] = n
			}
			changed = true
		}
		if !changed {
			return nil
		}
		if len(fs) > maxFindings {
			slices.SortFunc(fs, func(a, b Finding) int { return int(min(1, max(-1, b.UntilMS-a.UntilMS))) })
			fs = fs[:maxFindings]
		}
		return appendFindings(fs)
	})
}

// ShiftFindings moves what was learned by so many milliseconds, where the clock by which it was learned was found to be off.
func (k *Book) ShiftFindings(ms int64) {
	update(k.data, findingsName, func(old []byte) []byte {
		fs := readFindings(old)
		if len(fs) == 0 {
			return nil
		}
		for i := range fs {
			fs[i].UntilMS += ms
			fs[i].AtMS += ms
		}
		return appendFindings(fs)
	})
}

// outdated says whether old is an earlier revision of the same key.
func outdated(old, by protocol.CredentialID) bool {
	a, before, ok := protocol.SplitCredential(old)
	b, after, also := protocol.SplitCredential(by)
	return ok && also && a == b && before < after
}

func appendFindings(fs []Finding) []byte {
	out := []byte{}
	for _, f := range fs {
		out = le.AppendUint64(out, uint64(f.UntilMS))
		out = le.AppendUint64(out, uint64(f.AtMS))
		for _, s := range [...]string{f.Credential, f.Org, f.Model, string(f.Kind), f.Code} {
			out = record.AppendString(out, s)
		}
	}
	return out
}

func readFindings(b []byte) []Finding {
	var out []Finding
	for r := (record.Reader{Rest: b}); r.More(); {
		f := Finding{
			UntilMS: r.Int64(), AtMS: r.Int64(), Credential: r.String(), Org: r.String(), Model: r.String(),
			Kind: protocol.FindingKind(r.String()), Code: r.String(),
		}
		if r.Bad {
			break
		}
		out = append(out, f)
	}
	return out
}
