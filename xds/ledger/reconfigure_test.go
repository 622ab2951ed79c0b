package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/audit"
	"keywheel/xds/ledger/store"
)

// aChange is one of the keys, with two documents and an entry in the audit.
func aChange(keys []KeyConfig, content string) Change {
	return Change{
		Keys: keys, Documents: map[string][]byte{"keys": []byte(`{"content":"` + content + `"}`), "other": []byte(`[1,2]`)},
		Audit: &audit.Entry{ID: 99, Who: audit.Admin, From: "127.0.0.1", What: "change key", Key: "2", Fields: []string{"label", content}, Outcome: audit.Done},
	}
}

// entries are the audit's, newest first, as "ID what field".
func (w *world) entries() []string {
	var out []string
	for _, e := range w.Audits(1 << 20) {
		out = append(out, fmt.Sprint(e.ID, " ", e.What, " ", e.Fields))
	}
	return out
}

func (w *world) wantEntries(want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.entries()); diff != "" {
		w.Errorf("the audit (-want +got):\n%s", diff)
	}
}

func TestReconfigureIsOneCommit(t *testing.T) {
	w := newWorld(t, threeKeys())
	before, _ := w.memory.Commits()
	generation, err := w.Reconfigure(t.Context(), aChange(threeKeys()[:2], "first"))
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := w.memory.Commits(); after != before+1 {
		t.Errorf("%d commits, want one", after-before)
	}
	a := w.Assignment()
	if generation != a.Generation || len(a.Keys) != 2 {
		t.Errorf("generation %d, want %d; %d keys", generation, a.Generation, len(a.Keys))
	}
	w.wait(time.Minute)
	c := aChange(threeKeys()[:2], "second")
	delete(c.Documents, "other")
	again, err := w.Reconfigure(t.Context(), c)
	if err != nil || again != generation {
		t.Errorf("generation %d, %v, want %d: nothing new for filters", again, err, generation)
	}
	w.keys = nil // the store has them, and whoever opens it says which are in force
	for range 2 {
		w.check()
		if got := string(w.Document("keys")); got != `{"content":"second"}` {
			t.Errorf("the document is %s", got)
		}
		if got := string(w.Document("other")); got != `[1,2]` {
			t.Errorf("the other document is %s", got)
		}
		if w.Document("none") != nil {
			t.Error("a document that nobody kept")
		}
		want := audit.Entry{
			ID: 2, At: at("08:01"), Who: audit.Admin, From: "127.0.0.1", What: "change key", Key: "2", Fields: []string{"label", "second"}, Outcome: audit.Done,
		}
		got := w.Audits(5)
		if len(got) != 2 || got[1].At != at("08:00") {
			t.Fatalf("the audit: %+v", got)
		}
		if diff := cmp.Diff(want, got[0]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		w.reopen()
	}
}

func TestReconfigureWithoutMore(t *testing.T) {
	w := newWorld(t, threeKeys())
	if _, err := w.Reconfigure(t.Context(), Change{Keys: threeKeys()[:1]}); err != nil {
		t.Fatal(err)
	}
	w.wantEntries()
	w.check()
}

func TestRefusedReconfigure(t *testing.T) {
	w := newWorld(t, threeKeys())
	before, _ := w.memory.Commits()
	twice := append(threeKeys(), threeKeys()[0])
	unnamed := threeKeys()
	unnamed[1].ID = ""
	for name, keys := range map[string][]KeyConfig{"an ID twice": twice, "no ID": unnamed} {
		if generation, err := w.Reconfigure(t.Context(), aChange(keys, "x")); err == nil || generation != 0 {
			t.Errorf("%s: generation %d, %v", name, generation, err)
		}
	}
	if after, _ := w.memory.Commits(); after != before || w.Document("keys") != nil || len(w.View().Keys) != 3 {
		t.Error("something was changed")
	}
	w.wantEntries()
}

// TestReconfigureIsTakenBack has the store fail before and after it takes a change. Neither leaves anything, and the
// numbers of the audit have no gap.
func TestReconfigureIsTakenBack(t *testing.T) {
	full := errors.New("no space left on device")
	for name, fail := range map[string]func(*world, func([]store.Record) error){
		"before": func(w *world, f func([]store.Record) error) { w.store.Before = f },
		"after":  func(w *world, f func([]store.Record) error) { w.store.After = f },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			if _, err := w.Reconfigure(t.Context(), aChange(threeKeys(), "first")); err != nil {
				t.Fatal(err)
			}
			view, assignment := w.View(), w.Assignment()
			fail(w, func([]store.Record) error { return full })
			for range 2 {
				failed := aChange(threeKeys()[1:], "failed")
				failed.Documents["new"] = []byte(`1`)
				if _, err := w.Reconfigure(t.Context(), failed); !errors.Is(err, ErrUnavailable) || !errors.Is(err, full) {
					t.Fatalf("got %v", err)
				}
				if err := w.Audit(t.Context(), audit.Entry{What: "sign in"}); !errors.Is(err, full) {
					t.Fatalf("got %v", err)
				}
			}
			fail(w, nil)
			asBefore := func() {
				t.Helper()
				if string(w.Document("keys")) != `{"content":"first"}` || w.Document("new") != nil {
					t.Errorf("documents %s and %s", w.Document("keys"), w.Document("new"))
				}
				w.wantEntries("1 change key [label first]")
			}
			asBefore()
			after := w.View()
			after.StoreError = ""
			if diff := cmp.Diff(view, after) + cmp.Diff(assignment, w.Assignment()); diff != "" {
				t.Errorf("something was changed:\n%s", diff)
			}
			if _, err := w.Reconfigure(t.Context(), Change{Keys: threeKeys()}); err != nil {
				t.Fatal(err)
			}
			w.check()
			w.reopen()
			asBefore()
			if err := w.Audit(t.Context(), audit.Entry{What: "sign in"}); err != nil {
				t.Fatal(err)
			}
			w.wantEntries("2 sign in []", "1 change key [label first]")
			w.check()
		})
	}
}

