package metrics

import (
	"maps"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
	"keywheel/xds/ledger"
)

// maxCallers bounds the callers that have a name of their own in a process's life; the rest are other.
const maxCallers = protocol.MaxCallers

// callers are counters of what callers took. The ledger counts few of them apart in a window, and who is displaced by
// another goes among the rest: so a name's count can go down there, while the sum of all only grows.
type callers struct {
	*families
	seen   map[quota.Window]map[string]ledger.CallerUse
	names  map[string]bool
	totals map[series]float64
}

// begin forgets all callers but today's: those of days past would take the names.
func (c *callers) begin(today []ledger.CallerUse) {
	clear(c.names)
	maps.DeleteFunc(c.totals, func(s series, _ float64) bool { return s.of == c.callerRequests || s.of == c.callerTokens })
	for _, u := range today {
		c.count(u.Caller, 0, 0)
	}
}

// raise adds what a window's counts rose by.
func (c *callers) raise(w quota.Window, uses []ledger.CallerUse) {
	if len(uses) == 0 {
		return
	}
	before, now := c.seen[w], map[string]ledger.CallerUse{}
	var rest ledger.CallerUse // the rise of all, less that of the names
	for _, u := range uses {
		now[u.Caller] = u
		rest.Requests += u.Requests
		rest.Total += u.Total
	}
	for _, u := range before {
		rest.Requests -= u.Requests
		rest.Total -= u.Total
	}
	for name, u := range now {
		if name == protocol.OtherCaller {
			continue
		}
		old := before[name]
		if u.Requests < old.Requests || u.Total < old.Total { // it was displaced, and has come back
			old = ledger.CallerUse{}
		}
		c.count(name, u.Requests-old.Requests, u.Total-old.Total)
		rest.Requests -= u.Requests - old.Requests
		rest.Total -= u.Total - old.Total
	}
	if now[protocol.OtherCaller].Requests > 0 {
		c.count(protocol.OtherCaller, max(0, rest.Requests), max(0, rest.Total))
	}
	c.seen[w] = now
}

// count counts what a caller took.
func (c *callers) count(name string, requests, tokens int64) {
	if !c.names[name] && len(c.names) >= maxCallers {
		name = protocol.OtherCaller
	} else if name != protocol.OtherCaller {
		c.names[name] = true
	}
	c.totals[series{of: c.callerRequests, a: name}] += float64(requests)
	c.totals[series{of: c.callerTokens, a: name}] += float64(tokens)
}
