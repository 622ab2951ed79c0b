package picker_test

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/filter/picker"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/shared/selection"
)

const (
	window = quota.Window(20410)
	noon   = int64(window)*86_400_000 + 43_200_000
)

var at = picker.Instant{NowMS: noon, Window: window}

// three is the scenario's assignment: each key may spend 1,000 tokens.
func three(strategy selection.Strategy) *protocol.Assignment {
	a := &protocol.Assignment{Policy: protocol.Policy{Strategy: string(strategy), ReportIntervalMS: 1000}}
	for i, id := range []string{"1", "2", "3"} {
		a.Keys = append(a.Keys, protocol.Key{
			ID: id, Credential: id + ".1", Priority: i + 1, Org: "org" + id, LimitTokens: 1000,
		})
	}
	return a
}

// granted is an account in which every key of a has its whole limit.
func granted(a *protocol.Assignment) *account.Book {
	b := account.NewBook(&accounttest.Data{})
	for _, k := range a.Keys {
		b.Update(k.Credential, func(e *account.Entry) bool {
			return e.Allow(account.Version{Epoch: 1, Generation: 1}, window, []protocol.Allowance{
				{Credential: k.Credential, Window: window.String(), Tokens: k.LimitTokens, Requests: protocol.Unlimited},
			})
		})
	}
	return b
}

func spend(b *account.Book, c string, tokens int64) {
	b.Update(c, func(e *account.Entry) bool {
		e.Settle(window, account.Settlement{Class: groq.ClassOK, Usage: groq.Usage{Total: tokens}})
		return true
	})
}

func pick(t *testing.T, p *picker.Picker, b *account.Book, r picker.Request) string {
	t.Helper()
	c := p.Pick(b, 1, r, at)
	if c.Key == nil {
		return ""
	}
	b.Update(c.Key.Credential, func(e *account.Entry) bool { e.Release(1, c.Reserve); return true })
	return c.Key.ID
}

func TestPriorityDrainsKeysInOrder(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	r := picker.Request{Need: 100, Fixed: true}
	for _, step := range []struct {
		spend string
		n     int64
		want  string
	}{{"1.1", 0, "1"}, {"1.1", 900, "1"}, {"1.1", 1, "2"}, {"2.1", 950, "3"}, {"3.1", 1000, ""}} {
		spend(b, step.spend, step.n)
		if got := pick(t, p, b, r); got != step.want {
			t.Fatalf("after %d more on %s: key %q, want %q", step.n, step.spend, got, step.want)
		}
	}
	c := p.Pick(b, 1, r, at)
	if c.Refusal == nil || c.Refusal.Busy || c.Refusal.UntilMS != window.End().UnixMilli() {
		t.Errorf("refusal %+v", c.Refusal)
	}
	const want = "All 3 Groq keys are out: key 1 exhausted until 2025-11-19T00:00:00Z, key 2 exhausted until 2025-11-19T00:00:00Z, key 3 exhausted until 2025-11-19T00:00:00Z. Try again in 12h0m."
	if got := c.Refusal.Message(noon); got != want {
		t.Errorf("message\n%s\nwant\n%s", got, want)
	}
	if got := c.Refusal.RetryAfter(noon); got != 43200 {
		t.Errorf("retry after %d", got)
	}
}

func TestAmongEqualPrioritiesTheOneWithMoreIsPicked(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[1].Priority = 1
	b, p := granted(a), picker.New(a)
	spend(b, "1.1", 10)
	if got := pick(t, p, b, picker.Request{Need: 10}); got != "2" {
		t.Errorf("key %s", got)
	}
}

func TestBalancedSpreadsEvenly(t *testing.T) {
	a := three(selection.Balanced)
	b, p := granted(a), picker.New(a)
	got := map[string]int{}
	for range 60 {
		id := pick(t, p, b, picker.Request{Need: 10})
		got[id]++
		spend(b, id+".1", 10)
	}
	if got["1"] != 20 || got["2"] != 20 || got["3"] != 20 {
		t.Errorf("%v", got)
	}
	b.SetStanding(account.Standing{Keys: []protocol.KeyState{{ID: "1", Health: 0.2}, {ID: "2", Health: 1, MedianMS: 100}, {ID: "3", Health: 1, MedianMS: 200}}})
	if got := pick(t, p, b, picker.Request{Need: 10}); got != "2" {
		t.Errorf("the fastest healthy key is 2, got %s", got)
	}
}

