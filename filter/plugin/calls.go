package plugin

// calls are the calls that a VM has admitted and that have not ended. Attempts in the same VM find them by number.
type calls struct {
	places []place
	free   []uint16
}

type place struct {
	gate *gate // nil: free
	uses uint16
}

const mostCalls = 1 << 16

// add gives a call its number, which no other of this VM has for long; 0: there is no place, and its attempts go by what
// stands on the stream.
func (c *calls) add(vm uint32, g *gate) uint64 {
	var at uint16
	switch n := len(c.free); {
	case n > 0:
		at = c.free[n-1]
		c.free = c.free[:n-1]
	case len(c.places) < mostCalls:
		at = uint16(len(c.places))
		c.places = append(c.places, place{})
	default:
		g.call = 0
		return 0
	}
	p := &c.places[at]
	p.gate = g
	p.uses++
	g.call = uint64(vm)<<32 | uint64(p.uses)<<16 | uint64(at)
	return g.call
}

// find returns the call of a number; nil: it is not here, or has ended.
func (c *calls) find(number uint64) *gate {
	at := int(number % mostCalls)
	if number == 0 || at >= len(c.places) {
		return nil
	}
	if g := c.places[at].gate; g != nil && g.call == number {
		return g
	}
	return nil
}

// drop forgets a call.
func (c *calls) drop(g *gate) {
	if c.find(g.call) == g {
		at := uint16(g.call % mostCalls)
		c.places[at].gate = nil
		c.free = append(c.free, at)
	}
	g.call = 0
}
