// Package ledger is the account: what every key was spent on, how far each Envoy may still spend it, and what was
// learned of it.
//
// The rules are:
//   - Usage reports carry counts that only grow. The ledger keeps the highest of each source, an incarnation's use of a
//     credential in a window, and sums over sources; so a report may be lost, repeated, delayed or overtaken.
//   - What was acknowledged is durable: all changes go through do, which commits them before it returns, and takes them
//     back in memory when the store fails.
//   - What is spent and what living sources may still spend is at most the limit, as far as reports have told.
//   - Windows are names. Midnight changes nothing but which of them is today's.
package ledger

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store"
)

// Errors of Apply and of changes.
var (
	// ErrBadReport is a report that breaks the contract. Sending it again will not help.
	ErrBadReport = errors.New("bad usage report")
	// ErrGone is a report only about windows that are over, or from an incarnation that was folded away.
	ErrGone = errors.New("the report is too old")
	// ErrUnavailable says that nothing was changed, because the store could not take it. Try again.
	ErrUnavailable = errors.New("the ledger cannot be written")
	// ErrNoKey is a key ID that is not configured.
	ErrNoKey = errors.New("there is no such key")
)

// DefaultHistoryDays is how many days' sums and events are kept.
const DefaultHistoryDays = 35

// Options are what a ledger is made of.
type Options struct {
	Store store.Store // the ledger's from Open on; Close closes it
	// Keys in rank order. None: they come by SetKeys, and until then nothing is said to have changed.
	Keys   []KeyConfig
	Policy protocol.Policy
	Now    func() time.Time      // Keywheel's time, which may be virtual and may jump; nil: time.Now
	Mono   func() time.Time      // the host's, for leases; nil: time.Now
	Clock  func() protocol.Clock // how filters get from their host's clock to Now; nil: they need not
	Log    *slog.Logger          // nil: nothing is logged

	HistoryDays int // 0: DefaultHistoryDays

	// Route says who hears of an event. It is called while a change is made, so it must be quick and call nothing of the
	// ledger's. Nil: the log alone.
	Route func(*event.Event) Route
}

// Ledger is the account. It is safe for concurrent use.
type Ledger struct {
	store       store.Store
	now, mono   func() time.Time
	clock       func() protocol.Clock
	log         *slog.Logger
	historyDays int
	changed     chan struct{}
	outbox      chan struct{}
	route       func(*event.Event) Route
	token       atomic.Pointer[reportToken] // a copy of tokens as committed

	queueMu sync.Mutex
	queue   []*op
	closed  bool
	lead    chan struct{} // held by whoever runs the queue

	mu           sync.Mutex // guards what follows
	meta         *meta
	tokens       *reportToken
	policy       protocol.Policy
	keys         []*key // in rank order
	byID         map[string]*key
	credentials  map[string]*credential
	incarnations map[string]*incarnation
	sources      map[sourceID]*source
	gates        map[gateID]*gate
	days         map[quota.Window]*day
	crossed      map[crossedID]*crossed
	series       map[crossedID]*series
	findings     map[findingID]*finding
	events       []*happened // by ID
	notices      []*notice   // by number
	audits       []*audited  // by number
	documents    map[string]*document
	callers      map[gateID]*callers
	living       map[*incarnation]struct{}
	unsure       map[record]struct{} // that a failed commit may have written
	storeErr     error
	rewrite      bool // the store may hold another account than this: the next commit writes everything

	// What follows is not kept.
	conns      map[uint64]*conn
	gone       *simplelru.LRU[uint64, struct{}] // connections that were closed, the newest: reports of theirs may be seen later
	nodes      map[string]*node
	rings      map[string]*ring // by key ID
	poolRing   ring
	models     map[quota.Window]map[string]struct{}
	tallies    map[quota.Window]*tally
	assignment protocol.Assignment
	outlooks   outlooks
	usedUntil  time.Time // of what was read at the start: the end of the last bucket in which a key was used
	stats      Stats
	quarter    int64        // of an hour, in which Tick was last called; 0: never
	window     quota.Window // when Tick last looked
	windowAt   time.Time    // since when, by the monotonic clock
}

