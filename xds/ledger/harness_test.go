package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/ledger/store/storetest"
)

// tb is what both tests and properties have.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// world is a ledger with everything around it in the test's hands.
type world struct {
	tb
	*Ledger
	mu     sync.Mutex
	time   time.Time // the ledger's
	host   time.Time // the monotonic
	memory *storetest.Memory
	store  *storetest.Faulty
	lines  []string
	level  slog.Level
	keys   []KeyConfig
	policy protocol.Policy
	route  func(*event.Event) Route // set before reopen; nil: the log alone
}

const today = "2025-11-18"

func threeKeys() []KeyConfig {
	var keys []KeyConfig
	for i, label := range []string{"Primary", "Backup", "Emergency"} {
		id := fmt.Sprint(i + 1)
		keys = append(keys, KeyConfig{
			ID: id, Label: label, Priority: i + 1, Rank: i, Org: "key-" + id, Tier: "free", LimitTokens: 14400,
			Thresholds: []int{75, 90, 100}, SecretHash: [32]byte{byte(i + 1)},
		})
	}
	return keys
}

// bigKeys have limits of which some is held back.
func bigKeys() []KeyConfig {
	keys := threeKeys()
	for i := range keys {
		keys[i].LimitTokens *= 10
	}
	return keys
}

func newWorld(t tb, keys []KeyConfig) *world {
	t.Helper()
	w := &world{
		tb: t, time: at("08:00"), host: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), memory: storetest.NewMemory(), level: slog.LevelInfo,
		keys: keys, policy: protocol.Policy{Strategy: "priority", RequiredTokens: 100, ReportIntervalMS: 1000},
	}
	w.store = &storetest.Faulty{Store: w.memory}
	w.reopen()
	return w
}

// at is a time of the story's day; 24:00 is its end, 24:05 five minutes later.
func at(clock string) time.Time {
	if next, ok := strings.CutPrefix(clock, "24:"); ok {
		return at("00:" + next).Add(24 * time.Hour)
	}
	t, err := time.Parse("2006-01-02 15:04", today+" "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// reopen drops the ledger, as a crash does, and opens another on what the store has.
func (w *world) reopen() {
	w.Helper()
	w.memory.Open()
	l, err := Open(context.Background(), Options{
		Store: w.store, Keys: w.keys, Policy: w.policy, Log: slog.New(w), Route: w.route,
		Now:  func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.time },
		Mono: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.host },
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Ledger = l
}

// wait moves both clocks.
func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time, w.host = w.time.Add(d), w.host.Add(d)
}

// jump moves the ledger's clock alone.
func (w *world) jump(to time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = to
}

func (w *world) tick() {
	w.Helper()
	if err := w.Tick(context.Background()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) send(e *envoy) *protocol.Answer {
	w.Helper()
	a, err := w.Apply(context.Background(), e.peer, e.report(w.Now()))
	if err != nil {
		w.Fatal(err)
	}
	e.take(a)
	return a
}

func (w *world) Now() time.Time { return w.now() }

// Enabled, Handle, WithAttrs and WithGroup make the world a slog.Handler that keeps lines as "LEVEL text".
func (w *world) Enabled(_ context.Context, l slog.Level) bool { return l >= w.level }
func (w *world) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, r.Level.String()+" "+r.Message)
	return nil
}
func (w *world) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *world) WithGroup(string) slog.Handler      { return w }

// said returns the lines since it was last asked.
func (w *world) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

// eventsOf are the events of a kind.
func (w *world) eventsOf(kind event.Kind) []event.Event {
	return slices.DeleteFunc(w.Events(0, 0), func(e event.Event) bool { return e.Kind != kind })
}

func (w *world) key(id string) KeyView {
	w.Helper()
	for _, k := range w.View().Keys {
		if k.ID == id {
			return k
		}
	}
	w.Fatalf("no key %s", id)
	return KeyView{}
}

// check finds the account's sums wrong, or the store other than memory.
func (w *world) check() {
	w.Helper()
	l := w.Ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	type sums struct{ tokens, heldTokens, requests, heldRequests, estimated int64 }
	want := map[*account]sums{}
	for _, s := range l.sources {
		if s.account != l.accountOf(s.id) {
			w.Fatalf("source %v counts in the wrong account", s.id)
		}
		x := want[s.account]
		x.tokens += s.spent
		x.requests += s.Requests
		x.estimated += s.estimated
		if !s.inc.Dead {
			x.heldTokens += s.tokens.hold(s.spent)
			x.heldRequests += s.requests.hold(s.Requests)
		}
		want[s.account] = x
	}
	for _, k := range l.keys {
		for _, a := range k.accounts {
			if got := (sums{a.tokens.spent, a.tokens.held, a.requests.spent, a.requests.held, a.estimated}); got != want[a] {
				w.Fatalf("key %s in %s has %+v, want %+v", k.ID, a.window, got, want[a])
			}
		}
	}
	for inc := range l.living {
		if inc.Dead || l.incarnations[inc.id] != inc {
			w.Fatalf("%s lives and is dead", inc.id)
		}
	}
	w.checkStore()
}

func (w *world) checkStore() {
	w.Helper()
	l := w.Ledger
	want := map[[2]string]string{}
	add := func(r record) {
		bucket, key := r.place()
		kept := r.kept()
		if kept == nil {
			w.Fatalf("%s %s is gone but in memory", bucket, key)
		}
		b, err := json.Marshal(kept)
		if err != nil {
			w.Fatal(err)
		}
		want[[2]string{bucket, key}] = string(b)
	}
	add(l.meta)
	add(l.tokens)
	addAll(add, l.credentials)
	addAll(add, l.incarnations)
	addAll(add, l.gates)
	addAll(add, l.crossed)
	addAll(add, l.findings)
	addAll(add, l.days)
	addAll(add, l.series)
	addAll(add, l.documents)
	addAll(add, l.callers)
	for _, a := range l.audits {
		add(a)
	}
	for _, n := range l.notices {
		add(n)
	}
	for _, s := range l.sources {
		if b, _ := json.Marshal(s.kept()); string(b) != "{}" {
			add(s)
		}
	}
	for _, e := range l.events {
		add(e)
	}
	got := map[[2]string]string{}
	for _, r := range w.memory.Records() {
		got[[2]string{r.Bucket, r.Key}] = string(r.Value)
	}
	for _, m := range []map[[2]string]string{got, want} {
		maps.DeleteFunc(m, func(_ [2]string, v string) bool { return v == "{}" }) // a day or a source of nothing yet
	}
	if !maps.Equal(want, got) {
		diff := cmp.Diff(want, got) // which takes long
		w.Fatalf("the store is not what memory is (-memory +store):\n%s", diff)
	}
}

func addAll[K comparable, R record](add func(record), m map[K]R) {
	for _, r := range m {
		add(r)
	}
}

func window(name string) quota.Window {
	w, err := quota.ParseWindow(name)
	if err != nil {
		panic(err)
	}
	return w
}
