package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// Peer is where a report came from.
type Peer struct {
	ConnID uint64 // names the connection; 0: none is known
	Local  bool   // a Unix socket or loopback: when its connections close, the process behind them is gone
}

// incoming is a report on its way through the account.
type incoming struct {
	*protocol.Report
	inc      *incarnation
	repeated bool // not newer than one that was taken in, or of another time: its counts alone are taken in
	reserved map[protocol.CredentialID]protocol.CredentialUse
	before   map[*account]used // of the accounts that it changes
	since    time.Time         // from when on it tells of use that no report told of before
	served   bool              // a call was served after the last refusal
}

// used is what an account had spent.
type used struct{ tokens, requests int64 }

// Apply takes a usage report into the account and returns the answer to it. All of it is durable when Apply returns.
// The error wraps ErrBadReport, ErrGone or ErrUnavailable, or is ctx's; with ErrUnavailable, or ctx's, the report may
// have been counted all the same: it is safe to send it again.
func (l *Ledger) Apply(ctx context.Context, peer Peer, r *protocol.Report) (*protocol.Answer, error) {
	if err := validate(r); err != nil {
		l.count(func(s *Stats) { s.Refused++ })
		return nil, err
	}
	inc, err := newIncarnation(r.Incarnation)
	if err != nil {
		l.count(func(s *Stats) { s.Refused++ })
		var c checker
		c.fail("%v", err)
		return nil, c.err
	}
	var answer *protocol.Answer
	end := l.connected(peer)
	err = l.do(ctx, func(t *tx) error {
		a, err := t.apply(peer, inc, r)
		answer = a
		return err
	})
	end(ctx)
	if err != nil {
		return nil, err
	}
	answer.NowMS = l.now().UnixMilli() // not that of before the commit: filters set their clocks by it
	return answer, nil
}

func (l *Ledger) count(f func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.stats)
}

// tooEarly is how much younger than the last folding an unknown incarnation may claim to be and still be refused: the
// clocks of two hosts differ.
const tooEarly = time.Hour

// apply is Apply under the lock. newcomer is used if the incarnation is not known.
func (t *tx) apply(peer Peer, newcomer *incarnation, r *protocol.Report) (*protocol.Answer, error) {
	l := t.l
	inc := l.incarnations[r.Incarnation]
	if inc != nil && inc.Voided {
		l.stats.Refused++
		inc.refusedAt = t.now
		return nil, fmt.Errorf("%w: a person voided this Envoy; start it again to have it counted", ErrGone)
	}
	if inc == nil && l.meta.FoldedAtMS > 0 && newcomer.started.Add(tooEarly).UnixMilli() < l.meta.FoldedAtMS {
		l.stats.Refused++
		return nil, ErrGone
	}
	windows := t.admissible(r)
	if len(windows) == 0 && len(r.Windows) > 0 {
		l.stats.Refused++
		return nil, ErrGone
	}
	if l.window != t.window {
		t.newDay() // before its first usage is told
	}
	t.restored(r)
	if inc == nil {
		inc = t.meet(newcomer, r)
	}
	off := t.off(r)
	in := &incoming{Report: r, inc: inc, repeated: r.Seq <= inc.seq || off, before: map[*account]used{}, since: t.since(inc)}
	if inc.seq > 0 && r.Seq > inc.seq {
		l.stats.Missed += r.Seq - inc.seq - 1
	}
	save(t, inc)
	inc.seq = max(inc.seq, r.Seq)
	t.revive(inc)
	if err := t.merge(in, windows); err != nil {
		l.stats.Refused++
		return nil, err
	}
	if !in.repeated {
		t.acknowledged(in)
	}
	t.cross(in)
	t.learn(in)
	t.takeNotes(in)
	t.backAgain(in)
	t.tellSkew(in)
	t.tellRefused(in)
	t.tellPanics(in)
	answer := &protocol.Answer{
		Version: protocol.Version, Epoch: l.meta.Epoch, Incarnation: r.Incarnation, NowMS: t.now.UnixMilli(), Clock: l.clock(),
		Allowances: t.offers(inc), Findings: l.inForce(t.now),
	}
	answer.Generation, answer.Assignment = max(inc.offeredAt, l.assignment.Generation), l.assignment.Generation
	now := t.now
	t.after = append(t.after, func() { answer.Keys = l.keyStates(now) }) // this report's traffic included
	t.reported(in, peer)
	return answer, nil
}

// maxOff is how far a filter's time may be from ours. Answers set it right, so it is only a new process's for a moment;
// else it is a report that was kept, and is sent again.
const maxOff = 5 * time.Minute

// off says whether a report's time is not ours, so that what it learned, and how long ago, says nothing of now.
func (t *tx) off(r *protocol.Report) bool {
	if r.NowMS == 0 || time.UnixMilli(r.NowMS).Sub(t.now).Abs() <= maxOff {
		return false
	}
	t.l.stats.Clamped++
	return true
}

// admissible returns the windows of a report that can still be counted, with their names read.
func (t *tx) admissible(r *protocol.Report) map[quota.Window]*protocol.WindowUsage {
	windows := map[quota.Window]*protocol.WindowUsage{}
	for i := range r.Windows {
		w, err := quota.ParseWindow(r.Windows[i].Window)
		if err != nil || w < t.window-1 || w > t.window+1 || t.l.folded(w) {
			t.l.stats.OldWindows++
			continue
		}
		windows[w] = &r.Windows[i]
	}
	return windows
}

// folded says whether a window's sources are gone, so that nothing can be counted in it any more.
func (l *Ledger) folded(w quota.Window) bool {
	return l.meta.FoldedThrough != "" && w.String() <= l.meta.FoldedThrough // dates sort as text
}

