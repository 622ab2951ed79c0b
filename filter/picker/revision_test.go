package picker_test

import (
	"fmt"
	"testing"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/shared/protocol"
	"keywheel/shared/selection"
)

// A key that is cleared, or gets another secret, while it is in use stays in use: that is no rotation, whatever the
// strategy, and a worker that still has the old assignment does not turn it back. Once it has to leave, it leaves for its
// own reason.
func TestANewRevisionIsNoRotation(t *testing.T) {
	for _, strategy := range selection.Strategies {
		before, after := three(strategy), three(strategy)
		after.Keys[0].Credential = "1.2"
		b := granted(before)
		b.Update("1.2", func(e *account.Entry) bool {
			return e.Allow(account.Version{Epoch: 1, Generation: 9}, window, []protocol.Allowance{{Credential: "1.2", Window: window.String(), Tokens: 1000, Requests: 1000}})
		})
		use := func(a *protocol.Assignment) string {
			p := picker.New(a)
			c := p.Pick(b, 1, picker.Request{Need: 100, Model: "m"}, at)
			b.Update(c.Key.Credential, func(e *account.Entry) bool { e.Release(1, c.Reserve); return true })
			rotated := p.Takes(c) && b.Use(window, noon, c.Key.Credential, c.Leave)
			return fmt.Sprint(b.InUse(), " ", c.Leave.Reason, " ", rotated)
		}
		for _, step := range []struct {
			a    *protocol.Assignment
			want string
		}{{before, "1.1  false"}, {after, "1.2  false"}, {before, "1.2  false"}, {after, "1.2  false"}} {
			if got := use(step.a); got != step.want {
				t.Errorf("%s: in use, reason to leave, rotated: %s, want %s", strategy, got, step.want)
			}
		}
		cleared := three(strategy)
		cleared.Keys[0].Credential, cleared.Keys[0].Disabled = "1.3", true
		if got := use(cleared); got != "2.1 disabled true" {
			t.Errorf("%s: %s", strategy, got)
		}
	}
}
