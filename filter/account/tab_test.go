package account_test

import (
	"testing"

	"pgregory.net/rapid"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

// Whatever workers do with their tabs, nothing is spent twice, no more is held than there is, and in the end the entry has
// what calls of their own would have left in it, with nothing held.
func TestTabsComeToWhatTheirCallsDid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 1_000_000).Draw(t, "limit")
		key := &protocol.Key{ID: "1", Credential: "1.1", Fresh: []protocol.Fresh{
			{Window: "2020-01-01", Tokens: limit, Requests: rapid.SampledFrom([]int64{protocol.Unlimited, 700}).Draw(t, "requests")},
		}}
		b := account.NewBook(&accounttest.Data{})
		type call struct{ vm, held int64 }
		var tabs [2]account.Tab
		var flying []call
		var spent, ended, estimates int64
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			vm := rapid.Int64Range(0, 1).Draw(t, "vm")
			need := rapid.Int64Range(0, 300).Draw(t, "need")
			tab := &tabs[vm]
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				if filled := b.Fill(tab, key, uint32(vm+1), w, need); filled != (tab.Credential() != "") {
					t.Fatalf("filled %v, of %q", filled, tab.Credential())
				}
			case 1:
				b.Close(tab)
			case 2, 3:
				if tab.Holds(need) {
					tab.Take(need)
					flying = append(flying, call{vm, need})
				}
			default:
				if len(flying) == 0 {
					continue
				}
				c := flying[0]
				flying = flying[1:]
				s := ok("m", rapid.Int64Range(0, c.held).Draw(t, "tokens"))
				if rapid.Bool().Draw(t, "estimated") {
					s = account.Settlement{Class: groq.ClassReset, Estimated: s.Usage.Total, Charged: true}
				}
				spent, ended, estimates = spent+s.Tokens(), ended+1, estimates+s.Estimated
				if tab := &tabs[c.vm]; tab.Credential() != "" && tab.Settle(w, uint32(c.vm+1), c.held, &s) {
					continue
				}
				b.Close(&tabs[c.vm])
				b.Update("1.1", func(e *account.Entry) bool {
					e.Release(uint32(c.vm+1), c.held)
					e.Settle(w, s)
					return true
				})
			}
			if r := b.Entry("1.1").Room(w, key.Fresh); r.Free < 0 || r.FreeRequests < 0 {
				t.Fatalf("more is held than there is: %+v", r)
			}
		}
		for i := range tabs {
			b.Close(&tabs[i])
		}
		for _, c := range flying {
			b.Update("1.1", func(e *account.Entry) bool { e.Release(uint32(c.vm+1), c.held); return true })
		}
		e := b.Entry("1.1")
		u := e.Usage("1.1")[w]
		var attempts, tokens, estimated int64
		for _, n := range u.Attempts {
			attempts += n
		}
		for _, m := range u.Models {
			tokens, estimated = tokens+m.Total, estimated+m.Estimated
		}
		if held, requests := e.Held(); attempts != ended || tokens != spent || estimated != estimates || u.Requests != ended || held != 0 || requests != 0 {
			t.Fatalf("%d of %d calls, %d of %d tokens, %d of %d estimated; %d tokens of %d requests are held",
				attempts, ended, tokens, spent, estimated, estimates, held, requests)
		}
	})
}
