package account_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

const w = quota.Window(20410)

func ok(model string, total int64) account.Settlement {
	return account.Settlement{
		Class: groq.ClassOK, Model: model, Charged: true, TimeMS: 7,
		Usage: groq.Usage{Prompt: total / 3, Completion: total - total/3, Total: total, Known: true},
	}
}

func settle(b *account.Book, c string, w quota.Window, s account.Settlement) {
	b.Update(c, func(e *account.Entry) bool { e.Settle(w, s); return true })
}

func total(b *account.Book, c string, w quota.Window) (tokens int64) {
	for _, m := range b.Entry(c).Usage(c)[w].Models {
		tokens += m.Total
	}
	return tokens
}

func TestWorkersThatRaceLoseNothing(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	for vm := range uint32(workers) {
		wg.Go(func() {
			for i := range each {
				c := fmt.Sprintf("%d.1", i%3)
				book.Update(c, func(e *account.Entry) bool { e.Reserve(vm+1, 10); return true })
				book.Update(c, func(e *account.Entry) bool {
					e.Release(vm+1, 10)
					e.Settle(w, ok("m", 3))
					return true
				})
				book.End(w, int64(i), account.Call{Outcome: account.Succeeded, TimeMS: 2})
			}
		})
	}
	wg.Wait()
	var tokens, requests int64
	for _, c := range book.Credentials() {
		e := book.Entry(c)
		if held, n := e.Held(); held != 0 || n != 0 {
			t.Errorf("%s still holds %d tokens for %d requests", c, held, n)
		}
		tokens += total(book, c, w)
		requests += e.Usage(c)[w].Requests
	}
	if tokens != 3*workers*each || requests != workers*each {
		t.Errorf("%d tokens, %d requests; want %d, %d", tokens, requests, 3*workers*each, workers*each)
	}
	if g := book.GateUsage(0)[w]; g.Requests != workers*each || g.Succeeded != workers*each || g.TimeMS != 2*workers*each {
		t.Errorf("gate counted %+v", g)
	}
	if len(book.Credentials()) != 3 {
		t.Errorf("credentials %v", book.Credentials())
	}
}

// A model of the entry, kept in maps, that random operations must agree with.
func TestEntryAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := account.NewEntry()
		type slot struct {
			models   map[string]int64
			requests int64
		}
		slots := map[quota.Window]*slot{}
		held := map[uint32][2]int64{}
		current := w
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			vm := rapid.Uint32Range(1, 4).Draw(t, "vm")
			n := rapid.Int64Range(0, 1000).Draw(t, "n")
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				e.Reserve(vm, n)
				held[vm] = [2]int64{held[vm][0] + 1, held[vm][1] + n}
			case 1:
				h := held[vm]
				e.Release(vm, n)
				if h[0] <= 1 {
					delete(held, vm)
				} else {
					held[vm] = [2]int64{h[0] - 1, max(0, h[1]-n)}
				}
			case 2:
				e.Reclaim(func(id uint32) bool { return id != vm })
				delete(held, vm)
			case 3:
				current++
			case 4:
				at := current - quota.Window(rapid.IntRange(0, 1).Draw(t, "late"))
				model := rapid.SampledFrom([]string{"a", "llama", strings.Repeat("x", 70)}).Draw(t, "model")
				e.Settle(at, ok(model, n))
				for old := range slots {
					if len(slots) == 2 && slots[at] == nil && old == min2(slots) && old < at {
						delete(slots, old)
						break
					}
				}
				if slots[at] == nil {
					if len(slots) == 2 { // older than both kept windows
						at = min2(slots)
					} else {
						slots[at] = &slot{models: map[string]int64{}}
					}
				}
				slots[at].requests++
				if n > 0 {
					slots[at].models[model[:min(len(model), 64)]] += n
				}
			}
		}
		var tokens, requests int64
		for _, h := range held {
			requests, tokens = requests+h[0], tokens+h[1]
		}
		if gotTokens, gotRequests := e.Held(); gotTokens != tokens || gotRequests != requests {
			t.Fatalf("holds %d for %d, want %d for %d", gotTokens, gotRequests, tokens, requests)
		}
		usage := e.Usage("1.1")
		if len(usage) != len(slots) {
			t.Fatalf("%d windows, want %d", len(usage), len(slots))
		}
		for at, s := range slots {
			got := map[string]int64{}
			for _, m := range usage[at].Models {
				got[m.Model] = m.Total
			}
			if d := cmp.Diff(s.models, got, cmpopts.EquateEmpty()); d != "" || usage[at].Requests != s.requests {
				t.Fatalf("window %s: %d requests, want %d; %s", at, usage[at].Requests, s.requests, d)
			}
		}
	})
}

func min2[T any](m map[quota.Window]T) quota.Window {
	least := quota.Window(1 << 30)
	for k := range m {
		least = min(least, k)
	}
	return least
}

