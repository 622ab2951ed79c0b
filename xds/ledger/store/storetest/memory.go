// Package storetest has what tests of a store and of its users need: the contract that every store keeps, a store in
// memory, and one that fails when told.
package storetest

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"keywheel/xds/ledger/store"
)

// Memory is a store that forgets when it is dropped, not when it is closed: Open makes it usable again.
type Memory struct {
	mu      sync.Mutex
	records map[[2]string][]byte
	closed  bool
	commits int
	writes  int
}

var _ store.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{records: map[[2]string][]byte{}} }

// Open makes a closed store usable again and returns it.
func (m *Memory) Open() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = false
	return m
}

// Commits returns how many commits there were, and how many writes in them.
func (m *Memory) Commits() (commits, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits, m.writes
}

// Records returns a copy of everything, in order.
func (m *Memory) Records() []store.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]store.Record, 0, len(m.records))
	for name, value := range m.records {
		out = append(out, store.Record{Bucket: name[0], Key: name[1], Value: slices.Clone(value)})
	}
	slices.SortFunc(out, func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// Load is the store's.
func (m *Memory) Load(f func(store.Record) error) error {
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return errClosed
	}
	for _, r := range m.Records() {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// Commit is the store's.
func (m *Memory) Commit(writes []store.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.commits++
	m.writes += len(writes)
	for _, w := range writes {
		if w.Value == nil {
			delete(m.records, [2]string{w.Bucket, w.Key})
			continue
		}
		m.records[[2]string{w.Bucket, w.Key}] = append([]byte{}, w.Value...)
	}
	return nil
}

// Replace is the store's.
func (m *Memory) Replace(records []store.Record) error {
	m.mu.Lock()
	if !m.closed {
		clear(m.records)
	}
	m.mu.Unlock()
	return m.Commit(records)
}

// Close is the store's.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

var errClosed = errors.New("the store is closed")

// Faulty is a store whose commits fail when told: Before is asked before a commit, which is not made if it returns an
// error; After is asked when it was made, and its error is returned all the same. Nil functions do nothing.
type Faulty struct {
	store.Store
	Before, After func(writes []store.Record) error
}

// Commit is the store's.
func (f *Faulty) Commit(writes []store.Record) error {
	if f.Before != nil {
		if err := f.Before(writes); err != nil {
			return err
		}
	}
	if err := f.Store.Commit(writes); err != nil {
		return err
	}
	if f.After != nil {
		return f.After(writes)
	}
	return nil
}

// Replace is the store's.
func (f *Faulty) Replace(records []store.Record) error {
	if f.Before != nil {
		if err := f.Before(records); err != nil {
			return err
		}
	}
	if err := f.Store.Replace(records); err != nil {
		return err
	}
	if f.After != nil {
		return f.After(records)
	}
	return nil
}
