package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/event"
)

func TestUsageIsCountedOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 123)
	e.spend(today, "2.1", 77)
	r := e.report(w.Now())
	for range 3 {
		if _, err := w.Apply(t.Context(), e.peer, r); err != nil {
			t.Fatal(err)
		}
	}
	v := w.View()
	if v.Keys[0].Used != 123 || v.Keys[1].Used != 77 || v.Keys[2].Used != 0 || v.Pool.Used != 200 || v.Pool.Requests != 2 || v.Pool.Remaining != 43000 {
		t.Errorf("keys %+v, pool %+v", v.Keys, v.Pool)
	}
	e.report(w.Now())
	e.report(w.Now()) // two are lost
	w.send(e)
	if s := w.Stats(); s.Reports != 4 || s.Repeated != 2 || s.Missed != 2 {
		t.Errorf("stats %+v", s)
	}
	w.check()
}

func TestOldIncarnationsReportIsStillCountedOnce(t *testing.T) {
	w := newWorld(t, threeKeys())
	old, next := w.newEnvoy(), w.newEnvoy()
	old.spend(today, "1.1", 100)
	late := old.report(w.Now())
	next.spend(today, "1.1", 10)
	w.send(next)
	for range 2 {
		if _, err := w.Apply(t.Context(), old.peer, late); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.key("1").Used; got != 110 {
		t.Errorf("used %d, want 110", got)
	}
}

func TestRefusedReports(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*protocol.Report)
		want  error
	}{
		"version":           {func(r *protocol.Report) { r.Version = 2 }, ErrBadReport},
		"incarnation":       {func(r *protocol.Report) { r.Incarnation = "x" }, ErrBadReport},
		"incarnation of v4": {func(r *protocol.Report) { r.Incarnation = "f47ac10b-58cc-4372-a567-0e02b2c3d479" }, ErrBadReport},
		"negative tokens":   {func(r *protocol.Report) { r.Windows[0].Credentials[0].Models[0].Total = -1 }, ErrBadReport},
		"too many tokens":   {func(r *protocol.Report) { r.Windows[0].Credentials[0].Models[0].Total = 1<<53 + 1 }, ErrBadReport},
		"negative seq":      {func(r *protocol.Report) { r.Seq = -1 }, ErrBadReport},
		"negative gate":     {func(r *protocol.Report) { r.Windows[0].Gate.Refused = -1 }, ErrBadReport},
		"no date":           {func(r *protocol.Report) { r.Windows[0].Window = "today" }, ErrBadReport},
		"credential":        {func(r *protocol.Report) { r.Windows[0].Credentials[0].Credential = "../x" }, ErrBadReport},
		"model's name":      {func(r *protocol.Report) { r.Windows[0].Credentials[0].Models[0].Model = "a\nb" }, ErrBadReport},
		"many windows":      {func(r *protocol.Report) { r.Windows = make([]protocol.WindowUsage, 9) }, ErrBadReport},
		"many models": {func(r *protocol.Report) {
			r.Windows[0].Credentials[0].Models = make([]protocol.ModelUsage, 65)
		}, ErrBadReport},
		"many buckets":  {func(r *protocol.Report) { r.Windows[0].Credentials[0].TimeMS = make([]int64, 23) }, ErrBadReport},
		"old window":    {func(r *protocol.Report) { r.Windows[0].Window = "2025-11-16" }, ErrGone},
		"future window": {func(r *protocol.Report) { r.Windows[0].Window = "2025-11-20" }, ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			e := w.newEnvoy()
			e.spend(today, "1.1", 5)
			r := e.report(w.Now())
			c.spoil(r)
			before := w.memory.Records()
			if _, err := w.Apply(t.Context(), e.peer, r); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if diff := cmp.Diff(before, w.memory.Records()); diff != "" {
				t.Errorf("the store changed:\n%s", diff)
			}
			if w.Stats().Refused != 1 {
				t.Error("not counted")
			}
			w.check()
		})
	}
}

func TestModelsOverManyReportsStayBounded(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	var err error
	var taken int64
	for i := range 100 {
		taken = w.View().Pool.Requests
		e.spend(today, "1.1", 1)
		r := e.report(w.Now())
		r.Windows[0].Credentials[0].Models[0].Model = fmt.Sprint("model-", i)
		if _, err = w.Apply(t.Context(), e.peer, r); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBadReport) {
		t.Errorf("error %v", err)
	}
	if got := w.View().Pool.Requests; got != taken || taken == 0 {
		t.Errorf("%d requests after a refused report, %d before", got, taken)
	}
	w.check()
}

