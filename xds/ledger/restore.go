package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
)

// Restoration is a backup that is to take the account's place.
type Restoration struct {
	Records   []store.Record    // of the backup, all of them
	Keys      []KeyConfig       // in force afterwards, in rank order; none: they come by SetKeys
	Documents map[string][]byte // in the place of the backup's
	Audit     audit.Entry       // who does it
}

// Restore puts a backup's account in the place of this one, in one commit, and returns the generation with which filters
// know it. On an error nothing has changed; it wraps store.ErrCorrupt or store.ErrForeign where it is the backup's fault.
//
// The epoch rises, so that filters follow. What living Envoys counted comes back with their next reports. The report
// token, the audit, events and messages, what was told of today, and which Envoys live or were voided stay as they are
// here: a backup knows less of that. No credential that an Envoy may have is ever another's: revisions go on from the
// higher of the two. An account that knows nothing yet takes all from the backup, and goes on from far above.
func (l *Ledger) Restore(ctx context.Context, r Restoration) (generation int64, err error) {
	if err := checkIDs(r.Keys); err != nil {
		return 0, err
	}
	select {
	case l.lead <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-l.lead }()
	l.queueMu.Lock()
	closed := l.closed
	l.queueMu.Unlock()
	if closed {
		return 0, fmt.Errorf("%w: it is closed", ErrUnavailable)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, lines, err := l.successor(ctx, &r)
	if err != nil {
		return 0, err
	}
	if err := n.writeTo(l.store); err != nil {
		l.rewrite, l.storeErr = true, err
		l.stats.StoreFailures++
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.become(n)
	for _, line := range lines {
		l.log.Log(ctx, line.level, line.text, line.attrs...)
	}
	return l.assignment.Generation, nil
}

// writeAll makes what is in memory all that the store has.
func (l *Ledger) writeAll() error {
	if err := l.writeTo(l.store); err != nil {
		return err
	}
	l.rewrite = false
	clear(l.unsure)
	return nil
}

func (l *Ledger) writeTo(s store.Store) error {
	var records []store.Record
	var failed error
	l.each(func(r record) {
		bucket, key := r.place()
		value, err := json.Marshal(r.kept())
		if err != nil {
			failed = err
		}
		records = append(records, store.Record{Bucket: bucket, Key: key, Value: value})
	})
	if failed != nil {
		return failed
	}
	return s.Replace(records)
}

// each calls f with everything that the store keeps.
func (l *Ledger) each(f func(record)) {
	f(l.meta)
	f(l.tokens)
	eachOf(l.credentials, f)
	eachOf(l.incarnations, f)
	eachOf(l.sources, f)
	eachOf(l.gates, f)
	eachOf(l.callers, f)
	eachOf(l.days, f)
	eachOf(l.series, f)
	eachOf(l.crossed, f)
	eachOf(l.findings, f)
	eachOf(l.documents, f)
	for _, e := range l.events {
		f(e)
	}
	for _, n := range l.notices {
		f(n)
	}
	for _, a := range l.audits {
		f(a)
	}
}

func eachOf[K comparable, R record](m map[K]R, f func(record)) {
	for _, r := range m {
		f(r)
	}
}

// memory is a store of records that are only read.
type memory []store.Record

func (m memory) Load(f func(store.Record) error) error {
	for _, r := range m {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}
func (memory) Commit([]store.Record) error  { return nil }
func (memory) Replace([]store.Record) error { return nil }
func (memory) Close() error                 { return nil }

// successor makes the account that is to take this one's place, which it leaves as it is, and what the log is to say then.
func (l *Ledger) successor(ctx context.Context, r *Restoration) (n *Ledger, lines []line, err error) {
	n = empty(Options{
		Store: memory(r.Records), Policy: l.policy, Now: l.now, Mono: l.mono, Clock: l.clock, HistoryDays: l.historyDays, Route: l.route,
	})
	if err := n.load(); err != nil {
		return nil, nil, err
	}
	if n.meta.Epoch == 0 {
		return nil, nil, fmt.Errorf("reading the account: %w: there is none in it", store.ErrForeign)
	}
	m := n.meta
	m.Epoch = max(l.mono().UnixMilli(), l.meta.Epoch+1, m.Epoch+1)
	m.Generation = max(l.meta.Generation, m.Generation)
	m.PushedSum = ""
	if len(l.credentials) == 0 && len(l.incarnations) == 0 {
		n.goOnUnknown()
	} else {
		n.goOnFrom(l)
	}
	n.rings, n.poolRing, n.nodes, n.stats = l.rings, l.poolRing, l.nodes, l.stats
	err = n.do(ctx, func(t *tx) error {
		if len(r.Keys) > 0 {
			t.setKeys(r.Keys)
		}
		for name, value := range r.Documents {
			t.keep(name, value)
		}
		t.audit(r.Audit)
		if err := t.start(); err != nil {
			return err
		}
		before := len(t.lines)
		t.tell(event.Event{Kind: event.Restored, Level: event.Warning, By: r.Audit.Who},
			line{slog.LevelWarn, "The account is that of a backup now; what living Envoys counted since comes back with their usage reports",
				[]any{"epoch", m.Epoch}})
		lines = slices.Clone(t.lines[before:])
		return nil
	})
	return n, lines, err
}

// unknownChanges is more changes of a key than any account saw after a backup of it.
const unknownChanges = 1000

// goOnUnknown goes on where nothing is known of what came after the backup: whatever revision a living Envoy may have, no
// other secret gets it. What was used under one in between counts, as a clear may have made it. Nobody is taken to live:
// what Envoys might spend then says nothing of now.
func (l *Ledger) goOnUnknown() {
	for _, c := range l.credentials {
		c.Revision += unknownChanges
	}
	for inc := range l.living {
		inc.Dead = true
	}
	clear(l.living)
	l.keepFindings(l.findings)
}

// goOnFrom takes over from the account whose place it takes what a backup does not know.
func (l *Ledger) goOnFrom(before *Ledger) {
	m, b := l.meta, before.meta
	m.Announced, m.Summarized = max(m.Announced, b.Announced), max(m.Summarized, b.Summarized)
	m.LastEvent, m.LastNotice, m.LastAudit = max(m.LastEvent, b.LastEvent), max(m.LastNotice, b.LastNotice), max(m.LastAudit, b.LastAudit)
	m.InUse, m.AllOut = b.InUse, b.AllOut
	*l.tokens = *before.tokens
	l.events, l.notices, l.audits = copies(before.events), copies(before.notices), copies(before.audits)
	for id, c := range before.crossed {
		mine := l.crossed[id]
		if mine == nil {
			mine = &crossed{window: id.window, key: id.key}
			l.crossed[id] = mine
		}
		mine.Levels = slices.Compact(slices.Sorted(slices.Values(slices.Concat(mine.Levels, c.Levels))))
		mine.Forecast = mine.Forecast || c.Forecast
	}
	for id, c := range before.credentials {
		l.goOnCredential(id, c)
	}
	l.keepFindings(before.findings)
	for _, inc := range before.incarnations {
		l.goOnIncarnation(inc)
	}
}

// copies returns copies of records.
func copies[T any](records []*T) []*T {
	out := make([]*T, len(records))
	for i, r := range records {
		c := *r
		out[i] = &c
	}
	return out
}

// goOnCredential keeps revisions apart: one with which a key has had another secret is never given to the backup's.
func (l *Ledger) goOnCredential(id string, before *credential) {
	backup := l.credentials[id]
	c := *before
	l.credentials[id] = &c
	if backup == nil {
		return
	}
	if slices.Equal(c.Hash, backup.Hash) {
		c.Earlier = joinEras(c.Earlier, backup.eras())
		c.Revision = max(c.Revision, backup.Revision)
		return
	}
	c.Earlier = joinEras(before.eras(), backup.eras())
	c.Revision = max(before.Revision, backup.Revision) + 1
	c.Base, c.Hash = c.Revision, backup.Hash
}

// keepFindings has those findings that are of credentials in force.
func (l *Ledger) keepFindings(all map[findingID]*finding) {
	kept := map[findingID]*finding{}
	for id, f := range all {
		key, revision, _ := protocol.SplitCredential(id.Credential)
		if c := l.credentials[key]; c != nil && c.Revision == revision {
			copied := *f
			kept[id] = &copied
		}
	}
	l.findings = kept
}

// goOnIncarnation takes over what is known of an Envoy process and of what it may still spend.
func (l *Ledger) goOnIncarnation(before *incarnation) {
	inc := l.incarnations[before.id]
	switch {
	case inc != nil:
	case before.Dead && !before.Voided:
		return // what it counted since the backup is lost
	default:
		inc = &incarnation{id: before.id, started: before.started, sources: map[*source]struct{}{}, incarnationRecord: before.incarnationRecord}
		l.incarnations[inc.id] = inc
	}
	inc.Dead, inc.Voided = before.Dead, before.Voided || inc.Voided
	inc.NoteSeq, inc.LastMS, inc.Panics = max(inc.NoteSeq, before.NoteSeq), max(inc.LastMS, before.LastMS), max(inc.Panics, before.Panics)
	inc.seen, inc.refusedAt, inc.seq, inc.reports, inc.config = before.seen, before.refusedAt, before.seq, before.reports, before.config
	inc.badConfigs, inc.skewMS, inc.toldSkew = before.badConfigs, before.skewMS, before.toldSkew
	inc.conns, inc.offeredAt = maps.Clone(before.conns), l.meta.Generation
	delete(l.living, inc)
	if inc.Voided {
		l.emptyOut(inc)
		return
	}
	if inc.Dead {
		return
	}
	l.living[inc] = struct{}{}
	for s := range inc.sources {
		s.tokens.forfeit(s.spent)
		s.requests.forfeit(s.Requests)
	}
	for s := range before.sources {
		mine := l.sources[s.id]
		if mine == nil {
			if l.folded(s.id.window) {
				continue
			}
			mine = &source{id: s.id, inc: inc, tokens: grant{offered: notOffered}, requests: grant{offered: notOffered}}
			l.sources[s.id] = mine
			inc.sources[mine] = struct{}{}
		}
		mine.tokens.granted, mine.requests.granted = s.tokens.granted, s.requests.granted
	}
}

// emptyOut drops all that an incarnation counted.
func (l *Ledger) emptyOut(inc *incarnation) {
	for s := range inc.sources {
		delete(l.sources, s.id)
	}
	clear(inc.sources)
	maps.DeleteFunc(l.gates, func(id gateID, _ *gate) bool { return id.incarnation == inc.id })
	maps.DeleteFunc(l.callers, func(id gateID, _ *callers) bool { return id.incarnation == inc.id })
}

// become takes over the account of n, which is durable.
func (l *Ledger) become(n *Ledger) {
	l.meta, l.tokens, l.keys, l.byID = n.meta, n.tokens, n.keys, n.byID
	l.credentials, l.incarnations, l.sources, l.gates, l.callers = n.credentials, n.incarnations, n.sources, n.gates, n.callers
	l.days, l.crossed, l.series, l.findings, l.documents = n.days, n.crossed, n.series, n.findings, n.documents
	l.events, l.notices, l.audits, l.living = n.events, n.notices, n.audits, n.living
	l.models, l.tallies, l.usedUntil, l.outlooks = n.models, n.tallies, n.usedUntil, n.outlooks
	l.assignment, l.rewrite, l.storeErr = n.assignment, false, nil
	clear(l.unsure)
	l.token.Store(n.token.Load())
	for _, c := range l.conns {
		bound := map[*incarnation]struct{}{}
		for old := range c.incarnations {
			if inc := l.incarnations[old.id]; inc != nil {
				bound[inc] = struct{}{}
			}
		}
		c.incarnations = bound
	}
	signal(l.changed)
	signal(l.outbox)
}