func TestRoomFollowsTheAllowances(t *testing.T) {
	fresh := []protocol.Fresh{{Window: w.String(), Tokens: 300, Requests: -1}, {Window: (w + 1).String(), Tokens: 200, Requests: 5}}
	e := account.NewEntry()
	if r := e.Room(w, fresh); r.Free != 300 || !r.More || r.FreeRequests < 1<<40 {
		t.Errorf("unnamed: %+v", r)
	}
	if r := e.Room(w+3, fresh); r.Free != 200 || r.FreeRequests != 5 {
		t.Errorf("beyond the last window its slice goes on: %+v", r)
	}
	if r := e.Room(w-1, fresh); r.Free != 0 || !r.More {
		t.Errorf("before the first window nothing may be spent: %+v", r)
	}
	e.Settle(w, ok("m", 100))
	e.Reserve(1, 50)
	allow := func(g int64, as ...protocol.Allowance) bool {
		return e.Allow(account.Version{Epoch: 1, Generation: g}, w, as)
	}
	if !allow(5, protocol.Allowance{Window: w.String(), Tokens: 1000, Requests: 10, More: true}, protocol.Allowance{Window: (w + 1).String(), Tokens: 900, Requests: -1}) {
		t.Error("refused a newer answer")
	}
	if r := e.Room(w, fresh); r.Free != 850 || r.Unspent != 900 || r.FreeRequests != 8 || r.UnspentRequests != 9 || !r.More {
		t.Errorf("named: %+v", r)
	}
	if allow(4, protocol.Allowance{Window: w.String(), Tokens: 1}) {
		t.Error("took an older answer")
	}
	if r := e.Room(w+1, fresh); r.Free != 850 || r.More {
		t.Errorf("the next window's allowance waits for it: %+v", r)
	}
	e.Settle(w+1, ok("m", 10))
	if r := e.Room(w+1, fresh); r.Unspent != 890 {
		t.Errorf("the next window begins with its allowance: %+v", r)
	}
	e.Settle(w+2, ok("m", 20))
	if r := e.Room(w+2, fresh); r.Unspent != 880 {
		t.Errorf("a later window goes on with the last one's: %+v", r)
	}
	if r := e.Room(w+1, fresh); r.Unspent != 890 {
		t.Errorf("yesterday's is kept: %+v", r)
	}
	if !allow(6, protocol.Allowance{Window: (w + 2).String(), Tokens: protocol.Unlimited, Requests: protocol.Unlimited}) {
		t.Error("refused")
	}
	if r := e.Room(w+2, fresh); r.Free < 1<<40 {
		t.Errorf("no limit: %+v", r)
	}
}

func TestAClockThatWentFarBackFindsRoom(t *testing.T) {
	e := account.NewEntry()
	e.Settle(w+1, ok("m", 5))
	e.Settle(w+2, ok("m", 6))
	e.Allow(account.Version{Epoch: 1, Generation: 1}, w, []protocol.Allowance{{Window: w.String(), Tokens: 100, Requests: protocol.Unlimited}})
	if r := e.Room(w, nil); r.Free != 100 || r.Granted != 100 {
		t.Errorf("%+v", r)
	}
	e.Settle(w, ok("m", 7))
	if r := e.Room(w, nil); r.Free != 93 {
		t.Errorf("%+v", r)
	}
	if u := e.Usage("1.1"); u[w+1].Models[0].Total != 5 {
		t.Errorf("the nearer window is gone: %+v", u)
	}
}

func TestModelsAreBounded(t *testing.T) {
	e := account.NewEntry()
	for i := range 200 {
		e.Settle(w, ok(fmt.Sprintf("model-%d", i), 1))
	}
	models := e.Usage("1.1")[w].Models
	var sum, other int64
	for _, m := range models {
		sum += m.Total
		if m.Model == account.OtherModel {
			other = m.Total
		}
	}
	if len(models) != account.MaxModels || sum != 200 || other != 200-(account.MaxModels-1) {
		t.Errorf("%d models, %d tokens, %d of them other", len(models), sum, other)
	}
}

func TestDamagedEntriesStartAnew(t *testing.T) {
	d := &accounttest.Data{}
	book := account.NewBook(d)
	settle(book, "1.1", w, ok("m", 5))
	for range 2000 {
		d.Corrupt("kw/c/1.1", func(b []byte) []byte {
			b = b[:rand.IntN(len(b)+1)]
			for range 3 {
				if len(b) > 0 {
					b[rand.IntN(len(b))] = byte(rand.Uint32())
				}
			}
			return b
		})
		e := book.Entry("1.1")
		_, _, _ = e.Room(w, nil), e.Usage("1.1"), e.Version()
		settle(book, "1.1", w+quota.Window(rand.IntN(4)), ok("m", 1))
	}
}

