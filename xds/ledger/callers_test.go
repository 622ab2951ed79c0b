package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/ledger/store"
)

// called is a call of a caller's that went well.
func (e *envoy) called(w string, c protocol.CredentialID, caller string, tokens int64) {
	e.spend(w, c, tokens)
	u := e.window(w)
	i := slices.IndexFunc(u.Callers, func(k CallerUse) bool { return k.Caller == caller })
	if i < 0 {
		i = len(u.Callers)
		u.Callers = append(u.Callers, CallerUse{Caller: caller})
	}
	addUse(&u.Callers[i], &CallerUse{Requests: 1, Prompt: tokens / 2, Completion: tokens - tokens/2, Total: tokens})
}

func (w *world) wantCallers(name string, want ...CallerUse) {
	w.Helper()
	if diff := cmp.Diff(want, w.Callers(window(name))); diff != "" {
		w.Fatalf("callers of %s (-want +got):\n%s", name, diff)
	}
}

func use(caller string, requests, total int64) CallerUse {
	return CallerUse{Caller: caller, Requests: requests, Prompt: total / 2, Completion: total - total/2, Total: total}
}

func sumOfCallers(uses []CallerUse) (sum CallerUse) {
	for i := range uses {
		addUse(&sum, &uses[i])
	}
	return sum
}

func TestCallersOfAllEnvoys(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	a.called(today, "1.1", "red", 100)
	a.called(today, "1.1", protocol.OtherCaller, 900)
	a.called(today, "2.1", "blue", 60)
	w.send(a)
	lost := a.report(w.Now())
	a.called(today, "1.1", "red", 10)
	b.called(today, "1.1", "blue", 200)
	b.called(tomorrow, "1.1", "red", 8)
	w.send(b)
	w.send(a)
	w.send(a)
	if _, err := w.Apply(t.Context(), a.peer, lost); err != nil { // comes late
		t.Fatal(err)
	}
	for range 2 {
		w.wantCallers(today, use("blue", 2, 260), use("red", 2, 110), use(protocol.OtherCaller, 1, 900))
		w.wantCallers(tomorrow, use("red", 1, 8))
		w.wantCallers("2025-11-17")
		w.check()
		w.reopen()
	}
	if n := len(w.tallies); n != 0 {
		t.Errorf("%d tallies are made before they are needed", n)
	}
	a.called(today, "1.1", "red", 1)
	w.send(a)
	w.wantCallers(today, use("blue", 2, 260), CallerUse{Caller: "red", Requests: 3, Prompt: 55, Completion: 56, Total: 111}, use(protocol.OtherCaller, 1, 900))
	w.check()
}

// More callers than are counted apart are together in the rest. The sums stay true, after a restart too, when who took
// most stands apart.
func TestMoreCallersThanAreCountedApart(t *testing.T) {
	w := newWorld(t, bigKeys())
	for n := range 3 {
		e := w.newEnvoy()
		for i := range 150 {
			e.called(today, "1.1", fmt.Sprintf("%d-%03d", n, i), int64(1+n+i%7))
		}
		w.send(e)
	}
	got := w.Callers(window(today))
	sum := sumOfCallers(got)
	if len(got) != protocol.MaxCallers+1 || got[protocol.MaxCallers].Caller != protocol.OtherCaller || got[protocol.MaxCallers].Requests != 250 {
		t.Errorf("%d callers, the last %+v", len(got), got[len(got)-1])
	}
	if used := w.key("1").Used; sum.Requests != 450 || sum.Total != used {
		t.Errorf("together %+v, of %d tokens", sum, used)
	}
	if n := slices.IndexFunc(got, func(u CallerUse) bool { return strings.HasPrefix(u.Caller, "0-") }); n >= 0 {
		t.Errorf("%+v was seen before any other that stands apart", got[n])
	}
	w.check()
	w.reopen()
	again := w.Callers(window(today))
	if sumOfCallers(again) != sum || len(again) != protocol.MaxCallers+1 || again[0].Total != 9 || again[protocol.MaxCallers-1].Total < 5 {
		t.Errorf("after a restart %d callers from %+v to %+v, then %+v", len(again), again[0], again[protocol.MaxCallers-1], again[protocol.MaxCallers])
	}
}

func TestFoldedDaysKeepTheirCallers(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.called(today, "1.1", "red", 100)
	e.called(today, "1.1", "blue", 300)
	w.send(e)
	w.jump(at("24:00").Add(25 * time.Hour))
	w.tick()
	w.wait(settled)
	w.tick()
	e.called("2025-11-20", "1.1", "green", 5)
	e.called(today, "1.1", "red", 7) // nobody counts it any more
	w.send(e)
	for range 2 {
		w.wantCallers(today, use("blue", 1, 300), use("red", 1, 100))
		w.wantCallers("2025-11-20", use("green", 1, 5))
		w.check()
		w.reopen()
	}
	for _, r := range w.memory.Records() {
		if r.Bucket == callerBucket && !strings.HasPrefix(r.Key, "2025-11-20/") {
			t.Errorf("%s is still kept", r.Key)
		}
	}
}

func TestCallersOfAFailedCommitAreTakenBack(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.called(today, "1.1", "red", 100)
	w.send(e)
	e.called(today, "1.1", "red", 10)
	e.called(today, "1.1", "blue", 1)
	w.store.Before = func([]store.Record) error { return errors.New("broken") }
	if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.wantCallers(today, use("red", 1, 100))
	w.store.Before = nil
	w.send(e)
	w.wantCallers(today, use("red", 2, 110), use("blue", 1, 1))
	w.check()
}

