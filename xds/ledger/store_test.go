package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/ledger/bolt"
	"keywheel/xds/ledger/store"
	"keywheel/xds/ledger/store/storetest"
)

func TestUnreadableRecordsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		r    store.Record
		says string
	}{
		"no JSON":             {store.Record{Bucket: "sources", Key: "2025-11-18/0199-x/1.1", Value: []byte("{")}, "sources"},
		"no window":           {store.Record{Bucket: "gates", Key: "x", Value: []byte("{}")}, "gates"},
		"no incarnation":      {store.Record{Bucket: "incarnations", Key: "x", Value: []byte("{}")}, "UUIDv7"},
		"source of nobody":    {store.Record{Bucket: "sources", Key: "2025-11-18/x/1.1", Value: []byte("{}")}, "unknown incarnation"},
		"event by wrong name": {store.Record{Bucket: "events", Key: "7", Value: []byte("{}")}, "events"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			_ = w.memory.Commit([]store.Record{c.r})
			_, err := Open(t.Context(), Options{Store: w.memory.Open()})
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("the one record", func(t *testing.T) {
		w := newWorld(t, threeKeys())
		_ = w.memory.Commit([]store.Record{{Bucket: "meta", Key: "ledger"}})
		if _, err := Open(t.Context(), Options{Store: w.memory.Open()}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("somebody else's", func(t *testing.T) {
		w := newWorld(t, threeKeys())
		_ = w.memory.Commit([]store.Record{{Bucket: "elsewhere", Key: "1", Value: []byte("?")}})
		w.reopen()
	})
}

// A backup that is restored knows less than the filters do: the epoch rises, so that they follow it.
func TestRestoredBackup(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 100)
	w.send(e)
	backup := storetest.NewMemory()
	if err := backup.Commit(w.memory.Records()); err != nil {
		t.Fatal(err)
	}
	e.spend(today, "1.1", 900)
	w.send(e)
	w.send(w.newEnvoy())
	w.send(e)
	w.wait(time.Hour)
	w.memory, w.store.Store = backup, backup
	w.reopen()
	old := w.Assignment()
	if w.key("1").Used != 100 {
		t.Fatal("no backup")
	}
	a := w.send(e)
	if a.Epoch <= old.Epoch || w.key("1").Used != 1000 || w.Stats().StoreRestored != 1 {
		t.Errorf("epoch %d after %d, used %d", a.Epoch, old.Epoch, w.key("1").Used)
	}
	if now := w.Assignment(); now.Epoch != a.Epoch || now.Generation <= old.Generation {
		t.Errorf("assignment %d.%d", now.Epoch, now.Generation)
	}
	w.send(e)
	if w.Stats().StoreRestored != 1 {
		t.Error("it rises again and again")
	}
	e.epoch = 1 << 52 // no filter can have seen that
	if a := w.send(e); a.Epoch >= 1<<52 {
		t.Error("an epoch of the far future is believed")
	}
	w.check()
}

func TestReportToken(t *testing.T) {
	w := newWorld(t, threeKeys())
	first := w.ReportToken()
	if len(first) < 40 || !w.CheckToken(first) || w.CheckToken("") || w.CheckToken(first[1:]) || w.CheckToken(first+"x") {
		t.Fatal("token")
	}
	w.reopen()
	if w.ReportToken() != first {
		t.Error("another token after a restart")
	}
	<-w.Changed()
	if err := w.RotateToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.Changed():
	default:
		t.Error("nobody is told")
	}
	w.wait(time.Hour)
	second := w.ReportToken()
	if second == first || !w.CheckToken(second) || !w.CheckToken(first) {
		t.Error("the previous token is good for an hour")
	}
	w.reopen()
	w.wait(time.Millisecond)
	if w.CheckToken(first) || !w.CheckToken(second) {
		t.Error("and no longer")
	}
}

func TestAssignmentChangesWithItsContentOnly(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	generation := w.Assignment().Generation
	for range 100 {
		e.spend(today, "1.1", 100)
		w.send(e)
		w.wait(time.Second)
		w.tick()
	}
	if got := w.Assignment().Generation; got != generation {
		t.Errorf("generation %d after %d: spending alone changed the assignment", got, generation)
	}
	for len(w.Changed()) > 0 {
		<-w.Changed()
	}
	w.jump(at("24:00"))
	w.tick()
	if a := w.Assignment(); a.Generation <= generation || a.Keys[0].Fresh[0].Window != "2025-11-19" || len(w.Changed()) != 1 {
		t.Errorf("after midnight %+v", a)
	}
	clock := protocol.Clock{AnchorHostMS: 1, AnchorNowMS: 2, Speed: 3}
	w.clock = func() protocol.Clock { return clock }
	w.tick()
	if w.Assignment().Clock != clock || w.send(e).Clock != clock {
		t.Error("a clock that was set is not told")
	}
	p := w.Ledger.policy
	p.Strategy = "balanced"
	if err := w.SetPolicy(t.Context(), p); err != nil || w.Assignment().Policy.Strategy != "balanced" {
		t.Error("policy", err)
	}
	w.check()
}

// The store fails at random, before a commit or after it, and the process dies at random. What was acknowledged is
// there, and in the end everything is.
func TestAnyFailureOfTheStore(t *testing.T) {
	for seed := range uint64(80) {
		f := failing{T: t, world: newWorld(t, threeKeys()), r: rand.New(rand.NewPCG(seed, 7)), acknowledged: map[string]int64{}}
		f.envoys = []*envoy{f.newEnvoy(), f.newEnvoy(), f.newEnvoy()}
		f.breakStore()
		for range 60 {
			f.step()
			if len(f.unsure) == 0 {
				f.check()
			}
		}
		f.mendStore()
		var want int64
		for _, e := range f.envoys {
			f.send(e)
			for _, u := range e.window(today).Credentials {
				want += u.Models[0].Total
			}
		}
		if got := f.View().Pool.Used; got != want {
			t.Fatalf("seed %d: used %d, want %d", seed, got, want)
		}
		view := f.View()
		f.check()
		f.reopen()
		if diff := cmp.Diff(view.Keys, f.View().Keys, cmp.FilterPath(ofThisProcess, cmp.Ignore())); diff != "" {
			t.Fatalf("seed %d: after a restart:\n%s", seed, diff)
		}
	}
}

// ofThisProcess says that a field of a view is not kept.
func ofThisProcess(p cmp.Path) bool {
	name := p.Last().String()
	return name == ".Score" || name == ".Health" || name == ".MedianMS"
}

// failing is a ledger over a store that fails now and then.
type failing struct {
	*testing.T
	*world
	r            *rand.Rand
	envoys       []*envoy
	acknowledged map[string]int64
}

func (f *failing) Helper()                   { f.T.Helper() }
func (f *failing) Fatal(a ...any)            { f.T.Helper(); f.T.Fatal(a...) }
func (f *failing) Fatalf(s string, a ...any) { f.T.Helper(); f.T.Fatalf(s, a...) }
func (f *failing) Errorf(s string, a ...any) { f.T.Helper(); f.T.Errorf(s, a...) }

func (f *failing) breakStore() {
	broken := errors.New("broken")
	now := func(one int) func([]store.Record) error {
		return func([]store.Record) error {
			if f.r.IntN(one) == 0 {
				return broken
			}
			return nil
		}
	}
	f.store.Before, f.store.After = now(5), now(6)
}

func (f *failing) mendStore() { f.store.Before, f.store.After = nil, nil }

// step is a report, and now and then something else that changes the account.
func (f *failing) step() {
	ctx := context.Background()
	e := f.envoys[f.r.IntN(len(f.envoys))]
	e.spend(today, fmt.Sprint(1+f.r.IntN(3), ".1"), int64(f.r.IntN(800)))
	if f.r.IntN(3) == 0 {
		e.note(f.Now(), rotated("1.1", "2.1", "exhausted"))
	}
	if a, err := f.Apply(ctx, e.peer, e.report(f.Now())); err == nil {
		e.take(a)
		for _, u := range e.window(today).Credentials {
			f.acknowledged[e.id+u.Credential] = u.Models[0].Total
		}
	}
	switch f.r.IntN(12) { // their errors are the store's
	case 0:
		_ = f.Tick(ctx)
	case 1:
		_ = f.ConnClosed(ctx, e.peer.ConnID)
	case 2:
		_ = f.SetKeys(ctx, threeKeys())
	case 3: // killed
		f.mendStore()
		f.reopen()
		f.breakStore()
		atLeast(f.T, f.world, f.acknowledged)
	}
}

func atLeast(t *testing.T, w *world, acknowledged map[string]int64) {
	t.Helper()
	for id, s := range w.sources {
		if want := acknowledged[id.incarnation+id.credential]; id.window == window(today) && s.spent < want {
			t.Fatalf("%v has %d, %d were acknowledged", id, s.spent, want)
		}
	}
}

func TestOnDisk(t *testing.T) {
	path := t.TempDir() + "/keywheel.db"
	var e *envoy
	for i := range 3 {
		s, err := bolt.Open(path, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(context.Background(), Options{Store: s, Keys: bigKeys(), Policy: protocol.Policy{ReportIntervalMS: 1000}, Now: func() time.Time { return at("10:00") }})
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			e = newEnvoy(time.Now())
		}
		e.spend(today, "1.1", 1000)
		a, err := l.Apply(t.Context(), e.peer, e.report(at("10:00")))
		if err != nil || a.Allowances[0].Tokens != 144000-2880 {
			t.Fatalf("%+v, %v", a, err)
		}
		if got := l.View().Keys[0].Used; got != int64(1000*(i+1)) {
			t.Errorf("used %d", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