func TestFirstCompletionAfterAChangeIsNoted(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	served := func(c string, tokens int64) {
		book.End(w, 1000, account.Call{Outcome: account.Succeeded, Credential: c, Tokens: tokens})
	}
	book.Use(w, 1, "1.1", account.Leave{})
	served("1.1", 100)
	served("1.1", 101)
	out := account.Leave{Reason: "exhausted", Cause: 42}
	if !book.Use(w, 2, "2.1", out) {
		t.Error("no rotation")
	}
	served("1.1", 102) // still in flight on the old key
	served("2.1", 123)
	served("2.1", 124)
	if book.Use(w, 3, "1.1", account.Leave{}) {
		t.Error("a return is no rotation")
	}
	if book.Use(w, 4, "2.1", out) {
		t.Error("one cause was counted twice")
	}
	want := []account.Note{
		{Seq: 1, Kind: protocol.NoteReturned, Window: w, AtMS: 1, To: "1.1"},
		{Seq: 2, Kind: protocol.NoteCompletion, Window: w, AtMS: 1000, To: "1.1", Ordinal: 1, Tokens: 100},
		{Seq: 3, Kind: protocol.NoteRotated, Window: w, AtMS: 2, From: "1.1", To: "2.1", Reason: "exhausted"},
		{Seq: 4, Kind: protocol.NoteCompletion, Window: w, AtMS: 1000, To: "2.1", Ordinal: 4, Tokens: 123},
		{Seq: 5, Kind: protocol.NoteReturned, Window: w, AtMS: 3, From: "2.1", To: "1.1"},
	}
	if d := cmp.Diff(want, book.Notes()); d != "" {
		t.Error(d)
	}
	for range 200 {
		book.Note(account.Note{Kind: protocol.NoteEdge})
	}
	notes := book.Notes()
	if len(notes) != 64 || notes[63].Seq != 205 {
		t.Errorf("%d notes to number %d", len(notes), notes[len(notes)-1].Seq)
	}
}

func TestRefusalsAreTimed(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	book.End(w, 1000, account.Call{Outcome: account.Succeeded})
	book.End(w, 2000, account.Call{Outcome: account.Refused})
	book.End(w, 3000, account.Call{Outcome: account.Refused})
	if g := book.GateUsage(5000)[w]; g.FirstRefusalMS != 3000 || g.LastRefusalMS != 2000 || g.LastServedMS != 4000 || g.Refused != 2 {
		t.Errorf("%+v", g)
	}
	book.End(w, 6000, account.Call{Outcome: account.Succeeded})
	if g := book.GateUsage(7000)[w]; g.FirstRefusalMS != 0 || g.LastServedMS != 1000 {
		t.Errorf("after a served call: %+v", g)
	}
}

func TestDeadVMsAreFound(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	book.Beat(1, 1000)
	book.Beat(2, 2000)
	if alive, died := book.Beat(1, 4000); died || !alive(1) || !alive(2) || alive(3) {
		t.Error("both live")
	}
	if alive, died := book.Beat(1, 7001); !died || !alive(1) || alive(2) {
		t.Error("2 has been silent for more than five seconds")
	}
	if _, died := book.Beat(1, 7002); died {
		t.Error("2 died twice")
	}
}

func TestProcessState(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	n := 0
	propose := func() string { n++; return fmt.Sprint("i", n) }
	if first, again := book.Incarnation(propose), book.Incarnation(propose); first != "i1" || again != "i1" {
		t.Error("an incarnation has one name")
	}
	want := account.Sender{VM: 7, LeaseMS: 1, Seq: 2, SentMS: 3, Version: account.Version{Epoch: 4, Generation: 5}}
	book.UpdateSender(func(s *account.Sender) bool { *s = want; return true })
	if d := cmp.Diff(want, book.Sender()); d != "" {
		t.Error(d)
	}
	if book.UpdateSender(func(s *account.Sender) bool { s.Seq = 99; return false }) || book.Sender().Seq != 2 {
		t.Error("a refused update changed something")
	}
	if _, known := book.Standing(); known {
		t.Error("a standing before the first")
	}
	standing := account.Standing{
		Clock: protocol.Clock{AnchorHostMS: 1, AnchorNowMS: 2, Speed: 0.5}, OffsetMS: -3,
		Keys: []protocol.KeyState{{ID: "1", Health: 0.25, MedianMS: 12}, {ID: "2", Health: 1}},
	}
	book.SetStanding(standing)
	if got, known := book.Standing(); !known || !cmp.Equal(standing, got) {
		t.Errorf("got %+v", got)
	}
}

func TestEveryClassIsCounted(t *testing.T) {
	e := account.NewEntry()
	for _, c := range groq.Classes() {
		e.Settle(w, account.Settlement{Class: c})
	}
	got := e.Usage("1.1")[w].Attempts
	for _, c := range groq.Classes() {
		if got[string(c)] != 1 {
			t.Errorf("%s counted %d times", c, got[string(c)])
		}
	}
}
