package ledger

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/protocol"
	"keywheel/xds/event"
)

// A report that somebody kept and sends again, later or from another host, or after a restart, changes nothing of the
// account; nor is what it learned believed again.
func TestKeptReportSentAgain(t *testing.T) {
	for name, again := range map[string]func(w *world){
		"at once":         func(*world) {},
		"later":           func(w *world) { w.wait(time.Hour) },
		"after a restart": func(w *world) { w.wait(time.Hour); w.reopen() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, threeKeys())
			e := w.newEnvoy()
			e.spend(today, "1.1", 100)
			e.note(w.Now(), rotated("1.1", "2.1", "exhausted"))
			e.found = []protocol.Finding{{Credential: "1.1", Kind: protocol.Invalid, Code: "invalid_api_key", RemainingMS: 60_000}}
			kept := e.report(w.Now())
			if _, err := w.Apply(t.Context(), e.peer, kept); err != nil {
				t.Fatal(err)
			}
			e.found = nil
			e.spend(today, "1.1", 200)
			w.send(e)
			again(w)
			w.tick() // the finding is over, where time has passed
			before, events, findings := w.View().Keys, len(w.Events(0, 0)), len(w.findings)
			for _, peer := range []Peer{e.peer, {ConnID: 999}, {}} {
				if _, err := w.Apply(t.Context(), peer, kept); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, w.View().Keys, cmp.FilterPath(ofThisProcess, cmp.Ignore())); diff != "" {
				t.Errorf("the keys changed:\n%s", diff)
			}
			if len(w.Events(0, 0)) != events || len(w.findings) != findings {
				t.Errorf("%d events after %d, %d findings after %d", len(w.Events(0, 0)), events, len(w.findings), findings)
			}
			w.check()
		})
	}
	w := newWorld(t, threeKeys())
	e, other := w.newEnvoy(), w.newEnvoy()
	e.spend(today, "1.1", 100)
	w.send(e)
	stolen := e.report(w.Now())
	stolen.Incarnation = other.id[:len(other.id)-1] + "x"
	if _, err := w.Apply(t.Context(), e.peer, stolen); !errors.Is(err, ErrBadReport) {
		t.Errorf("a wrong incarnation: %v", err)
	}
}

// Envoys whose clocks are ten minutes off, either way, are counted in full, from their first report on, which does not
// know yet; it is counted that their time was wrong, and shown.
func TestSkewedClocks(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		w := newWorld(t, threeKeys())
		w.jump(at("23:55"))
		e := w.newEnvoy()
		e.host = func() time.Time { return w.mono().Add(skew) }
		charged := today
		if skew > 0 {
			charged = "2025-11-19" // it is that day already, as far as this Envoy knows
		}
		e.spend(charged, "1.1", 100)
		e.found = []protocol.Finding{{Credential: "2.1", Kind: protocol.Invalid, RemainingMS: 60_000}}
		first := e.report(w.Now().Add(skew))
		first.HostMS = e.host().UnixMilli()
		a, err := w.Apply(t.Context(), e.peer, first)
		if err != nil || a.NowMS != w.Now().UnixMilli() {
			t.Fatalf("%+v, %v", a, err)
		}
		e.take(a)
		if w.Stats().Clamped != 1 || len(w.findings) != 0 {
			t.Errorf("clamped %d, findings %d", w.Stats().Clamped, len(w.findings))
		}
		e.spend(today, "1.1", 1000) // by the time of the answer
		w.send(e)
		if len(w.findings) != 1 || w.Stats().Clamped != 1 {
			t.Errorf("clamped %d, findings %d", w.Stats().Clamped, len(w.findings))
		}
		var sum int64
		for _, name := range []string{today, "2025-11-19"} {
			d, _ := w.Day(window(name))
			for _, u := range d.Credentials {
				sum += u.Models[0].Total
			}
		}
		told := w.eventsOf(event.ClockSkew)
		if sum != 1100 || len(told) != 1 || told[0].SkewS != int64(skew.Seconds()) || w.View().Proxies[0].SkewMS != skew.Milliseconds() {
			t.Errorf("counted %d, told %+v, shown %+v", sum, told, w.View().Proxies)
		}
		w.check()
	}
}