// Stats counts what reports were made of, since the process began.
type Stats struct {
	Reports            int64 // taken in
	Repeated           int64 // of them, not newer than one before from the same incarnation
	Missed             int64 // numbers missing between reports: lost or overtaken
	Clamped            int64 // of them, whose time is not ours, so that their counts alone were taken in
	Refused            int64 // not taken in, the store's failures aside
	OldWindows         int64 // windows of reports that are over or too far ahead
	UnknownCredentials int64 // uses of credentials of no configured key
	IgnoredFindings    int64 // of credentials that are not in force
	MissedNotes        int64 // numbers missing between notes
	Quarantined        int64 // steps that no number of requests explains
	Panics             int64 // bugs that Envoys' filters met, as far as they told since
	StoreFailures      int64
	StoreRestored      int64 // times that filters knew of a newer state than the store
}

// Open reads the account from the store. The store is closed if Open fails.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	l := empty(o)
	err := l.load()
	if err == nil {
		err = l.do(ctx, (*tx).start)
	}
	if err == nil && len(o.Keys) > 0 {
		err = l.SetKeys(ctx, o.Keys)
	}
	if err != nil {
		return nil, errors.Join(err, l.store.Close())
	}
	return l, nil
}

// empty returns a ledger that has read nothing yet.
func empty(o Options) *Ledger {
	l := &Ledger{
		store: o.Store, now: o.Now, mono: o.Mono, clock: o.Clock, log: o.Log, historyDays: o.HistoryDays, policy: o.Policy,
		changed: make(chan struct{}, 1), outbox: make(chan struct{}, 1), route: o.Route, lead: make(chan struct{}, 1),
		byID: map[string]*key{}, credentials: map[string]*credential{}, incarnations: map[string]*incarnation{},
		sources: map[sourceID]*source{}, gates: map[gateID]*gate{}, days: map[quota.Window]*day{},
		crossed: map[crossedID]*crossed{}, series: map[crossedID]*series{}, documents: map[string]*document{},
		findings: map[findingID]*finding{}, living: map[*incarnation]struct{}{},
		unsure: map[record]struct{}{}, conns: map[uint64]*conn{}, gone: newGone(), nodes: map[string]*node{}, rings: map[string]*ring{},
		callers: map[gateID]*callers{}, tallies: map[quota.Window]*tally{},
		models: map[quota.Window]map[string]struct{}{}, meta: &meta{}, tokens: &reportToken{},
	}
	l.defaults()
	return l
}

func (l *Ledger) defaults() {
	if l.now == nil {
		l.now = time.Now
	}
	if l.mono == nil {
		l.mono = time.Now
	}
	if l.clock == nil {
		l.clock = func() protocol.Clock { return protocol.Clock{} }
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.route == nil {
		l.route = func(*event.Event) Route { return Route{Log: true} }
	}
	if l.historyDays <= 0 {
		l.historyDays = DefaultHistoryDays
	}
}

// start makes what a new store lacks.
func (t *tx) start() error {
	l := t.l
	if l.meta.Epoch == 0 {
		m := change(t, l.meta)
		m.Epoch = t.mono.UnixMilli()
		m.CreatedMS = m.Epoch
		m.Announced = t.window.String()
	}
	if l.meta.Summarized == "" { // days before the first are nobody's
		change(t, l.meta).Summarized = (t.window - 1).String()
	}
	if l.tokens.Current == "" {
		t.newToken()
	}
	return nil
}

// Close waits for a running commit and closes the store. Changes fail from then on; what was known can still be read.
func (l *Ledger) Close() error {
	l.queueMu.Lock()
	closed := l.closed
	l.closed = true
	l.queueMu.Unlock()
	if closed {
		return nil
	}
	l.lead <- struct{}{}
	l.runQueue()
	return l.store.Close()
}

// Changed tells one receiver that the assignment may have changed since it was last told.
func (l *Ledger) Changed() <-chan struct{} { return l.changed }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Stats returns the counts.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// StoreError is why the last change could not be written; nil if it was.
func (l *Ledger) StoreError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.storeErr
}
