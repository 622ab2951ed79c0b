package ledger

import (
	"context"
	"sync"
	"testing"
	"time"

	"keywheel/shared/protocol"
)

func (w *world) held(id string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byID[id].account(window(today)).tokens.held
}

func TestClosedConnectionsFreeWhatWasGranted(t *testing.T) {
	w := newWorld(t, bigKeys())
	e := w.newEnvoy()
	first, second := e.peer, Peer{ConnID: 9001, Local: true}
	w.send(e)
	e.peer = second
	w.send(e)
	if held := w.held("1"); held != 144000-2880 {
		t.Fatalf("held %d", held)
	}
	closeConn(t, w, first.ConnID)
	if w.held("1") == 0 {
		t.Fatal("one of two connections is enough to live")
	}
	closeConn(t, w, second.ConnID)
	if held := w.held("1"); held != 0 {
		t.Errorf("the dead hold %d", held)
	}
	if fresh := w.Assignment().Keys[0].Fresh; fresh[0].Tokens != 2880 || fresh[1].Tokens != 2880 || fresh[0].Window != today {
		t.Errorf("fresh %+v", fresh)
	}
	w.check()
	w.reopen()
	if w.held("1") != 0 {
		t.Error("after a restart the dead hold again")
	}
	e.peer = Peer{ConnID: 9002, Local: true}
	if a := w.send(e); a.Allowances[0].Tokens != 144000-2880 {
		t.Errorf("who was dead and lives gets %+v", a.Allowances[0])
	}
	w.check()
}