// Whatever numbers a report holds: it is refused and changes nothing, or it is counted within what can be.
func TestNumbersThatCannotBe(t *testing.T) {
	numbers := []int64{math.MinInt64, -1, 0, 1, 1 << 31, 1<<53 - 1, 1 << 53, 1<<53 + 1, math.MaxInt64}
	for seed := range uint64(300) {
		w, r := newWorld(t, threeKeys()), rand.New(rand.NewPCG(seed, 9))
		n := func() int64 { return numbers[r.IntN(len(numbers))] }
		e := w.newEnvoy()
		e.spend(today, "1.1", 100)
		w.send(e)
		u := e.credential(today, fmt.Sprint(1+r.IntN(2), ".1"))
		m := &u.Models[0]
		for _, field := range []*int64{&u.Requests, &u.TimeMS[3], &m.Prompt, &m.Completion, &m.Cached, &m.Total, &m.Estimated} {
			if r.IntN(2) == 0 {
				*field = n()
			}
		}
		report := e.report(w.Now())
		for _, field := range []*int64{&report.Epoch, &report.Generation, &report.NowMS, &report.HostMS, &report.Config, &report.BadConfigs, &report.Panics} {
			if r.IntN(4) == 0 {
				*field = n()
			}
		}
		before := w.memory.Records()
		_, err := w.Apply(t.Context(), e.peer, report)
		if err != nil && (!errors.Is(err, ErrBadReport) || cmp.Diff(before, w.memory.Records()) != "") {
			t.Fatalf("seed %d: %v, or the store changed", seed, err)
		}
		for _, k := range w.View().Keys {
			if k.Used < 0 || k.Requests < 0 || k.Remaining < 0 || k.Remaining > 14_400 || k.ID == "1" && k.Used < 100 {
				t.Fatalf("seed %d: key %+v", seed, k)
			}
		}
		w.check()
		w.reopen()
	}
}

// Who may report is known while the account is busy: a flood without a token waits for nothing, and nobody waits for it.
func TestTokenIsCheckedWhileTheAccountIsBusy(t *testing.T) {
	w := newWorld(t, threeKeys())
	token := w.ReportToken()
	w.Ledger.mu.Lock()
	defer w.Ledger.mu.Unlock()
	for i := range 10_000 {
		if w.CheckToken(fmt.Sprint("wrong", i)) {
			t.Fatal("a wrong token")
		}
	}
	if !w.CheckToken(token) {
		t.Error("the right token")
	}
}

// Days are folded while Envoys report, with their clocks around midnight: what is kept of each day is what was counted.
func TestFoldingWhileReporting(t *testing.T) {
	for seed := range uint64(10) {
		w, r := newWorld(t, threeKeys()), rand.New(rand.NewPCG(seed, 5))
		envoys := []*envoy{w.newEnvoy(), w.newEnvoy()}
		want := map[string]int64{}
		for range 6 * 24 * 4 { // six days, a quarter of an hour each
			now := w.Now()
			e, key, tokens := envoys[r.IntN(2)], fmt.Sprint(1+r.IntN(3)), int64(r.IntN(200))
			day := now.Format(time.DateOnly)
			e.spend(day, key+".1", tokens)
			want[day+" "+key] += tokens
			for _, e := range envoys { // what ended a moment ago is told now, whatever day it is by then
				w.send(e)
			}
			w.tick()
			w.wait(15 * time.Minute)
			for _, e := range envoys { // a filter keeps two windows
				for name := range e.windows {
					if name < w.Now().AddDate(0, 0, -1).Format(time.DateOnly) {
						delete(e.windows, name)
					}
				}
			}
			if r.IntN(40) == 0 {
				w.reopen()
			}
		}
		got := map[string]int64{}
		for day := at("00:00"); day.Before(w.Now()); day = day.AddDate(0, 0, 1) {
			d, _ := w.Day(window(day.Format(time.DateOnly)))
			for _, u := range d.Credentials {
				id, _, _ := protocol.SplitCredential(u.Credential)
				for _, m := range u.Models {
					got[day.Format(time.DateOnly)+" "+id] += m.Total
				}
			}
		}
		for name, n := range want {
			if n == 0 {
				delete(want, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		if w.meta.FoldedThrough == "" {
			t.Fatal("nothing was folded")
		}
		w.check()
	}
}
