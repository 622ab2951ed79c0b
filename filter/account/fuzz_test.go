package account_test

import (
	"testing"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// entries are the names in shared data, as account.go has them, with a credential's.
var entries = []string{
	"kw/c/1.1", "kw/gate", "kw/findings", "kw/notes", "kw/index", "kw/incarnation", "kw/sender", "kw/vms", "kw/answer", "kw/callers/0", "kw/callers/1",
}

// use calls all of a book's methods, as a worker would at this time.
func use(b *account.Book, step byte, nowMS int64) {
	at, c := w+quota.Window(step%3), "1.1"
	v := account.Version{Epoch: 1, Generation: int64(step)}
	b.Update(c, func(e *account.Entry) bool { e.Reserve(uint32(step), 10); return true })
	b.Update(c, func(e *account.Entry) bool {
		return e.Allow(v, at, []protocol.Allowance{{Credential: c, Window: at.String(), Tokens: 500}, {Credential: c, Window: (at + 1).String(), Tokens: 500}})
	})
	_ = b.Entry(c).Room(at, []protocol.Fresh{{Window: w.String(), Tokens: 5}})
	b.Update(c, func(e *account.Entry) bool {
		e.Settle(at, ok(string(rune('a'+step%64)), int64(step)))
		e.Release(uint32(step), 10)
		return true
	})
	b.Update(c, func(e *account.Entry) bool { return e.Reclaim(func(vm uint32) bool { return vm%2 == 0 }) })
	b.Learn(nowMS, account.Finding{Credential: c, Org: "o", Model: string(rune('a' + step%64)), Kind: protocol.Cooling, UntilMS: nowMS + 1000, AtMS: nowMS})
	b.Charge(at, protocol.CallerUsage{Caller: string(rune('a' + step%64)), Requests: 1, Total: 3})
	b.End(at, nowMS, account.Call{Outcome: account.Outcome(step % 3), Credential: c, Tokens: 3, TimeMS: 1, Out: step%2 == 0})
	b.Use(at, nowMS, c, account.Leave{Reason: "exhausted", Cause: uint64(step)})
	b.Note(account.Note{Kind: protocol.NoteEdge, Window: at, AtMS: nowMS, To: c})
	b.UpdateSender(func(s *account.Sender) bool { s.Seq++; return true })
	_, _ = b.Beat(uint32(step), nowMS)
	b.SetStanding(account.Standing{Clock: protocol.Clock{Speed: 1}, OffsetMS: 5, Keys: []protocol.KeyState{{ID: "1", Health: 99.5, MedianMS: 7}}})
	_ = b.Incarnation(func() string { return "one" })
}

// read returns what a report would take from the book.
func read(b *account.Book, nowMS int64) (credentials []protocol.CredentialUsage) {
	for _, id := range b.Credentials() {
		e := b.Entry(id)
		_, _ = e.Held()
		for _, u := range e.Usage(id) {
			credentials = append(credentials, u)
		}
	}
	_, _, _, _, _, _ = b.GateUsage(nowMS), b.Callers(), b.Findings(nowMS), b.Notes(), b.Sender(), b.InUse()
	_, _ = b.Standing()
	return credentials
}

// Whatever bytes stand in shared data, by another version of the module or by damage, the account goes on: nothing
// panics or loops, nothing grows without end, and counting works.
func FuzzSharedData(f *testing.F) {
	for i, name := range entries { // what the account itself writes
		d := &accounttest.Data{}
		b := account.NewBook(d)
		for step := range byte(5) {
			use(b, step, 1_000)
		}
		content, _, has := d.Get(name)
		if !has {
			f.Fatalf("nobody writes %s", name)
		}
		f.Add(byte(i), content, byte(7))
		f.Add(byte(i), content[:len(content)/2], byte(3))
		f.Add(byte(i), append(content, content...), byte(200))
	}
	f.Fuzz(func(t *testing.T, which byte, content []byte, step byte) {
		const nowMS = 2_000
		name := entries[int(which)%len(entries)]
		d := &accounttest.Data{}
		d.Swap(name, content, account.Absent)
		b := account.NewBook(d)
		_ = read(b, nowMS)
		for i := range byte(3) {
			use(b, step+i, nowMS)
		}
		const room = 64 << 10 // 256 findings, and 200 callers, of the longest names
		if size := d.Size(name); size > room+3*len(content) {
			t.Fatalf("%s grew from %d to %d bytes", name, len(content), size)
		}
		counted := func() int64 { return b.Entry("1.1").Usage("1.1")[w+2].Requests }
		for range 2 { // the second time the window has its slot for certain
			settle(b, "1.1", w+2, account.Settlement{Class: groq.ClassOK, Charged: true})
		}
		before := counted()
		settle(b, "1.1", w+2, account.Settlement{Class: groq.ClassOK, Charged: true})
		_ = read(b, nowMS)
		if after := counted(); name != "kw/c/1.1" && after != before+1 {
			t.Fatalf("a call was counted %d times", after-before)
		}
	})
}