func TestWindowsAround(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	for day, tokens := range map[string]int64{"2025-11-10": 1, "2025-11-17": 2, today: 4, "2025-11-19": 8} {
		e.spend(day, "1.1", tokens)
	}
	w.send(e)
	for day, want := range map[string]int64{"2025-11-17": 2, today: 4, "2025-11-19": 8} {
		d, _ := w.Day(window(day))
		if len(d.Credentials) != 1 || d.Credentials[0].Models[0].Total != want {
			t.Errorf("%s has %+v, want %d", day, d.Credentials, want)
		}
	}
	if _, ok := w.Day(window("2025-11-10")); ok || w.Stats().OldWindows != 1 {
		t.Errorf("an old window was counted; stats %+v", w.Stats())
	}
}

func TestUnknownCredentialIsKept(t *testing.T) {
	keys := threeKeys()
	w := newWorld(t, keys[:2])
	e := w.newEnvoy()
	e.spend(today, "3.1", 40)
	w.send(e)
	if w.Stats().UnknownCredentials != 1 || w.View().Pool.Used != 0 {
		t.Errorf("stats %+v, pool %+v", w.Stats(), w.View().Pool)
	}
	if err := w.SetKeys(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	if got := w.key("3").Used; got != 40 {
		t.Errorf("a key that is back has used %d, want 40", got)
	}
	w.check()
}

func TestImpossibleStepIsSetAside(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 1<<40)
	w.send(e)
	if got := w.key("1").Used; got != 0 {
		t.Errorf("used %d", got)
	}
	e.spend(today, "1.1", 50)
	w.send(e)
	w.reopen()
	if got := w.key("1").Used; got != 50 {
		t.Errorf("used %d, want 50: what comes after is counted", got)
	}
	events := w.Events(0, 0)
	if len(events) != 1 || events[0].Kind != event.Quarantined || w.Stats().Quarantined != 0 {
		t.Errorf("events %+v", events)
	}
	d, _ := w.Day(window(today))
	if d.Credentials[0].Models[0].Total != 50 {
		t.Errorf("the day has %+v", d.Credentials)
	}
}

// A permutation of all reports, with repetitions and losses, gives what the last of each source says.
func TestAnyOrderGivesTheSameTotals(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, threeKeys())
		var reports []*protocol.Report
		var last []*protocol.Report
		want := map[string]int64{}
		var requests int64
		for range 1 + r.IntN(4) {
			e := w.newEnvoy()
			n := 1 + r.IntN(8)
			for i := range n {
				for range r.IntN(5) {
					key := fmt.Sprint(1 + r.IntN(3))
					day := []string{"2025-11-17", today, "2025-11-19"}[r.IntN(3)]
					tokens := int64(r.IntN(900))
					e.spend(day, key+".1", tokens)
					want[key+" "+day] += tokens
					requests++
				}
				if i == n-1 {
					last = append(last, e.report(w.Now()))
				} else {
					reports = append(reports, e.report(w.Now()))
				}
			}
		}
		reports = slices.DeleteFunc(reports, func(*protocol.Report) bool { return r.IntN(4) == 0 })
		reports = append(reports, last...)
		for range r.IntN(10) {
			reports = append(reports, reports[r.IntN(len(reports))])
		}
		r.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		for i, report := range reports {
			if _, err := w.Apply(t.Context(), Peer{}, report); err != nil && !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
			if i == len(reports)/2 {
				w.reopen()
			}
		}
		w.check()
		var gotRequests int64
		for _, k := range w.Ledger.keys {
			for _, day := range []string{"2025-11-17", today, "2025-11-19"} {
				a := k.account(window(day))
				gotRequests += a.requests.spent
				if a.tokens.spent != want[k.ID+" "+day] {
					t.Fatalf("seed %d: key %s on %s has %d, want %d", seed, k.ID, day, a.tokens.spent, want[k.ID+" "+day])
				}
			}
		}
		if gotRequests != requests {
			t.Fatalf("seed %d: %d requests, want %d", seed, gotRequests, requests)
		}
	}
}