// However reports come, are lost or refused, whichever names a filter sends: the sum is the highest that each source
// reported, and what is kept is bounded.
func TestCallersAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, bigKeys())
		envoys := []*envoy{w.newEnvoy(), w.newEnvoy(), w.newEnvoy()}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			e := envoys[rapid.IntRange(0, 2).Draw(t, "envoy")]
			w.wait(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 5 * time.Hour}).Draw(t, "time"))
			for range rapid.IntRange(0, 60).Draw(t, "calls") {
				day := quota.WindowAt(w.Now()).String()
				name := fmt.Sprint(rapid.IntRange(0, 199).Draw(t, "caller"))
				e.called(day, "1.1", name+"-"+e.id[30:], rapid.Int64Range(0, 50).Draw(t, "tokens"))
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			default:
				if _, err := w.Apply(context.Background(), e.peer, e.report(w.Now())); err != nil && !errors.Is(err, ErrGone) {
					t.Fatal(err)
				}
			case 0: // lost
				_ = e.report(w.Now())
			case 1: // refused, or taken all the same
				w.store.After = func([]store.Record) error { return errors.New("broken") }
				_, _ = w.Apply(context.Background(), e.peer, e.report(w.Now()))
				w.store.After = nil
			case 2:
				w.reopen()
			}
		}
		day := quota.WindowAt(w.Now())
		var want CallerUse
		for _, e := range envoys {
			_, _ = w.Apply(context.Background(), e.peer, e.report(w.Now()))
			want = sumOfCallers(append(slices.Clone(e.window(day.String()).Callers), want))
		}
		for range 2 {
			got := w.Callers(day)
			if sumOfCallers(got) != want || len(got) > protocol.MaxCallers+1 || !slices.IsSortedFunc(got[:min(len(got), protocol.MaxCallers)], moreFirst) {
				t.Fatalf("%d callers, together %+v, want %+v", len(got), sumOfCallers(got), want)
			}
			w.reopen()
		}
		w.check()
	})
}

func TestWhatIsNoListOfCallers(t *testing.T) {
	many := make([]CallerUse, maxCallers+1)
	for i := range many {
		many[i] = CallerUse{Caller: fmt.Sprint(i), Requests: 1}
	}
	for name, uses := range map[string][]CallerUse{
		"too many":          many,
		"a long name":       {{Caller: strings.Repeat("x", protocol.MaxCallerName+1), Requests: 1}},
		"a line break":      {{Caller: "a\nb", Requests: 1}},
		"no text":           {{Caller: "a\xff", Requests: 1}},
		"less than nothing": {{Caller: "a", Requests: 1, Total: -1}},
		"beyond counting":   {{Caller: "a", Requests: 1 << 54}},
	} {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		e.called(today, "1.1", "red", 100)
		w.send(e)
		e.window(today).Callers = uses
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrBadReport) {
			t.Errorf("%s: %v", name, err)
		}
		w.wantCallers(today, use("red", 1, 100))
	}
}

// A filter whose memory of its callers was damaged begins anew, with other names: the account goes on, and what is kept
// stays bounded.
func TestNamesBeyondTheBoundArePassedOver(t *testing.T) {
	w := newWorld(t, bigKeys())
	e := w.newEnvoy()
	for round := range 2 {
		e.window(today).Callers = nil
		for i := range maxCallers {
			e.called(today, "1.1", fmt.Sprintf("%d-%d", round, i), 2)
		}
		w.send(e)
	}
	if got := sumOfCallers(w.Callers(window(today))); got.Requests != maxCallers || w.key("1").Used != 4*maxCallers {
		t.Errorf("callers %+v, used %d", got, w.key("1").Used)
	}
	e.window(today).Callers = []CallerUse{use("0-7", 5, 50), use("new", 1, 1)}
	w.send(e)
	if got := w.Callers(window(today)); got[0] != use("0-7", 5, 50) {
		t.Errorf("%+v", got[0])
	}
	w.check()
}

func TestModelsOfAKeyAreAssigned(t *testing.T) {
	w := newWorld(t, threeKeys())
	before := w.Assignment()
	keys := threeKeys()
	keys[1].Models = []string{"small", "large"}
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	keys[1].Models[0] = "changed by the caller"
	a := w.Assignment()
	if diff := cmp.Diff([]string{"small", "large"}, a.Keys[1].Models); diff != "" || a.Keys[0].Models != nil || a.Generation <= before.Generation {
		t.Errorf("generation %d after %d, models %v, %s", a.Generation, before.Generation, a.Keys[0].Models, diff)
	}
	a.Keys[1].Models[0] = "changed by the reader"
	if got := w.Assignment().Keys[1].Models[0]; got != "small" {
		t.Errorf("%s", got)
	}
	if got := w.key("2").Models; len(got) != 2 {
		t.Errorf("shown as %v", got)
	}
}

// BenchmarkApplyCallers takes reports of one Envoy in, in which each caller has new use.
func BenchmarkApplyCallers(b *testing.B) {
	for _, n := range []int{0, 3, protocol.MaxCallers} {
		b.Run(fmt.Sprint(n, " callers"), func(b *testing.B) {
			w := newWorld(b, bigKeys())
			e := w.newEnvoy()
			for i := range n {
				e.called(today, "1.1", fmt.Sprint("team-", i), 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				e.spend(today, "1.1", 0)
				for i := range e.window(today).Callers {
					e.window(today).Callers[i].Requests++
				}
				w.send(e)
			}
		})
	}
}