func closeConn(t *testing.T, w *world, id uint64) {
	t.Helper()
	if err := w.ConnClosed(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func TestRemotePeersDieOfSilenceOnly(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.peer.Local = false
	w.send(e)
	closeConn(t, w, e.peer.ConnID)
	w.jump(w.Now().Add(5 * time.Hour)) // the virtual clock does not count
	w.tick()
	w.wait(3 * time.Second)
	w.tick()
	if w.held("1") == 0 {
		t.Fatal("dead before its lease passed")
	}
	w.wait(time.Millisecond)
	w.tick()
	if w.held("1") != 0 {
		t.Error("alive after its lease")
	}
	w.check()
}

func TestRestartWaitsForALease(t *testing.T) {
	w := newWorld(t, bigKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	w.send(e)
	w.wait(time.Hour) // stopped
	w.reopen()
	if a := w.send(other); a.Allowances[0].Tokens >= 144000/2 || !a.Allowances[0].More {
		t.Errorf("a newcomer gets %+v while who was there may be alive", a.Allowances[0])
	}
	w.wait(3*time.Second + time.Millisecond)
	w.send(other)
	w.tick()
	if a := w.send(other); a.Allowances[0].Tokens != 144000-2880 {
		t.Errorf("alone it gets %+v", a.Allowances[0])
	}
	w.check()
}

// A connection that closes while a report that came over it is being taken in.
func TestConnectionClosesDuringAReport(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.lead <- struct{}{}
	e := w.newEnvoy()
	var wg sync.WaitGroup
	r := e.report(w.Now())
	wg.Go(func() { _, _ = w.Apply(context.Background(), e.peer, r) })
	for waiting := 0; waiting == 0; {
		w.queueMu.Lock()
		waiting = len(w.queue)
		w.queueMu.Unlock()
	}
	closeConn(t, w, e.peer.ConnID)
	<-w.lead
	wg.Wait()
	if w.held("1") != 0 || len(w.conns) != 0 {
		t.Errorf("it lives on; %d connections", len(w.conns))
	}
}

// A connection that is seen to be closed before its last report is, or its only one: the sender is as dead as any.
func TestConnectionClosesBeforeItsReportIsSeen(t *testing.T) {
	for _, reports := range []int{0, 2} {
		w := newWorld(t, threeKeys())
		e := w.newEnvoy()
		for range reports {
			w.send(e)
		}
		e.spend(today, "1.1", 100)
		closeConn(t, w, e.peer.ConnID)
		w.send(e)
		if w.held("1") != 0 || len(w.conns) != 0 || len(w.living) != 0 {
			t.Errorf("after %d reports before, it lives on; %d connections", reports, len(w.conns))
		}
		if used := w.View().Keys[0].Used; used != 100 {
			t.Errorf("%d tokens are used", used)
		}
	}
}

func TestSecondEnvoyGetsItsShare(t *testing.T) {
	w := newWorld(t, bigKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	w.send(a)
	if x := w.send(b).Allowances[0]; x.Tokens != 1440 || !x.More {
		t.Errorf("at first %+v", x)
	}
	for range 3 {
		w.send(a)
		w.send(b)
	}
	if x, y := a.allowed["1.1 "+today], b.allowed["1.1 "+today]; x != y || x != (144000-2880)/2 {
		t.Errorf("%d and %d", x, y)
	}
	if x := a.allowed["1.1 2025-11-19"]; x != (144000-2880)/2 {
		t.Errorf("tomorrow %d", x)
	}
	w.check()
}

// Who was taken for dead and is not has lost what others got meanwhile.
func TestRevivedEnvoyStartsWithWhatItSpent(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	a.spend(today, "1.1", 1000)
	w.send(a)
	w.send(a)
	w.wait(4 * time.Second)
	w.tick()
	w.send(b)
	w.send(b)
	if held := w.held("1"); held != 13400 {
		t.Fatalf("the living hold %d", held)
	}
	a.spend(today, "1.1", 200)
	if x := w.send(a).Allowances[0]; x.Tokens != 1200 || !x.More {
		t.Errorf("it may spend %+v", x)
	}
	if held := w.held("1"); held != 13400 {
		t.Errorf("now they hold %d", held)
	}
	w.check()
}

// Where less remains than a request needs, no later answer helps.
func TestNoMoreBelowTheNeed(t *testing.T) {
	w := newWorld(t, threeKeys())
	a, b := w.newEnvoy(), w.newEnvoy()
	for _, c := range []struct {
		spend int64
		more  bool
	}{{14000, true}, {301, false}} {
		a.spend(today, "1.1", c.spend)
		w.send(a)
		w.send(b)
		if x := w.send(a).Allowances[0]; x.More != c.more {
			t.Errorf("after %d: %+v", c.spend, x)
		}
	}
}

// Of requests there may be a limit too, and of tokens none.
func TestLimitOfRequests(t *testing.T) {
	w := newWorld(t, []KeyConfig{{ID: "1", Org: "o", LimitRequests: 100, Thresholds: []int{75}}, {ID: "2", Org: "p", Rank: 1}})
	e := w.newEnvoy()
	a := w.send(e)
	if x := a.Allowances[0]; x.Tokens != protocol.Unlimited || x.Requests != 98 || !x.More {
		t.Errorf("allowance %+v", x)
	}
	if x := a.Allowances[2]; x.Tokens != protocol.Unlimited || x.Requests != protocol.Unlimited || x.More {
		t.Errorf("allowance %+v", x)
	}
	keys := w.Assignment().Keys
	if f := keys[0].Fresh[0]; f.Tokens != protocol.Unlimited || f.Requests != 0 {
		t.Errorf("fresh %+v", f)
	}
	if f := keys[1].Fresh[1]; f.Tokens != protocol.Unlimited || f.Requests != protocol.Unlimited {
		t.Errorf("fresh %+v", f)
	}
	w.said()
	for range 100 {
		e.spend(today, "1.1", 10)
	}
	if x := w.send(e).Allowances[0]; x.Requests != 100 || x.More {
		t.Errorf("allowance at the end %+v", x)
	}
	if k := w.key("1"); k.Status != "exhausted" || k.Remaining != -1 || w.View().Pool.Remaining != -1 {
		t.Errorf("key %+v", k)
	}
	if said := w.said(); len(said) != 1 || said[0] != "WARN Groq Key 1 at 75% quota - 0 requests remaining" {
		t.Errorf("said %q", said)
	}
	w.check()
}

func TestDisabledKeyGivesNothing(t *testing.T) {
	keys := threeKeys()
	w := newWorld(t, keys)
	e := w.newEnvoy()
	e.spend(today, "1.1", 50)
	w.send(e)
	keys[0].Disabled = true
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	a := w.send(e)
	if x := a.Allowances[0]; x.Tokens != 50 || x.More {
		t.Errorf("allowance %+v", x)
	}
	if k := w.Assignment().Keys[0]; !k.Disabled || k.Fresh[0].Tokens != 0 {
		t.Errorf("key %+v", k)
	}
	if w.key("1").Status != "disabled" || w.key("2").Status != "active" {
		t.Errorf("key 1 is %s, key 2 %s", w.key("1").Status, w.key("2").Status)
	}
	w.check()
}
