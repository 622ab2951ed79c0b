package account

import (
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// Layout of an entry of callers: a head, then a record for each caller, the name with its length before it and the
// counters after it.
const (
	callersVersion = 1

	callersWindow = 4 // i32
	callersFixed  = 8

	callerRequests   = 0
	callerPrompt     = 8
	callerCompletion = 16
	callerTotal      = 24
	callerCounts     = 32
)

// callersNames are the entries. Windows take turns, so that a call copies one window's callers only.
var callersNames = [...]string{"kw/callers/0", "kw/callers/1"}

// callers is one window's callers. Its methods never fail: it is made by loadCallers only.
type callers []byte

// loadCallers takes b as the callers of a window, or starts anew where it is none. A window before the kept one is counted
// in that one.
func loadCallers(b []byte, w quota.Window) callers {
	if c := callers(b); c.sound() && w <= c.window() {
		return c
	}
	c := make(callers, callersFixed)
	le.PutUint32(c, callersVersion)
	le.PutUint32(c[callersWindow:], uint32(w))
	return c
}

func (c callers) window() quota.Window { return quota.Window(le.Uint32(c[callersWindow:])) }

// sound says whether every record lies within the bytes.
func (c callers) sound() bool {
	if len(c) < callersFixed || le.Uint32(c) != callersVersion {
		return false
	}
	at := callersFixed
	for at < len(c) {
		at += 1 + int(c[at]) + callerCounts
	}
	return at == len(c)
}

// caller returns the offset of a caller's counters, and makes them where there is still room for one more name.
func (c *callers) caller(name string) int {
	name = name[:min(len(name), protocol.MaxCallerName)]
	names, other := 0, -1
	for at := callersFixed; at < len(*c); {
		counts := at + 1 + int((*c)[at])
		switch string((*c)[at+1 : counts]) {
		case name:
			return counts
		case protocol.OtherCaller:
			other = counts
		default:
			names++
		}
		at = counts + callerCounts
	}
	if names >= protocol.MaxCallers && name != protocol.OtherCaller {
		if other >= 0 {
			return other
		}
		name = protocol.OtherCaller
	}
	*c = append(append(*c, byte(len(name))), name...)
	*c = append(*c, make([]byte, callerCounts)...)
	return len(*c) - callerCounts
}

// Charge counts for a caller, in the window in which its calls ended, what they took.
func (k *Book) Charge(w quota.Window, u protocol.CallerUsage) {
	update(k.data, callersNames[w&1], func(old []byte) []byte {
		c := loadCallers(old, w)
		at := c.caller(u.Caller)
		addI64(c, at+callerRequests, u.Requests)
		addI64(c, at+callerPrompt, u.Prompt)
		addI64(c, at+callerCompletion, u.Completion)
		addI64(c, at+callerTotal, u.Total)
		return c
	})
}

// Callers returns what callers took by window, in the order in which they came.
func (k *Book) Callers() map[quota.Window][]protocol.CallerUsage {
	out := map[quota.Window][]protocol.CallerUsage{}
	for _, name := range callersNames {
		b, _, _ := k.data.Get(name)
		c := callers(b)
		if !c.sound() {
			continue
		}
		for at := callersFixed; at < len(c); {
			counts := at + 1 + int(c[at])
			out[c.window()] = append(out[c.window()], protocol.CallerUsage{
				Caller: string(c[at+1 : counts]), Requests: i64(c, counts+callerRequests), Prompt: i64(c, counts+callerPrompt),
				Completion: i64(c, counts+callerCompletion), Total: i64(c, counts+callerTotal),
			})
			at = counts + callerCounts
		}
	}
	return out
}
