package reporter_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/filter/reporter"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

const (
	window = quota.Window(20410)
	noon   = int64(window)*86_400_000 + 43_200_000
)

func settle(b *account.Book, c string, w quota.Window, total int64) {
	b.Update(c, func(e *account.Entry) bool {
		e.Settle(w, account.Settlement{Class: groq.ClassOK, Model: "m", Charged: true, TimeMS: 3, Usage: groq.Usage{Prompt: 1, Completion: total - 1, Total: total}})
		return true
	})
}

func TestBuildSaysEverythingSinceTheStart(t *testing.T) {
	b := account.NewBook(&accounttest.Data{})
	settle(b, "1.1", window-1, 10)
	settle(b, "1.1", window, 20)
	settle(b, "2.1", window, 30)
	settle(b, "3.1", window-5, 99) // nobody takes it any more
	b.Update("2.1", func(e *account.Entry) bool { e.Reserve(7, 55); return true })
	b.End(window, noon-2000, account.Call{Outcome: account.Succeeded, TimeMS: 9})
	b.Learn(noon-500, account.Finding{Credential: "2.1", Org: "o", Model: "m", Kind: protocol.Cooling, Code: "c", UntilMS: noon + 3000, AtMS: noon - 500})
	b.Note(account.Note{Kind: protocol.NoteEdge, Window: window, AtMS: noon - 100, To: "1.1"})
	b.Charge(window, protocol.CallerUsage{Caller: "team", Requests: 1, Prompt: 1, Completion: 19, Total: 20})
	b.Charge(window+1, protocol.CallerUsage{Caller: protocol.NoCaller, Requests: 1})
	b.UpdateSender(func(s *account.Sender) bool {
		s.Seq, s.Version = 4, account.Version{Epoch: 2, Generation: 9}
		return true
	})

	b.Refuse([]byte("nonsense"))
	b.Refuse([]byte("nonsense")) // by another worker
	inForce := []protocol.Key{{Credential: "1.1"}, {Credential: "2.1"}}
	r := reporter.Build(b, reporter.Identity{Node: "n", Incarnation: "i", NowMS: noon, HostMS: 5, Config: 8, InForce: inForce})
	times := make([]int64, len(protocol.TimeBuckets)+1)
	times[0] = 1
	use := func(c string, total int64) protocol.CredentialUsage {
		return protocol.CredentialUsage{Credential: c, Requests: 1, Attempts: map[string]int64{"ok": 1}, TimeMS: times,
			Models: []protocol.ModelUsage{{Model: "m", Prompt: 1, Completion: total - 1, Total: total}}}
	}
	want := &protocol.Report{
		Version: protocol.Version, Node: "n", Incarnation: "i", Seq: 4, NowMS: noon, HostMS: 5, Epoch: 2, Generation: 9, Config: 8, BadConfigs: 1,
		Windows: []protocol.WindowUsage{
			{Window: "2025-11-17", Credentials: []protocol.CredentialUsage{use("1.1", 10)}},
			{Window: "2025-11-18", Gate: protocol.GateUsage{Requests: 1, Succeeded: 1, TimeMS: 9, LastServedMS: 2000},
				Credentials: []protocol.CredentialUsage{use("1.1", 20), use("2.1", 30)},
				Callers:     []protocol.CallerUsage{{Caller: "team", Requests: 1, Prompt: 1, Completion: 19, Total: 20}}},
			{Window: "2025-11-19", Callers: []protocol.CallerUsage{{Caller: "none", Requests: 1}}},
		},
		Findings: []protocol.Finding{{Credential: "2.1", Org: "o", Model: "m", Kind: protocol.Cooling, Code: "c", RemainingMS: 3000, AgeMS: 500}},
		Notes:    []protocol.Note{{Seq: 1, Kind: protocol.NoteEdge, Window: "2025-11-18", AgeMS: 100, To: "1.1"}},
		Reserved: []protocol.CredentialUse{{Credential: "2.1", Tokens: 55, Requests: 1}},
	}
	if d := cmp.Diff(want, r); d != "" {
		t.Error(d)
	}
}

func answer(generation int64) *protocol.Answer {
	return &protocol.Answer{
		Version: protocol.Version, Epoch: 1, Generation: generation, Incarnation: "i", NowMS: noon,
		Allowances: []protocol.Allowance{
			{Credential: "1.1", Window: "2025-11-18", Tokens: 100 * generation, Requests: protocol.Unlimited},
			{Credential: "1.1", Window: "2025-11-19", Tokens: 7, Requests: 3, More: true},
		},
		Findings: []protocol.Finding{{Credential: "1.1", Org: "o", Kind: protocol.Restricted, RemainingMS: 1000, AgeMS: 10}},
		Keys:     []protocol.KeyState{{ID: "1", Health: 0.5, MedianMS: 20}},
	}
}

