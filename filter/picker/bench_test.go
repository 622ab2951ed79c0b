package picker_test

import (
	"testing"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/shared/groq"
	"keywheel/shared/selection"
)

// BenchmarkCall is what a call costs in the account: look, pick, settle, end.
func BenchmarkCall(b *testing.B) {
	a := three(selection.Priority)
	for i := range a.Keys {
		a.Keys[i].LimitTokens = 1 << 50
	}
	book, p := granted(a), picker.New(a)
	r := picker.Request{Need: 100, Model: "llama-3.1-8b-instant"}
	b.ReportAllocs()
	for b.Loop() {
		p.Peek(book, r, at)
		c := p.Pick(book, 1, r, at)
		book.Update(c.Key.Credential, func(e *account.Entry) bool {
			e.Release(1, c.Reserve)
			e.Settle(window, account.Settlement{Class: groq.ClassOK, Model: r.Model, Charged: true, Usage: groq.Usage{Total: 100}})
			return true
		})
		book.End(window, noon, account.Call{Outcome: account.Succeeded, Credential: c.Key.Credential, Tokens: 100})
	}
}