// maxAhead is how far ahead of the host's clock an epoch is believed.
const maxAhead = 24 * time.Hour

// restored raises the epoch where a filter has seen a newer state than this: then the store is a restored backup, and
// what filters hold of its future must not outrank what it says now.
func (t *tx) restored(r *protocol.Report) {
	m := t.l.meta
	if r.Epoch < m.Epoch || r.Epoch == m.Epoch && r.Generation <= m.Generation {
		return
	}
	if r.Epoch > t.mono.Add(maxAhead).UnixMilli() {
		return
	}
	change(t, m)
	m.Epoch = max(t.mono.UnixMilli(), r.Epoch+1)
	t.stale = true
	t.goBeyond(r)
	t.l.stats.StoreRestored++
	t.tell(event.Event{Kind: event.Restored, Level: event.Warning, Node: r.Node, Detail: "the store seems to be a copy of before"},
		line{slog.LevelWarn, "Envoy knows a newer account than the store, which seems to be a copy of before; counts come back with the usage reports",
			[]any{"node", r.Node}})
}

// goBeyond gives keys a revision that no report has named: under those that this store does not know filters may have
// other secrets.
func (t *tx) goBeyond(r *protocol.Report) {
	l := t.l
	highest := map[*key]uint32{}
	for i := range r.Windows {
		for _, u := range r.Windows[i].Credentials {
			_, revision, _ := protocol.SplitCredential(u.Credential)
			if k := l.keyOf(u.Credential); k != nil && revision < math.MaxUint32-unknownChanges {
				highest[k] = max(highest[k], revision)
			}
		}
	}
	t.rearrange(func() {
		for k, revision := range highest {
			t.setCredential(k.ID, max(revision, k.cred.Revision)+1, k.cred.Base, k.cred.Hash)
		}
		l.arrange(l.configs())
	})
}

// meet takes down an incarnation that was not known.
func (t *tx) meet(inc *incarnation, r *protocol.Report) *incarnation {
	put(t, t.l.incarnations, inc.id, inc)
	t.undo = append(t.undo, func() { inc.gone = true })
	change(t, inc)
	inc.Node, inc.FirstMS, inc.LastMS = r.Node, t.now.UnixMilli(), t.now.UnixMilli()
	inc.Dead = true // until revive, which counts it in
	inc.met = true
	t.log(slog.LevelInfo, "Envoy connected", "node", r.Node, "incarnation", inc.id)
	return inc
}

// A clock of Envoy's that is further from ours than FarOff is told of, once until it is as near as closeBy again.
const (
	FarOff  = 30 * time.Second
	closeBy = 20 * time.Second
)

// tellSkew tells once of an Envoy whose clock is far from ours. Nothing depends on it but its own logs and certificates.
func (t *tx) tellSkew(in *incoming) {
	inc := in.inc
	if in.repeated {
		return
	}
	skew := time.UnixMilli(in.HostMS).Sub(t.mono)
	switch {
	case skew.Abs() <= closeBy:
		inc.toldSkew = false
	case skew.Abs() > FarOff && !inc.toldSkew:
		inc.toldSkew = true
		t.tell(event.Event{Kind: event.ClockSkew, Level: event.Warning, Node: inc.Node, SkewS: int64(skew.Seconds())},
			line{slog.LevelWarn, "Envoy's clock is far from ours", []any{"node", inc.Node, "ahead", skew.Round(time.Second).String()}})
	}
}

// tellRefused tells that an Envoy got a configuration which it could not use. What it refused before this control plane
// began is known.
func (t *tx) tellRefused(in *incoming) {
	inc := in.inc
	known := inc.reports > 0 || inc.met
	if in.repeated || !known || in.BadConfigs <= inc.badConfigs {
		return
	}
	const reason = "the filter could not use it; Envoy's log says why"
	t.tell(event.Event{Kind: event.Rejected, Level: event.Warning, Node: inc.Node, Detail: reason},
		line{slog.LevelWarn, "Envoy refused the assignment; the last good one stays in force", []any{"node", inc.Node, "reason", reason}})
}

// tellPanics takes down how often an Envoy's filter met a bug, and tells the first one: a caller may be able to cause one
// with each call.
func (t *tx) tellPanics(in *incoming) {
	l, inc := t.l, in.inc
	before := inc.Panics
	if in.Panics <= before {
		return
	}
	change(t, inc).Panics = in.Panics
	t.after = append(t.after, func() { l.stats.Panics += in.Panics - before })
	if before == 0 {
		t.tell(event.Event{Kind: event.Panicked, Level: event.Warning, Node: inc.Node, Detail: fmt.Sprintf("%d so far; Envoy's log says where", in.Panics)},
			line{slog.LevelWarn, "Envoy's filter met a bug, which costs the call that meets it; please report what Envoy's log says",
				[]any{"node", inc.Node, "bugs", in.Panics}})
	}
}

// reported takes down, once all is durable, what is only of interest until the next report.
func (t *tx) reported(in *incoming, peer Peer) {
	l, inc, mono, now := t.l, in.inc, t.mono, t.now
	t.after = append(t.after, func() {
		l.stats.Reports++
		inc.reports++
		inc.seen, inc.reportedAt = mono, now
		l.bind(peer, inc)
		if in.repeated {
			l.stats.Repeated++
			return
		}
		inc.config, inc.badConfigs = in.Config, in.BadConfigs
		inc.gateOnly = in.Mode == protocol.ModeGateOnly
		inc.skewMS = in.HostMS - mono.UnixMilli()
		inc.generation = 0
		if in.Epoch == l.meta.Epoch {
			inc.generation = in.Generation
		}
	})
}