// TestFailedChangeAmongOthers has a change that fails by itself share a commit with others.
func TestFailedChangeAmongOthers(t *testing.T) {
	w := newWorld(t, threeKeys())
	mine := errors.New("mine")
	audits := func(what string, err error) *op {
		return &op{run: func(t *tx) error {
			t.audit(audit.Entry{What: what})
			t.keep(what, []byte(`true`))
			return err
		}}
	}
	batch := []*op{audits("failed", mine), audits("first", nil), audits("failed too", mine), audits("second", nil)}
	w.runBatch(batch)
	for i, want := range []error{mine, nil, mine, nil} {
		if batch[i].err != want { //nolint:errorlint // the very one
			t.Errorf("change %d: %v, want %v", i, batch[i].err, want)
		}
	}
	for range 2 {
		w.wantEntries("2 second []", "1 first []")
		if w.Document("failed") != nil || w.Document("failed too") != nil || string(w.Document("second")) != "true" {
			t.Error("the documents are others")
		}
		w.check()
		w.reopen()
	}
}

func TestAuditsNewestFirst(t *testing.T) {
	w := newWorld(t, threeKeys())
	if got := w.Audits(10); got == nil || len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
	for i := range 5 {
		if err := w.Audit(t.Context(), audit.Entry{What: fmt.Sprint("change ", i)}); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
	}
	w.reopen()
	for limit, want := range map[int]int{0: 0, 1: 1, 3: 3, 5: 5, 6: 5} {
		got := w.Audits(limit)
		if len(got) != want {
			t.Errorf("limit %d: %d entries", limit, len(got))
		}
		for i, e := range got {
			if e.ID != int64(5-i) || e.What != fmt.Sprint("change ", 4-i) || !e.At.Equal(at("08:00").Add(time.Duration(4-i)*time.Second)) {
				t.Errorf("limit %d, entry %d: %+v", limit, i, e)
			}
		}
	}
}