func TestTakeFollowsTheNewest(t *testing.T) {
	b := account.NewBook(&accounttest.Data{})
	if reporter.Take(b, answer(5), "another process", noon) {
		t.Error("took another process's answer")
	}
	if !reporter.Take(b, answer(5), "i", noon) || reporter.Take(b, answer(4), "i", noon) {
		t.Error("the newest answer counts")
	}
	if r := b.Entry("1.1").Room(window, nil); r.Free != 500 || r.More {
		t.Errorf("%+v", r)
	}
	if r := b.Entry("1.1").Room(window+1, nil); r.Free != 7 || r.FreeRequests != 3 || !r.More {
		t.Errorf("tomorrow %+v", r)
	}
	if f := b.Findings(noon); len(f) != 1 || f[0].UntilMS != noon+1000 || f[0].AtMS != noon-10 {
		t.Errorf("%+v", f)
	}
	if s, ok := b.Standing(); !ok || s.OffsetMS != 0 || len(s.Keys) != 1 || s.Keys[0].Health != 0.5 {
		t.Errorf("%+v", s)
	}
	if got := b.Sender().Version; got != (account.Version{Epoch: 1, Generation: 5}) {
		t.Errorf("%+v", got)
	}
}

func TestWhatWasLearnedFollowsTheClock(t *testing.T) {
	b := account.NewBook(&accounttest.Data{})
	const host = noon - 600_000 // ten minutes behind
	b.Learn(host, account.Finding{Credential: "2.1", Org: "o2", Kind: protocol.Cooling, UntilMS: host + 20_000, AtMS: host})
	reporter.Take(b, answer(1), "i", host+1000)
	for _, f := range b.Findings(noon) {
		if f.Credential == "2.1" && f.UntilMS == noon+19_000 && f.AtMS == noon-1000 {
			return
		}
	}
	t.Errorf("a rest of 20 s, of which 1 s is over: %+v", b.Findings(noon))
}

func TestTakeCorrectsTheClock(t *testing.T) {
	now := func(b *account.Book, host int64) int64 {
		s, _ := b.Standing()
		return s.Clock.Now(host) + s.OffsetMS
	}
	b := account.NewBook(&accounttest.Data{})
	a := answer(1)
	reporter.Take(b, a, "i", noon-600_000) // this host is ten minutes behind
	if got := now(b, noon-599_000); got != noon+1000 {
		t.Errorf("%d ms off", got-noon-1000)
	}
	a.NowMS = noon + 2100 // an answer that took 100 ms changes nothing
	reporter.Take(b, a, "i", noon-598_000)
	if got := now(b, noon-598_000); got != noon+2000 {
		t.Errorf("%d ms off", got-noon-2000)
	}
	a.Clock = protocol.Clock{AnchorHostMS: noon, AnchorNowMS: noon + 1, Speed: 60}
	a.NowMS = a.Clock.Now(noon + 1000)
	reporter.Take(b, a, "i", noon+1000)
	if got := now(b, noon+2000); got != noon+1+120_000 {
		t.Errorf("a fast clock is %d ms off", got-noon-1-120_000)
	}
	a.Clock = protocol.Clock{}
	a.NowMS = noon + 5000
	reporter.Take(b, a, "i", noon+5000)
	if got := now(b, noon+6000); got != noon+6000 {
		t.Errorf("back to the real clock, %d ms off", got-noon-6000)
	}
}

// An answer about very many credentials makes no more garbage for each of them than one about a few.
func TestTakeOfManyCredentials(t *testing.T) {
	perCredential := func(n int) uint64 {
		book := account.NewBook(&accounttest.Data{})
		a := &protocol.Answer{Version: protocol.Version, Epoch: 1, Incarnation: "i", NowMS: noon}
		for i := range n {
			for _, w := range []quota.Window{window, window + 1} {
				a.Allowances = append(a.Allowances, protocol.Allowance{Credential: fmt.Sprint(i, ".1"), Window: w.String(), Tokens: 1000})
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			a.Generation++
			if !reporter.Take(book, a, "i", noon) {
				t.Fatal("it was not taken")
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(10*n)
	}
	perCredential(10)
	few, many := perCredential(10), perCredential(1000)
	t.Logf("%d bytes for each of 10 credentials, %d for each of 1,000", few, many)
	if many > 4*few {
		t.Errorf("%d bytes for each of 1,000 credentials, %d for each of 10", many, few)
	}
}