func TestFindingsKeepAKeyOut(t *testing.T) {
	for _, c := range []struct {
		name    string
		finding account.Finding
		model   string
		want    string
	}{
		{"cooling for this model", account.Finding{Credential: "1.1", Org: "org1", Model: "m", Kind: protocol.Cooling}, "m", "2"},
		{"cooling for another model", account.Finding{Credential: "1.1", Org: "org1", Model: "x", Kind: protocol.Cooling}, "m", "1"},
		{"cooling for every model", account.Finding{Credential: "1.1", Org: "org1", Kind: protocol.Cooling}, "m", "2"},
		{"the model is unknown", account.Finding{Credential: "1.1", Org: "org1", Model: "m", Kind: protocol.Cooling}, "", "1"},
		{"learned by another key of the organization", account.Finding{Credential: "3.1", Org: "org1", Model: "m", Kind: protocol.Cooling}, "m", "2"},
		{"invalid", account.Finding{Credential: "1.1", Org: "org1", Kind: protocol.Invalid}, "m", "2"},
		{"another key of the organization is invalid", account.Finding{Credential: "3.1", Org: "org1", Kind: protocol.Invalid}, "m", "1"},
		{"restricted", account.Finding{Credential: "1.1", Org: "org1", Kind: protocol.Restricted}, "m", "2"},
		{"blocked", account.Finding{Credential: "1.1", Org: "org1", Model: "m", Kind: protocol.Blocked}, "m", "2"},
		{"of an older revision", account.Finding{Credential: "1.0", Org: "org1", Kind: protocol.Invalid}, "m", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := three(selection.Priority)
			b, p := granted(a), picker.New(a)
			c.finding.UntilMS = noon + 5000
			b.Learn(noon, c.finding)
			if got := pick(t, p, b, picker.Request{Need: 10, Model: c.model}); got != c.want {
				t.Errorf("key %s, want %s", got, c.want)
			}
			later := picker.Instant{NowMS: noon + 5000, Window: window}
			if got := p.Peek(b, picker.Request{Need: 10, Model: c.model}, later); got.Key.ID != "1" {
				t.Errorf("still out when the finding has ended: %s", got.Key.ID)
			}
		})
	}
}

func TestTheRefusalNamesTheEarliestReturn(t *testing.T) {
	a := three(selection.Priority)
	a.Keys[2].Disabled = true
	b, p := granted(a), picker.New(a)
	spend(b, "1.1", 1000)
	b.Learn(noon, account.Finding{Credential: "2.1", Org: "org2", Model: "m", Kind: protocol.Cooling, UntilMS: noon + 7500})
	c := p.Pick(b, 1, picker.Request{Need: 10, Model: "m"}, at)
	const want = "All 3 Groq keys are out: key 1 exhausted until 2025-11-19T00:00:00Z, key 2 cooling until 2025-11-18T12:00:08Z, key 3 disabled. Try again in 8s."
	if got := c.Refusal.Message(noon); got != want || c.Refusal.RetryAfter(noon) != 8 {
		t.Errorf("%d s, message\n%s\nwant\n%s", c.Refusal.RetryAfter(noon), got, want)
	}
}

