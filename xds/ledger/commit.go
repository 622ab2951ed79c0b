package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/ledger/store"
)

// op is a change that waits for its turn.
type op struct {
	run  func(*tx) error
	err  error
	done chan struct{}
}

// do runs a change and returns when it is durable, or was not made. Changes that wait at the same time share one
// commit: whoever comes to lead runs all that wait.
//
// run must return an error before it changes anything, or leave the undoing to the tx. An error of the store's wraps
// ErrUnavailable.
func (l *Ledger) do(ctx context.Context, run func(*tx) error) error {
	o := &op{run: run, done: make(chan struct{})}
	l.queueMu.Lock()
	if l.closed {
		l.queueMu.Unlock()
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	}
	l.queue = append(l.queue, o)
	l.queueMu.Unlock()
	select {
	case <-o.done:
	case l.lead <- struct{}{}:
		l.runQueue()
		<-o.done
	case <-ctx.Done():
		if l.withdraw(o) {
			return ctx.Err()
		}
		<-o.done
	}
	return o.err
}

// withdraw takes a change out of the queue and says whether it was still there.
func (l *Ledger) withdraw(o *op) bool {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	i := slices.Index(l.queue, o)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

// runQueue runs all that wait, in one commit. The caller leads.
func (l *Ledger) runQueue() {
	l.queueMu.Lock()
	batch := l.queue
	l.queue = nil
	l.queueMu.Unlock()
	defer func() {
		for _, o := range batch {
			close(o.done)
		}
		<-l.lead
	}()
	if len(batch) > 0 {
		for _, line := range l.runBatch(batch) {
			l.log.Log(context.Background(), line.level, line.text, line.attrs...)
		}
	}
}

// runBatch runs and commits changes, and returns what is to be logged of them.
func (l *Ledger) runBatch(batch []*op) []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &tx{l: l, saved: map[any]struct{}{}, dirty: map[record]struct{}{}, accounts: map[*account]struct{}{}}
	committed := false
	defer func() {
		if !committed { // the store failed, or a change did not return
			t.rollback(mark{})
			for _, o := range batch {
				if o.err == nil {
					o.err = ErrUnavailable
				}
			}
		}
	}()
	for _, o := range batch {
		at := t.begin()
		if o.err = o.run(t); o.err != nil {
			t.rollback(at)
		}
	}
	t.begin()
	t.reassign()
	if err := l.commit(t); err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		for _, o := range batch {
			if o.err == nil {
				o.err = err
			}
		}
		return l.storeFailed(err)
	}
	committed = true
	for _, f := range t.after {
		f()
	}
	if t.pushed {
		signal(l.changed)
	}
	if t.noticed {
		signal(l.outbox)
	}
	return append(l.storeWorks(), t.lines...)
}

// commit writes what changed, and what an earlier commit that failed may have written all the same.
func (l *Ledger) commit(t *tx) error {
	if l.rewrite {
		return l.writeAll()
	}
	if len(t.dirty) == 0 && len(l.unsure) == 0 {
		return nil
	}
	type place struct{ bucket, key string }
	values := map[place][]byte{}
	for _, set := range []map[record]struct{}{l.unsure, t.dirty} {
		for r := range set {
			bucket, key := r.place()
			at := place{bucket, key}
			kept := r.kept()
			if kept == nil {
				if values[at] == nil { // a record that came in its place stays
					values[at] = nil
				}
				continue
			}
			b, err := json.Marshal(kept)
			if err != nil {
				return err
			}
			values[at] = b
		}
	}
	writes := make([]store.Record, 0, len(values))
	for at, value := range values {
		writes = append(writes, store.Record{Bucket: at.bucket, Key: at.key, Value: value})
	}
	if err := l.store.Commit(writes); err != nil {
		for r := range t.dirty {
			l.unsure[r] = struct{}{}
		}
		return err
	}
	clear(l.unsure)
	return nil
}

// storeFailed and storeWorks say once that the store went away, and that it is back.
func (l *Ledger) storeFailed(err error) []line {
	first := l.storeErr == nil
	l.stats.StoreFailures++
	l.storeErr = err
	if !first {
		return nil
	}
	return []line{{slog.LevelError, "The ledger cannot be written; usage reports wait in Envoy until it can", []any{"error", err}}}
}

func (l *Ledger) storeWorks() []line {
	if l.storeErr == nil {
		return nil
	}
	l.storeErr = nil
	return []line{{slog.LevelInfo, "The ledger can be written again", nil}}
}

// tx is a batch of changes in memory that will be committed together. Its lock is the ledger's.
type tx struct {
	l      *Ledger
	now    time.Time    // the ledger's time, of the change that runs
	window quota.Window // that it falls into
	mono   time.Time

	undo     []func()
	saved    map[any]struct{} // by the change that runs
	dirty    map[record]struct{}
	accounts map[*account]struct{} // that changed
	after    []func()              // to run once all is durable
	lines    []line

	members bool  // the set of living incarnations changed
	stale   bool  // the assignment may have changed
	pushed  bool  // it has
	noticed bool  // there are new notifications
	raised  int64 // the generation that the running change made; 0: none
}

// line is a log line that waits for the commit.
type line struct {
	level slog.Level
	text  string
	attrs []any
}

// mark is a place to go back to.
type mark struct{ undo, after, lines int }

// begin starts a change.
func (t *tx) begin() mark {
	clear(t.saved)
	t.now, t.mono, t.raised = t.l.now(), t.l.mono(), 0
	t.window = quota.WindowAt(t.now)
	return mark{len(t.undo), len(t.after), len(t.lines)}
}

// rollback undoes everything since a mark.
func (t *tx) rollback(to mark) {
	for i := len(t.undo) - 1; i >= to.undo; i-- {
		t.undo[i]()
	}
	t.undo, t.after, t.lines = t.undo[:to.undo], t.after[:to.after], t.lines[:to.lines]
}

// generation returns a generation of the running change's own.
func (t *tx) generation() int64 {
	if t.raised == 0 {
		m := change(t, t.l.meta)
		m.Generation++
		t.raised = m.Generation
	}
	return t.raised
}

func (t *tx) log(level slog.Level, text string, attrs ...any) {
	t.lines = append(t.lines, line{level, text, attrs})
}

// save remembers what p points to, before the running change changes it. Maps and slices in it are not copied: they
// are replaced, never changed in place.
func save[T any](t *tx, p *T) {
	if _, ok := t.saved[p]; ok {
		return
	}
	t.saved[p] = struct{}{}
	old := *p
	t.undo = append(t.undo, func() { *p = old })
}

// change is save for a record, which is then written.
func change[T any, P interface {
	*T
	record
}](t *tx, p P) P {
	save(t, (*T)(p))
	t.dirty[p] = struct{}{}
	return p
}

// put sets an entry of a map.
func put[K comparable, V any](t *tx, m map[K]V, k K, v V) {
	old, had := m[k]
	m[k] = v
	t.undo = append(t.undo, func() {
		if had {
			m[k] = old
			return
		}
		delete(m, k)
	})
}

// drop deletes an entry of a map.
func drop[K comparable, V any](t *tx, m map[K]V, k K) {
	if old, had := m[k]; had {
		delete(m, k)
		t.undo = append(t.undo, func() { m[k] = old })
	}
}
