package ledger

import "keywheel/shared/protocol"

// Of a limit, so much is kept for Envoys that the ledger has not heard of yet, while there is plenty.
const (
	heldBackPart = 50 // a fiftieth, …
	plentyPart   = 4  // … while a quarter or more of the limit remains, …
	// … where the fiftieth is worth a few calls. Of a smaller limit nothing is held back: the wait for the last slice
	// would cost the Envoy that runs more than the slice helps the one that comes.
	leastHeldBack = 1000
)

// meter is one limited quantity of a key in a window: its tokens or its requests.
//
// It keeps spent + held ≤ limit, as far as reports have told: nothing is granted that is not unallotted.
type meter struct {
	limit int64 // 0: no limit
	spent int64 // by all sources
	held  int64 // what living sources may still spend of their grants
	fresh int64 // what a source may spend that has not reported yet; protocol.Unlimited without a limit
}

// remaining is below 0 where more was spent than the limit: answers may be longer than what was reserved for them.
func (m meter) remaining() int64 { return m.limit - m.spent }

func (m meter) unallotted() int64 { return m.remaining() - m.held }

func (m meter) plenty() bool { return m.remaining() > 0 && m.remaining() >= m.limit/plentyPart }

// share is what each of n living sources should hold: all that remains in equal parts, less what is held back.
func (m meter) share(n int) int64 {
	split := m.remaining()
	if m.plenty() {
		split -= m.heldBack()
	}
	return max(0, split/int64(max(1, n)))
}

func (m meter) heldBack() int64 {
	if part := m.limit / heldBackPart; part >= leastHeldBack {
		return part
	}
	return 0
}

// room returns how much a source should hold that holds held now, with n sources living. More than held is only
// granted from what is unallotted and not promised to newcomers; less is for the source to give up. Several sources
// keep what they hold while it is about their share, so that not every report moves every grant.
func (m meter) room(held int64, n int) int64 {
	share := m.share(n)
	switch {
	case n > 1 && held >= share-share/4 && held <= share+share/4:
		return held
	case held >= share:
		return share
	}
	return min(share, held+max(0, m.unallotted()-m.fresh))
}

// nextFresh is the slice for newcomers with n sources living. Two may take it at once before either is known. It is
// the same from report to report, as each change of it is pushed to every Envoy.
func (m meter) nextFresh(n int) int64 {
	free := max(0, m.unallotted())
	switch {
	case m.limit == 0:
		return protocol.Unlimited
	case n == 0:
		return min(m.limit/heldBackPart, free/2)
	case !m.plenty():
		return 0
	case free >= m.heldBack()/2:
		return m.heldBack() / 2
	}
	return free / 2
}

// grant is how far one source may spend one quantity, counted as the source counts: all that it ever spent in the
// window, and what it may still spend.
type grant struct {
	granted  int64 // the highest that may be in force at the source
	offered  int64 // by the newest answer; notOffered: unknown
	lower    int64 // the highest offered since generation lowerAt, below granted
	lowerAt  int64 // 0: nothing lower is on its way
	followed bool  // the source follows lower, and only what it had reserved before stands above
}

const notOffered = -2

// hold is what the source may still spend.
func (g *grant) hold(spent int64) int64 { return max(0, g.granted-spent) }

// offer takes down that the answer of a generation offers amount. A higher one holds at once, a lower one only when the
// source acknowledges it.
func (g *grant) offer(amount, generation int64) {
	g.offered = amount
	switch {
	case amount == protocol.Unlimited:
		g.granted, g.lower, g.lowerAt, g.followed = 0, 0, 0, false // there is no meter that it could weigh on
	case amount >= g.granted:
		g.granted, g.lower, g.lowerAt, g.followed = amount, 0, 0, false
	case g.lowerAt == 0 || g.followed:
		g.lower, g.lowerAt, g.followed = amount, generation, false
	default:
		g.lower = max(g.lower, amount)
	}
}

// acknowledge takes down that the source follows the answer of a generation. used is what it spent and reserved: that
// much it may take, whatever was offered later. What is reserved may come back unspent, so each later report counts anew.
func (g *grant) acknowledge(generation, used int64) {
	if g.lowerAt == 0 || generation < g.lowerAt {
		return
	}
	g.granted = min(g.granted, max(g.lower, used))
	if g.followed = g.granted > g.lower; !g.followed {
		g.lower, g.lowerAt = 0, 0
	}
}

// forfeit takes away what the source, which is dead, may not spend any more.
func (g *grant) forfeit(spent int64) { *g = grant{granted: min(g.granted, spent), offered: notOffered} }