// TestAuditIsBounded keeps the newest, in memory and in the store, also when the store fails at the bound.
func TestAuditIsBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	many := func(n int) error {
		return w.do(t.Context(), func(t *tx) error {
			for range n {
				t.audit(audit.Entry{What: "change key"})
			}
			return nil
		})
	}
	wantBetween := func(oldest, newest int64) {
		t.Helper()
		got := w.Audits(1 << 20)
		if len(got) != int(newest-oldest+1) || got[0].ID != newest || got[len(got)-1].ID != oldest {
			t.Fatalf("%d entries, %d to %d; want %d to %d", len(got), got[len(got)-1].ID, got[0].ID, oldest, newest)
		}
		inStore := 0
		for _, r := range w.memory.Records() {
			if r.Bucket == auditBucket {
				inStore++
			}
		}
		if inStore != len(got) {
			t.Errorf("%d entries in the store", inStore)
		}
	}
	if err := many(maxAudits); err != nil {
		t.Fatal(err)
	}
	wantBetween(1, maxAudits)
	if err := many(3); err != nil {
		t.Fatal(err)
	}
	wantBetween(4, maxAudits+3)
	w.store.Before = func([]store.Record) error { return errors.New("full") }
	if many(2) == nil {
		t.Fatal("no error")
	}
	w.store.Before = nil
	wantBetween(4, maxAudits+3)
	w.reopen()
	wantBetween(4, maxAudits+3)
	if err := many(1); err != nil {
		t.Fatal(err)
	}
	wantBetween(5, maxAudits+4)
	w.check()
}

func TestAuditsAtOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := w.Audit(context.Background(), audit.Entry{What: "sign in"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got := w.Audits(100)
	for i, e := range got {
		if e.ID != int64(50-i) {
			t.Errorf("entry %d has number %d", i, e.ID)
		}
	}
	if len(got) != 50 {
		t.Errorf("%d entries", len(got))
	}
	w.check()
}

// TestClearIsAudited in its own commit, if it was made.
func TestClearIsAudited(t *testing.T) {
	w := newWorld(t, threeKeys())
	by := audit.Entry{Who: audit.Page, From: "192.0.2.9", What: "anything", Key: "9"}
	before, _ := w.memory.Commits()
	if _, err := w.Clear(t.Context(), "2", by); err != nil {
		t.Fatal(err)
	}
	if after, _ := w.memory.Commits(); after != before+1 {
		t.Errorf("%d commits, want one", after-before)
	}
	want := []audit.Entry{{ID: 1, At: at("08:00"), Who: audit.Page, From: "192.0.2.9", What: "clear key", Key: "2", Outcome: audit.Done}}
	if diff := cmp.Diff(want, w.Audits(5)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := w.Clear(t.Context(), "9", by); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v", err)
	}
	w.store.Before = func([]store.Record) error { return errors.New("full") }
	if _, err := w.Clear(t.Context(), "2", by); err == nil {
		t.Error("no error")
	}
	w.store.Before = nil
	w.wantEntries("1 clear key []")
}

// TestDamagedRecords are found at the start.
func TestDamagedRecords(t *testing.T) {
	for name, r := range map[string]store.Record{
		"a document that is no JSON":  {Bucket: documentBucket, Key: "keys", Value: []byte(`{"a":`)},
		"an entry that is no JSON":    {Bucket: auditBucket, Key: number(1), Value: []byte(`no`)},
		"an entry of another number":  {Bucket: auditBucket, Key: number(2), Value: []byte(`{"id":1}`)},
		"an entry without its number": {Bucket: auditBucket, Key: "1", Value: []byte(`{"id":1}`)},
	} {
		w := newWorld(t, threeKeys())
		if err := w.memory.Commit([]store.Record{r}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{Store: w.memory}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