func TestTriedKeysComeLastOrNotAtAll(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	soft := func(ids ...string) (r picker.Request) {
		r.Need = 10
		for _, id := range ids {
			r.Tried = append(r.Tried, picker.Tried{Credential: id})
		}
		return r
	}
	for _, tried := range []string{"1.1", "1.2", "1.17"} { // it was cleared meanwhile
		if got := pick(t, p, b, soft(tried)); got != "2" {
			t.Errorf("after %s key %s", tried, got)
		}
	}
	if got := pick(t, p, b, soft("11.1")); got != "1" {
		t.Errorf("after another key's try key %s", got)
	}
	c := p.Peek(b, soft("1.1", "2.1", "3.1"), at)
	if c.Key.ID != "1" || !c.Again {
		t.Errorf("with all tried and none at fault the best is tried again: %+v", c)
	}
	r := soft("1.1", "2.1", "3.1")
	for i := range r.Tried {
		r.Tried[i].Final = true
	}
	if c := p.Peek(b, r, at); c.Key != nil {
		t.Errorf("key %s was tried again though it cannot help", c.Key.ID)
	}
}

func TestALargeNeedNeverRefusesWhileAKeyHasTokens(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	spend(b, "1.1", 900)
	spend(b, "2.1", 600)
	spend(b, "3.1", 800)
	r := picker.Request{Need: 8000}
	var got []string
	for range 3 {
		c := p.Pick(b, 1, r, at)
		if c.Key == nil {
			t.Fatal("refused")
		}
		got = append(got, c.Key.ID)
	}
	if got[0] != "2" || got[1] != "3" || got[2] != "1" {
		t.Errorf("the one with the most left goes first: %v", got)
	}
	c := p.Pick(b, 1, r, at)
	if c.Refusal == nil || !c.Refusal.Busy || c.Refusal.RetryAfter(noon) != 1 {
		t.Errorf("only reservations stand in the way: %+v", c)
	}
	if c := p.Pick(b, 1, picker.Request{Need: 8000, Fixed: true}, at); c.Refusal == nil || c.Refusal.Busy {
		t.Errorf("a fixed need is a rule: %+v", c.Refusal)
	}
}

func TestAnUntriedSmallKeyComesBeforeATriedOne(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	spend(b, "2.1", 600)
	spend(b, "3.1", 1000)
	r := picker.Request{Need: 8000, Tried: []picker.Tried{{Credential: "1.1"}}}
	if c := p.Peek(b, r, at); c.Key == nil || c.Key.ID != "2" || c.Again {
		t.Errorf("%+v", c)
	}
}

