package ledger

import (
	"context"
	"encoding/json"

	"keywheel/xds/audit"
	"keywheel/xds/ledger/store"
)

// Change is a change of the keys with all that is kept of it, made in one commit.
type Change struct {
	Keys      []KeyConfig       // in rank order; see SetKeys
	Documents map[string][]byte // JSON, by name, kept for whoever made the change
	Audit     *audit.Entry      // nil: nobody made it
}

// Reconfigure makes a change. It returns the generation with which filters know the keys. On an error nothing has
// changed.
func (l *Ledger) Reconfigure(ctx context.Context, c Change) (generation int64, err error) {
	if err := checkIDs(c.Keys); err != nil {
		return 0, err
	}
	err = l.do(ctx, func(t *tx) error {
		t.setKeys(c.Keys)
		for name, value := range c.Documents {
			t.keep(name, value)
		}
		if c.Audit != nil {
			t.audit(*c.Audit)
		}
		t.after = append(t.after, func() { generation = l.assignment.Generation })
		return nil
	})
	return generation, err
}

// document is JSON that is kept for somebody else.
type document struct {
	name  string
	value json.RawMessage
}

func (d *document) place() (string, string) { return documentBucket, d.name }
func (d *document) kept() any {
	if d.value == nil { // its making was taken back
		return nil
	}
	return d.value
}

// keep puts a document in the place of the one of its name.
func (t *tx) keep(name string, value []byte) {
	d := t.l.documents[name]
	if d == nil {
		d = &document{name: name}
		put(t, t.l.documents, name, d)
	}
	change(t, d).value = value
}

// Document returns what was kept under a name; nil if nothing was.
func (l *Ledger) Document(name string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.documents[name]; d != nil {
		return d.value
	}
	return nil
}

// audited is an entry of the audit as it is kept.
type audited struct {
	audit.Entry
	gone bool
}

func (a *audited) place() (string, string) { return auditBucket, number(a.ID) }
func (a *audited) kept() any {
	if a.gone {
		return nil
	}
	return a.Entry
}

// maxAudits bounds the entries that are kept; the oldest go first.
const maxAudits = 10_000

// audit takes an entry down, with its number and time.
func (t *tx) audit(e audit.Entry) {
	l := t.l
	m := change(t, l.meta)
	m.LastAudit++
	e.ID, e.At = m.LastAudit, t.now.UTC()
	a := &audited{Entry: e}
	old := l.audits
	t.undo = append(t.undo, func() { l.audits, a.gone = old, true })
	l.audits = append(l.audits, a)
	t.dirty[a] = struct{}{}
	if extra := len(l.audits) - maxAudits; extra > 0 {
		for _, o := range l.audits[:extra] {
			change(t, o).gone = true
		}
		l.audits = append([]*audited(nil), l.audits[extra:]...)
	}
}

// Audit takes an entry down. It is durable on return.
func (l *Ledger) Audit(ctx context.Context, e audit.Entry) error {
	return l.do(ctx, func(t *tx) error {
		t.audit(e)
		return nil
	})
}

// Audits returns the newest entries, newest first, at most limit of them.
func (l *Ledger) Audits(limit int) []audit.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []audit.Entry{}
	for i := len(l.audits) - 1; i >= 0 && len(out) < limit; i-- {
		out = append(out, l.audits[i].Entry)
	}
	return out
}

// Keep keeps documents, each in the place of the one of its name, with the audit's entry. On an error nothing has changed.
func (l *Ledger) Keep(ctx context.Context, documents map[string][]byte, by audit.Entry) error {
	return l.do(ctx, func(t *tx) error {
		for name, value := range documents {
			t.keep(name, value)
		}
		t.audit(by)
		return nil
	})
}

// DocumentIn returns what was kept under a name in a store with these records; nil if nothing was.
func DocumentIn(records []store.Record, name string) []byte {
	for _, r := range records {
		if r.Bucket == documentBucket && r.Key == name {
			return r.Value
		}
	}
	return nil
}
