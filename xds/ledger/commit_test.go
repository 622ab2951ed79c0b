package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/ledger/store"
)

func TestBeforeCommitNothingIsCounted(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	w.send(e)
	before := w.View()
	full := errors.New("no space left on device")
	w.store.Before = func([]store.Record) error { return full }
	for range 3 {
		e.spend(today, "1.1", 5000)
		e.spend(today, "1.1", 6000)
		e.note(w.Now(), protocol.Note{Kind: protocol.NoteRotated, Window: today, From: "1.1", To: "2.1", Reason: "exhausted"})
		e.found = append(e.found, protocol.Finding{Credential: "3.1", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: 60_000})
		if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) || !errors.Is(err, full) {
			t.Fatalf("error %v", err)
		}
		if _, err := w.Clear(t.Context(), "1", audit.Entry{}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v", err)
		}
		if err := w.SetKeys(t.Context(), threeKeys()[:1]); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v", err)
		}
		if err := w.RotateToken(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v", err)
		}
		after := w.View()
		if after.StoreError == "" {
			t.Error("the view does not say that the store fails")
		}
		after.StoreError = ""
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("a failed change stays:\n%s", diff)
		}
	}
	if got := w.said(); len(got) != 2 {
		t.Errorf("said %q; want Envoy's connection and one failure", got)
	}
	w.store.Before = nil
	w.send(e)
	w.check()
	if got := w.key("1").Used; got != 33000 {
		t.Errorf("used %d, want 33000", got)
	}
	if w.StoreError() != nil {
		t.Error(w.StoreError())
	}
}

func TestAfterCommitARepetitionIsCountedOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 11000)
	r := e.report(w.Now())
	w.store.After = func([]store.Record) error { return errors.New("killed before the answer") }
	if _, err := w.Apply(t.Context(), e.peer, r); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
	w.store.After = nil
	t.Run("by the same process", func(t *testing.T) {
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
		w.check()
	})
	t.Run("by the next one", func(t *testing.T) {
		w.reopen()
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
		w.check()
	})
	if got := w.key("1").Used; got != 11000 {
		t.Errorf("used %d, want 11000", got)
	}
	if n := len(w.Events(0, 0)); n != 1 {
		t.Errorf("%d events, want one threshold", n)
	}
}

// A change that the store took after all, though it said that it failed, and that is never asked for again, is undone.
func TestFailedCommitThatWasMadeIsUndone(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.store.After = func([]store.Record) error { return errors.New("fsync: input/output error") }
	if _, err := w.Clear(t.Context(), "1", audit.Entry{}); err == nil {
		t.Fatal("no error")
	}
	if err := w.RotateToken(t.Context()); err == nil {
		t.Fatal("no error")
	}
	w.store.After = nil
	token := w.ReportToken()
	w.send(w.newEnvoy())
	w.check()
	w.reopen()
	if w.key("1").Credential != "1.1" || w.ReportToken() != token {
		t.Error("a change that failed is there after a restart")
	}
}

func TestSameReportManyTimesAtOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 12000)
	r := e.report(w.Now())
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			if _, err := w.Apply(context.Background(), e.peer, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := w.key("1").Used; got != 12000 {
		t.Errorf("used %d", got)
	}
	if s := w.Stats(); s.Reports != 300 || s.Repeated != 299 {
		t.Errorf("stats %+v", s)
	}
	w.check()
}

// Reports that wait for the store share its next commit.
func TestCommitsAreShared(t *testing.T) {
	w := newWorld(t, threeKeys())
	const n = 40
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.Before = func([]store.Record) error {
		once.Do(func() { close(entered); <-release })
		return nil
	}
	before, _ := w.memory.Commits()
	var wg sync.WaitGroup
	send := func() {
		e := w.newEnvoy()
		e.spend(today, "1.1", 1)
		if _, err := w.Apply(context.Background(), Peer{}, e.report(at("08:00"))); err != nil {
			t.Error(err)
		}
	}
	wg.Go(send)
	<-entered
	for range n {
		wg.Go(send)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		w.queueMu.Lock()
		waiting := len(w.queue)
		w.queueMu.Unlock()
		if waiting == n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d wait", waiting, n)
		}
	}
	close(release)
	wg.Wait()
	after, _ := w.memory.Commits()
	if after-before != 2 || w.key("1").Used != n+1 {
		t.Errorf("%d commits for %d reports, used %d", after-before, n+1, w.key("1").Used)
	}
	w.check()
}

func TestIdleReportsAreNotWritten(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	for range 3 {
		w.send(e)
	}
	before, _ := w.memory.Commits()
	for range 20 {
		w.wait(time.Second)
		w.send(e)
		w.tick()
	}
	if after, _ := w.memory.Commits(); after != before {
		t.Errorf("%d commits for nothing", after-before)
	}
}

func TestWithdrawnReport(t *testing.T) {
	w := newWorld(t, threeKeys())
	w.lead <- struct{}{} // somebody leads, and takes long
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := w.newEnvoy()
	if _, err := w.Apply(ctx, e.peer, e.report(w.Now())); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(w.queue) != 0 {
		t.Error("it still waits")
	}
	<-w.lead
}

func TestClosedLedger(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 7)
	w.send(e)
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Apply(t.Context(), e.peer, e.report(w.Now())); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if w.key("1").Used != 7 {
		t.Error("a closed ledger cannot be read")
	}
}
