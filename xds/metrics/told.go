package metrics

import (
	"math"

	"keywheel/xds/event"
	"keywheel/xds/ledger"
)

// told counts events, and what became of the notifications of them, since the process began.
type told struct {
	*families
	receivers func() []string
	newest    int64 // ID of the newest event that was counted
	settled   map[int64]bool
	totals    map[series]float64
	waiting   map[string]int64 // by receiver
	retrying  map[string]int64
}

func newTold(f *families, receivers func() []string) told {
	t := told{families: f, receivers: receivers, totals: map[series]float64{}}
	for _, kind := range event.Kinds() {
		for _, level := range event.Levels() {
			t.totals[series{f.events, string(kind), string(level)}] = 0
		}
	}
	return t
}

// begin takes what happened so far as not to be counted.
func (t *told) begin(l *ledger.Ledger) {
	t.update(l)
	for s := range t.totals {
		t.totals[s] = 0
	}
}

func (t *told) update(l *ledger.Ledger) {
	for _, e := range l.Events(t.newest, 0) {
		t.newest = e.ID
		t.totals[series{t.events, string(e.Kind), string(e.Level)}]++
	}
	settled := map[int64]bool{}
	t.waiting, t.retrying = map[string]int64{}, map[string]int64{}
	for _, r := range t.receivers() {
		t.waiting[r], t.retrying[r] = 0, 0
		t.totals[series{t.notices, r, string(event.Sent)}] += 0 // it is there from the start
		t.totals[series{t.notices, r, string(event.Failed)}] += 0
	}
	for _, n := range l.Notifications(math.MaxInt) {
		switch {
		case n.State != event.Waiting:
			settled[n.Seq] = true
			if !t.settled[n.Seq] {
				t.totals[series{t.notices, n.Receiver, string(n.State)}]++
			}
			continue
		case n.Attempts > 0:
			t.retrying[n.Receiver]++
		}
		t.waiting[n.Receiver]++
	}
	t.settled = settled
}

func (t *told) show(out emitter) {
	for s, n := range t.totals {
		out.put(s.of, n, s.labels()...)
	}
	for r, n := range t.waiting {
		out.count(t.noticesWaiting, n, r)
		out.count(t.noticesRetrying, t.retrying[r], r)
	}
}
