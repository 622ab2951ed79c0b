package reporter_test

import (
	"fmt"
	"strings"
	"testing"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/filter/reporter"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

// maxBody is what the control plane reads of a report (xds/collector).
const maxBody = 1 << 20

// However many credentials a process has used, each report is small enough to be taken, has the keys in force and what is
// in flight, and every credential's counts are in one of them soon.
func TestManyCredentialsTakeTurns(t *testing.T) {
	for name, c := range map[string]struct {
		credentials, inForce, models, within int
	}{
		"replaced five thousand times":     {5000, 2, 1, 40},
		"a thousand keys in force":         {1000, 1000, 1, 4},
		"two thousand keys of many models": {2000, 2000, 8, 80},
		"every model of long names":        {200, 3, account.MaxModels, 40},
	} {
		t.Run(name, func(t *testing.T) {
			b := account.NewBook(&accounttest.Data{})
			var keys []protocol.Key
			for i := range c.credentials {
				id := fmt.Sprintf("%d.%d", i%7, i+1)
				for m := range c.models {
					for w := window - 1; w <= window; w++ {
						b.Update(id, func(e *account.Entry) bool {
							e.Settle(w, account.Settlement{Class: groq.ClassOK, Model: fmt.Sprint(m, strings.Repeat("\"", 50)), Charged: true,
								Usage: groq.Usage{Prompt: 1 << 40, Completion: 1 << 40, Total: 1 << 41}})
							return true
						})
					}
				}
				if i < c.inForce {
					keys = append(keys, protocol.Key{Credential: id})
				}
			}
			b.Update("5.6", func(e *account.Entry) bool { e.Reserve(1, 77); return true })
			for i := range protocol.MaxCallers {
				b.Charge(window, protocol.CallerUsage{Caller: fmt.Sprint("caller", i, strings.Repeat("c", 50)), Requests: 1 << 40, Total: 1 << 50})
			}
			told := map[string]int{}
			reports := 0
			for ; len(told) < c.credentials && reports < 1000; reports++ {
				b.UpdateSender(func(s *account.Sender) bool { s.Seq++; return true })
				r := reporter.Build(b, reporter.Identity{Node: "n", Incarnation: "i", NowMS: noon, InForce: keys})
				if n := len(protocol.AppendReport(nil, r)); n > maxBody {
					t.Fatalf("a report of %d bytes", n)
				}
				has := map[string]bool{}
				for _, w := range r.Windows {
					for _, u := range w.Credentials {
						told[u.Credential]++
						has[u.Credential] = true
					}
				}
				if c.inForce < 10 && !(has["0.1"] && has["1.2"] && has["5.6"]) || len(r.Reserved) != 1 {
					t.Fatalf("report %d leaves out what can change", reports)
				}
			}
			t.Logf("all is told in %d reports", reports)
			if len(told) != c.credentials || reports > c.within {
				t.Errorf("%d of %d credentials are told in %d reports", len(told), c.credentials, reports)
			}
		})
	}
}
