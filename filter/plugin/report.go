package plugin

import (
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/account"
	"keywheel/filter/reporter"
	"keywheel/shared/protocol"
)

const (
	namelessMS      = 100 // an incarnation with only fresh slices asks for its own this often
	earlyGapMS      = 100 // least time between reports that do not wait for the interval
	urgentGapMS     = 20  // the same where requests are about to be refused for want of an answer
	reportTimeoutMS = 5000
	leaseIntervals  = 3
)

// report sends a usage report if one is due: every interval by whoever holds the lease, any context's; sooner when an
// allowance runs low, or with last if something may be unsaid. A report that is lost is made good by the next: counts
// are cumulative. It is called in the plugin context's own callbacks only: the answer to a call made in a stream's is
// dropped if the stream ends first.
func (v *vm) report(cluster string, last bool) {
	a := v.newest()
	if a == nil {
		return
	}
	host, interval := hostMS(), a.Policy.ReportIntervalMS
	sent := int64(0)
	won := v.book.UpdateSender(func(s *account.Sender) bool {
		sent = s.SentMS
		since := host - s.SentMS
		mine := s.VM == v.id || host >= s.LeaseMS || s.LeaseMS-host > 2*leaseIntervals*interval // the clock went back
		switch {
		case since < 0: // the clock went back
		case v.earlyMS >= s.SentMS && v.earlyMS > 0 && since >= earlyGapMS:
		case v.urgentMS >= s.SentMS && v.urgentMS > 0 && since >= urgentGapMS:
		case last && (host-v.sentMS >= urgentGapMS || v.settledMS >= v.sentMS):
			// Every VM sends its own: at the end only threads that have a connection already get through.
		case s.Version.Generation == 0 && since >= namelessMS && !v.refused:
		case mine && since >= interval:
		default:
			return false
		}
		s.Seq++
		if !last { // the answer to a last one may find nobody: it takes nobody's turn
			s.VM, s.LeaseMS, s.SentMS = v.id, host+leaseIntervals*interval, host
		}
		return true
	})
	if !won {
		v.toldAt(sent)
		return
	}
	if v.sentMS = host; !last {
		v.earlyMS, v.urgentMS = 0, 0
	}
	body := protocol.AppendReport(nil, reporter.Build(v.book, reporter.Identity{
		Node: v.node, Incarnation: v.process(), NowMS: v.instant().NowMS, HostMS: host,
		Config: a.Generation, Mode: v.mode(), InForce: a.Keys,
	}))
	_, err := proxywasm.DispatchHttpCall(cluster, [][2]string{
		{":method", "POST"}, {":path", protocol.ReportPath}, {":authority", "keywheel"},
		{"content-type", "application/json"}, {"authorization", bearer + string(a.secrets[protocol.TokenSecret])},
	}, body, nil, reportTimeoutMS, v.answered)
	if err != nil {
		proxywasm.LogDebugf("keywheel: cannot send a usage report: %v", err)
	}
}

// answered takes the answer to a report over.
func (v *vm) answered(_, size, _ int) {
	defer v.guard(atReport)
	fault(atReport)
	v.refused = true
	headers, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil {
		return // the control plane is away; the next report says it all again
	}
	status := ""
	for _, h := range headers {
		if h[0] == ":status" {
			status = h[1]
		}
	}
	if status != "200" {
		proxywasm.LogDebugf("keywheel: usage report answered %s", status)
		if status == "401" { // there is another report token
			v.fetch.nextMS = 0
		}
		return
	}
	body, err := proxywasm.GetHttpCallResponseBody(0, size)
	if err != nil {
		return
	}
	a, err := protocol.ParseAnswer(body)
	if err != nil {
		v.book.Refuse(body)
		proxywasm.LogErrorf("keywheel: refused the answer to a usage report: %v", err)
		return
	}
	v.refused = false
	before := v.book.Sender().Version
	if !reporter.Take(v.book, a, v.process(), hostMS()) {
		return
	}
	v.standingMS = 0
	v.closeTabs()
	if (before != account.Version{Epoch: a.Epoch, Generation: a.Generation}) {
		v.earlyMS = hostMS() // acknowledge, so that what was taken from us can be given to others
	}
}

// watch asks for an early report where a later answer may allow more and a quarter of what was granted is left. With a
// few requests' worth left it is urgent.
func (v *vm) watch(room account.Room, need int64) {
	if !room.More {
		return
	}
	if runsLow(room) {
		v.earlyMS = hostMS()
	}
	if room.Free < few*need || room.FreeRequests < few {
		v.urgentMS = hostMS()
	}
}

// toldAt forgets a wish for a report that another VM's was sent after, at that host's time. Else every tick would be early.
func (v *vm) toldAt(sent int64) {
	if v.earlyMS < sent {
		v.earlyMS = 0
	}
	if v.urgentMS < sent {
		v.urgentMS = 0
	}
}

const few = 16

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
