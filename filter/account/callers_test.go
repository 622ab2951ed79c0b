package account_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

func call(caller string, total int64) protocol.CallerUsage {
	return protocol.CallerUsage{Caller: caller, Requests: 1, Prompt: total / 3, Completion: total - total/3, Total: total}
}

func TestCallersOfWorkersThatRaceLoseNothing(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	const workers, each = 8, 1500
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				book.Charge(w, call(fmt.Sprint("team-", i%3), 4))
			}
		})
	}
	wg.Wait()
	want := protocol.CallerUsage{Requests: workers * each / 3, Prompt: workers * each / 3, Completion: workers * each, Total: workers * each / 3 * 4}
	got := book.Callers()[w]
	for i := range got {
		want.Caller = fmt.Sprint("team-", i)
		if !cmp.Equal(got[0].Total, want.Total) || got[i].Requests != want.Requests || got[i].Prompt != want.Prompt || got[i].Completion != want.Completion {
			t.Errorf("%+v, want %+v", got[i], want)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d callers", len(got))
	}
}

func TestCallersAreBounded(t *testing.T) {
	d := &accounttest.Data{}
	book := account.NewBook(d)
	long := strings.Repeat("x", protocol.MaxCallerName-3)
	for round := range int64(3) {
		for i := range 500 {
			book.Charge(w, call(fmt.Sprintf("%s%03d", long, i), 10+round))
		}
	}
	callers := book.Callers()[w]
	var sum protocol.CallerUsage
	for i, c := range callers {
		sum.Requests += c.Requests
		sum.Total += c.Total
		if want := fmt.Sprintf("%s%03d", long, i); i < protocol.MaxCallers && (c.Caller != want || c.Requests != 3 || c.Total != 33) {
			t.Fatalf("%+v, want three requests of %s", c, want)
		}
	}
	if len(callers) != protocol.MaxCallers+1 || callers[protocol.MaxCallers] != (protocol.CallerUsage{
		Caller: protocol.OtherCaller, Requests: 900, Prompt: 300 * (3 + 3 + 4), Completion: 300 * (7 + 8 + 8), Total: 300 * 33,
	}) {
		t.Errorf("%d callers, the last is %+v", len(callers), callers[len(callers)-1])
	}
	if sum.Requests != 1500 || sum.Total != 500*33 {
		t.Errorf("together %+v", sum)
	}
	if n := d.Size("kw/callers/0") + d.Size("kw/callers/1"); n > 20<<10 {
		t.Errorf("a window's callers take %d bytes", n)
	}
}

// What is charged to any callers in any windows agrees with sums that are kept in maps.
func TestCallersAgreeWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book := account.NewBook(&accounttest.Data{})
		kept := map[quota.Window]quota.Window{} // by whether it is odd: the window
		want := map[quota.Window]map[string]protocol.CallerUsage{}
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			at := w + quota.Window(rapid.IntRange(-3, 3).Draw(t, "window"))
			c := call(rapid.SampledFrom([]string{"a", "team", protocol.OtherCaller, strings.Repeat("y", 80)}).Draw(t, "caller"), rapid.Int64Range(0, 1000).Draw(t, "tokens"))
			book.Charge(at, c)
			old, has := kept[at&1]
			if has && old < at {
				delete(want, old)
			}
			kept[at&1] = max(old, at)
			at = kept[at&1]
			c.Caller = c.Caller[:min(len(c.Caller), protocol.MaxCallerName)]
			if want[at] == nil {
				want[at] = map[string]protocol.CallerUsage{}
			}
			sum := want[at][c.Caller]
			want[at][c.Caller] = protocol.CallerUsage{
				Caller: c.Caller, Requests: sum.Requests + 1, Prompt: sum.Prompt + c.Prompt, Completion: sum.Completion + c.Completion, Total: sum.Total + c.Total,
			}
		}
		got := map[quota.Window]map[string]protocol.CallerUsage{}
		for at, callers := range book.Callers() {
			got[at] = map[string]protocol.CallerUsage{}
			for _, c := range callers {
				got[at][c.Caller] = c
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestDamagedCallersStartAnew(t *testing.T) {
	d := &accounttest.Data{}
	book := account.NewBook(d)
	const name = "kw/callers/0" // w is even
	for range 2000 {
		book.Charge(w+2*quota.Window(rand.IntN(2)), call(fmt.Sprint("team-", rand.IntN(9)), 5))
		d.Corrupt(name, func(b []byte) []byte {
			b = b[:rand.IntN(len(b)+1)]
			for range 3 {
				if len(b) > 0 {
					b[rand.IntN(len(b))] = byte(rand.Uint32())
				}
			}
			return b
		})
		_ = book.Callers()
	}
	d.Corrupt(name, func([]byte) []byte { return []byte("no entry") })
	book.Charge(w, call("team", 5))
	if got := book.Callers()[w]; len(got) != 1 || got[0].Total != 5 {
		t.Errorf("%+v", got)
	}
}

// BenchmarkCharge is what it costs to count a call for its caller.
func BenchmarkCharge(b *testing.B) {
	for _, n := range []int{3, protocol.MaxCallers} {
		b.Run(fmt.Sprint(n, " callers"), func(b *testing.B) {
			book := account.NewBook(&accounttest.Data{})
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("team-%03d", i)
				book.Charge(w, call(names[i], 1))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				book.Charge(w, call(names[i%n], 100))
				i++
			}
		})
	}
}
