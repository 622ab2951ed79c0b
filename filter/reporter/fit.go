package reporter

import (
	"slices"

	"keywheel/filter/account"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// maxUsage is how many bytes of a report credentials' usage takes: half of what the control plane reads, as callers,
// findings and notes need their part.
const maxUsage = 512 << 10

// used is what was used of a credential, by window.
type used struct {
	usage map[quota.Window]protocol.CredentialUsage
}

func (u *used) size() (n int) {
	for w := range u.usage {
		n += size(u.usage[w])
	}
	return n
}

func sizes(all []used) (n int) {
	for i := range all {
		n += all[i].size()
	}
	return n
}

// split returns the credentials that can change, being in force or held by requests in flight, and those that were
// replaced. What is held goes into r.
func split(b *account.Book, inForce []protocol.Key, r *protocol.Report) (now, earlier []used) {
	for _, c := range b.Credentials() {
		e := b.Entry(c)
		u := used{e.Usage(c)}
		tokens, requests := e.Held()
		if requests > 0 {
			r.Reserved = append(r.Reserved, protocol.CredentialUse{Credential: c, Tokens: tokens, Requests: requests})
		}
		if requests > 0 || slices.ContainsFunc(inForce, func(k protocol.Key) bool { return k.Credential == c }) {
			now = append(now, u)
		} else {
			earlier = append(earlier, u)
		}
	}
	return now, earlier
}

// take puts as many credentials into their windows as fit into so many bytes, and returns what is left of these. Where not
// all fit, each report begins elsewhere, so that every credential has its turn.
func take(all []used, seq int64, room int, window func(quota.Window) *protocol.WindowUsage) (left int) {
	first := 0
	if sizes(all) > room {
		first = begin(seq, len(all))
	}
	for i := range all {
		u := &all[(first+i)%len(all)]
		if room -= u.size(); room < 0 {
			return 0
		}
		for w, x := range u.usage {
			to := window(w)
			to.Credentials = append(to.Credentials, x)
		}
	}
	return room
}

// begin spreads the beginnings of successive reports evenly over n places: multiples of the golden ratio, of which any
// few leave no large gap, however many fit into a report.
func begin(seq int64, n int) int {
	const golden = 0x9E3779B97F4A7C15
	return int(uint64(seq) * golden >> 32 * uint64(n) >> 32)
}

// size is how many bytes a credential's usage takes in a report, or a few less than that many.
func size(u protocol.CredentialUsage) int {
	n := 80 + len(u.Credential) + digits(u.Requests)
	for class, count := range u.Attempts {
		n += len(class) + 4 + digits(count)
	}
	for _, count := range u.TimeMS {
		n += 1 + digits(count)
	}
	for i := range u.Models {
		m := &u.Models[i]
		n += 80 + escaped(m.Model) + digits(m.Prompt) + digits(m.Completion) + digits(m.Cached) + digits(m.Total) + digits(m.Estimated)
	}
	return n
}

func digits(n int64) int {
	d := 1
	for ; n > 9; n /= 10 {
		d++
	}
	return d
}

func escaped(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			n += 5
		}
	}
	return n
}
