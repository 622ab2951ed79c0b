// Package reporter makes usage reports from the account and brings their answers into it.
package reporter

import (
	"keywheel/filter/account"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Identity is what a report says of its sender, beside the account.
type Identity struct {
	Node        string
	Incarnation string
	NowMS       int64  // Keywheel's clock, Unix milliseconds
	HostMS      int64  // the host's
	Config      int64  // generation of the assignment in force
	Mode        string // see protocol.Report

	InForce []protocol.Key // the assignment's keys
}

// Build makes the report of everything since the incarnation began, for yesterday's window to tomorrow's. What does not
// fit into one report, of very many credentials, is in the next ones: counts are cumulative.
func Build(b *account.Book, id Identity) *protocol.Report {
	s := b.Sender()
	r := &protocol.Report{
		Version: protocol.Version, Node: id.Node, Incarnation: id.Incarnation, Seq: s.Seq, NowMS: id.NowMS, HostMS: id.HostMS,
		Epoch: s.Version.Epoch, Generation: s.Version.Generation, Config: id.Config, BadConfigs: b.Refusals(), Panics: b.Panics(), Mode: id.Mode,
	}
	today := quota.WindowAtMS(id.NowMS)
	windows := map[quota.Window]*protocol.WindowUsage{}
	window := func(w quota.Window) *protocol.WindowUsage {
		if w < today-1 || w > today+1 {
			return &protocol.WindowUsage{} // nobody takes it any more
		}
		if windows[w] == nil {
			windows[w] = &protocol.WindowUsage{Window: w.String()}
		}
		return windows[w]
	}
	for w, g := range b.GateUsage(id.NowMS) {
		window(w).Gate = g
	}
	for w, c := range b.Callers() {
		window(w).Callers = c
	}
	now, earlier := split(b, id.InForce, r)
	kept := min(maxUsage/4, sizes(earlier))
	left := take(now, s.Seq, maxUsage-kept, window)
	take(earlier, s.Seq, kept+left, window)
	for w := today - 1; w <= today+1; w++ {
		if windows[w] != nil {
			r.Windows = append(r.Windows, *windows[w])
		}
	}
	for _, f := range b.Findings(id.NowMS) {
		r.Findings = append(r.Findings, protocol.Finding{
			Credential: f.Credential, Org: f.Org, Model: f.Model, Kind: f.Kind, Code: f.Code,
			RemainingMS: f.UntilMS - id.NowMS, AgeMS: max(0, id.NowMS-f.AtMS),
		})
	}
	for _, n := range b.Notes() {
		r.Notes = append(r.Notes, protocol.Note{
			Seq: n.Seq, Kind: n.Kind, Window: n.Window.String(), AgeMS: max(0, id.NowMS-n.AtMS), From: n.From, To: n.To,
			Reason: n.Reason, Ordinal: n.Ordinal, Tokens: n.Tokens,
		})
	}
	return r
}

// skewMS is how far a clock may be off before an answer corrects it: less is the time that the answer took.
const skewMS = 250

// Take brings an answer into the account: allowances, findings, the clock. It returns false where the answer is older
// than what is known, or another process's.
func Take(b *account.Book, a *protocol.Answer, incarnation string, hostMS int64) bool {
	if a.Incarnation != incarnation {
		return false
	}
	v := account.Version{Epoch: a.Epoch, Generation: a.Generation}
	if v.Before(b.Sender().Version) {
		return false
	}
	b.SetAssigned(account.Version{Epoch: a.Epoch, Generation: a.Assignment})
	standing := account.Standing{Clock: a.Clock, Keys: a.Keys}
	old, ok := b.Standing()
	if ok && old.Clock == a.Clock {
		standing.OffsetMS = old.OffsetMS
	}
	off := a.NowMS - (a.Clock.Now(hostMS) + standing.OffsetMS)
	if tolerated := int64(skewMS * max(1, a.Clock.Speed)); off > tolerated || off < -tolerated {
		standing.OffsetMS += off
		if !ok || old.Clock == a.Clock {
			b.ShiftFindings(off) // they were learned by the time that was wrong
		}
	}
	b.SetStanding(standing)
	now := a.Clock.Now(hostMS) + standing.OffsetMS
	allow(b, a, v, quota.WindowAtMS(now))
	var learned []account.Finding
	for _, f := range a.Findings {
		learned = append(learned, account.Finding{
			Credential: f.Credential, Org: f.Org, Model: f.Model, Kind: f.Kind, Code: f.Code,
			UntilMS: now + f.RemainingMS, AtMS: now - f.AgeMS,
		})
	}
	b.Learn(now, learned...)
	return b.UpdateSender(func(s *account.Sender) bool {
		if v.Before(s.Version) {
			return false
		}
		s.Version = v
		return true
	})
}

// allow writes the allowances, all of a credential at once; what has not changed is not written again.
func allow(b *account.Book, a *protocol.Answer, v account.Version, today quota.Window) {
	own := make(map[protocol.CredentialID][]protocol.Allowance, len(a.Allowances)/2)
	for _, x := range a.Allowances {
		own[x.Credential] = append(own[x.Credential], x)
	}
	for credential, allowances := range own {
		b.Update(credential, func(e *account.Entry) bool {
			return v != e.Version() && e.Allow(v, today, allowances)
		})
	}
}