func TestWhatCostsNothingNeedsNoTokens(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	for _, k := range a.Keys {
		spend(b, k.Credential, 1500)
	}
	if c := p.Pick(b, 1, picker.Request{}, at); c.Key == nil || c.Reserve != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAnOutstandingAllowanceIsAWait(t *testing.T) {
	a := three(selection.Priority)
	b, p := account.NewBook(&accounttest.Data{}), picker.New(a)
	if c := p.Pick(b, 1, picker.Request{Need: 10}, at); c.Refusal == nil || !c.Refusal.Busy || !c.Refusal.More {
		t.Errorf("%+v", c)
	}
}

func TestRequestLimits(t *testing.T) {
	a := three(selection.Priority)
	a.Keys = a.Keys[:1]
	b, p := account.NewBook(&accounttest.Data{}), picker.New(a)
	b.Update("1.1", func(e *account.Entry) bool {
		return e.Allow(account.Version{Epoch: 1, Generation: 1}, window, []protocol.Allowance{{Window: window.String(), Tokens: protocol.Unlimited, Requests: 2}})
	})
	first, second := p.Pick(b, 1, picker.Request{Need: 10}, at), p.Pick(b, 1, picker.Request{Need: 10}, at)
	third := p.Pick(b, 1, picker.Request{Need: 10}, at)
	if first.Key == nil || second.Key == nil || third.Refusal == nil || !third.Refusal.Busy {
		t.Errorf("two requests may be in flight: %+v %+v %+v", first, second, third)
	}
	for range 2 {
		b.Update("1.1", func(e *account.Entry) bool {
			e.Release(1, 10)
			e.Settle(window, account.Settlement{Class: groq.ClassOK, Charged: true})
			return true
		})
	}
	c := p.Pick(b, 1, picker.Request{Need: 10}, at)
	const want = "The only Groq key is out: key 1 exhausted until 2025-11-19T00:00:00Z. Try again in 12h0m."
	if c.Refusal == nil || c.Refusal.Busy || c.Refusal.Message(noon) != want {
		t.Errorf("%+v", c.Refusal)
	}
}

// Workers that race for the same tokens never hold or spend more than the allowance.
func TestRacingWorkersKeepTheAllowance(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := map[string]int64{}
	for vm := range uint32(8) {
		wg.Go(func() {
			for range 200 {
				c := p.Pick(b, vm+1, picker.Request{Need: 7, Fixed: true}, at)
				if c.Key == nil {
					continue
				}
				b.Update(c.Key.Credential, func(e *account.Entry) bool {
					e.Release(vm+1, c.Reserve)
					e.Settle(window, account.Settlement{Class: groq.ClassOK, Usage: groq.Usage{Total: 7}})
					return true
				})
				mu.Lock()
				served[c.Key.ID] += 7
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range served {
		if n != 994 { // 142 requests of 7 tokens; the 143rd would need 1,001
			t.Errorf("key %s served %d of 1,000", id, n)
		}
	}
}

func TestLeavingIsCountedOnceForACause(t *testing.T) {
	a := three(selection.Priority)
	b, p := granted(a), picker.New(a)
	use := func(need int64) (string, bool) {
		c := p.Pick(b, 1, picker.Request{Need: need, Model: "m"}, at)
		rotated := false
		if p.Takes(c) {
			rotated = b.Use(window, noon, c.Key.Credential, c.Leave)
		}
		b.Update(c.Key.Credential, func(e *account.Entry) bool { e.Release(1, c.Reserve); return true })
		return b.InUse(), rotated
	}
	expect := func(need int64, inUse string, rotated bool) {
		t.Helper()
		if got, r := use(need); got != inUse || r != rotated {
			t.Errorf("in use %s, rotated %v; want %s, %v", got, r, inUse, rotated)
		}
	}
	expect(100, "1.1", false)
	spend(b, "1.1", 960)
	expect(100, "2.1", true)  // too little is left on key 1
	expect(10, "2.1", false)  // key 1 serves a small request, and is not in use again for that
	expect(100, "2.1", false) // nor does it leave again
	b.Learn(noon, account.Finding{Credential: "2.1", Org: "org2", Model: "m", Kind: protocol.Cooling, UntilMS: noon + 1000})
	expect(100, "3.1", true)
	expect(100, "3.1", false)
}

// Whatever happened before, a choice is of a key that can serve, and a refusal says why each cannot.
func TestChoicesAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := three(rapid.SampledFrom(selection.Strategies).Draw(t, "strategy"))
		for i := range a.Keys {
			a.Keys[i].Disabled = rapid.IntRange(0, 4).Draw(t, "disabled") == 0
			a.Keys[i].Priority = rapid.IntRange(1, 2).Draw(t, "priority")
		}
		b, p := granted(a), picker.New(a)
		for _, k := range a.Keys {
			spend(b, k.Credential, rapid.Int64Range(0, 1100).Draw(t, "spent"))
			b.Update(k.Credential, func(e *account.Entry) bool { e.Reserve(9, rapid.Int64Range(0, 300).Draw(t, "held")); return true })
		}
		r := picker.Request{Need: rapid.Int64Range(1, 1200).Draw(t, "need"), Fixed: rapid.Bool().Draw(t, "fixed"), Model: "m"}
		c := p.Pick(b, 1, r, at)
		if c.Key == nil {
			if len(c.Refusal.Keys) != 3 || c.Refusal.RetryAfter(noon) < 1 {
				t.Fatalf("%+v", c.Refusal)
			}
			for _, k := range c.Refusal.Keys {
				if k.Reason == "" {
					t.Fatalf("refused though key %s can serve", k.ID)
				}
			}
			return
		}
		room := b.Entry(c.Key.Credential).Room(window, nil)
		if c.Key.Disabled || room.Free < 0 || c.Reserve < 1 || r.Fixed && c.Reserve != r.Need || c.Reserve > r.Need {
			t.Fatalf("picked %+v, left %+v", c, room)
		}
	})
}
