package ledger

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// conn is a connection over which reports come.
type conn struct {
	id           uint64
	local        bool
	running      int // reports on it that are being taken in
	closed       bool
	incarnations map[*incarnation]struct{}
}

// rememberGone is how many closed connections are remembered in case that a report of theirs is still to be seen.
const rememberGone = 1024

func newGone() *simplelru.LRU[uint64, struct{}] {
	gone, _ := simplelru.NewLRU[uint64, struct{}](rememberGone, nil) // fails only for sizes below 1
	return gone
}

// minLease is the shortest silence after which an Envoy is taken for dead.
const minLease = 3 * time.Second

// lease is the silence after which an Envoy is taken for dead: three report intervals.
func (l *Ledger) lease() time.Duration {
	return max(minLease, 3*time.Duration(l.policy.ReportIntervalMS)*time.Millisecond)
}

// connected takes down that a report is being taken in over a connection. The function it returns must be called when
// that has ended.
func (l *Ledger) connected(p Peer) (end func(context.Context)) {
	if p.ConnID == 0 {
		return func(context.Context) {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.conns[p.ConnID]
	if c == nil {
		c = &conn{id: p.ConnID, local: p.Local, incarnations: map[*incarnation]struct{}{}, closed: l.gone.Contains(p.ConnID)}
		l.conns[p.ConnID] = c
	}
	c.running++
	return func(ctx context.Context) {
		l.mu.Lock()
		c.running--
		over := c.closed && c.running == 0
		l.mu.Unlock()
		if over {
			_ = l.connGone(context.WithoutCancel(ctx), c) // else the lease tells
		}
	}
}

// bind takes down that an incarnation reports over a connection.
func (l *Ledger) bind(p Peer, inc *incarnation) {
	if c := l.conns[p.ConnID]; c != nil {
		c.incarnations[inc] = struct{}{}
		inc.conns[c.id] = c
	}
}

// ConnClosed takes down that a connection is closed. When all connections over which an incarnation reported are
// closed, and were local, it is dead: what it did not spend is there for others at once.
func (l *Ledger) ConnClosed(ctx context.Context, id uint64) error {
	l.mu.Lock()
	c := l.conns[id]
	l.gone.Add(id, struct{}{}) // an Envoy that stops sends its last report and closes: the report may be seen after that
	if c != nil && c.running > 0 {
		c.closed, c = true, nil
	}
	l.mu.Unlock()
	if c == nil {
		return nil
	}
	return l.connGone(ctx, c)
}

// connGone buries the incarnations that reported over no other connection. A store that fails leaves them to their
// lease.
func (l *Ledger) connGone(ctx context.Context, c *conn) error {
	l.mu.Lock()
	delete(l.conns, c.id)
	var orphans []*incarnation
	for inc := range c.incarnations {
		delete(inc.conns, c.id)
		if len(inc.conns) == 0 && c.local && !inc.Dead {
			orphans = append(orphans, inc)
		}
	}
	l.mu.Unlock()
	if len(orphans) == 0 {
		return nil
	}
	return l.do(ctx, func(t *tx) error {
		for _, inc := range orphans {
			if l.incarnations[inc.id] == inc && len(inc.conns) == 0 && !inc.Dead { // there may be another account by now
				t.bury(inc)
			}
		}
		return nil
	})
}

// revive counts an incarnation among the living. What it was granted before it died went to others: it starts with
// what it spent.
func (t *tx) revive(inc *incarnation) {
	if !inc.Dead {
		return
	}
	for s := range inc.sources {
		change(t, s)
		t.alter(s, func() {
			s.tokens.forfeit(s.spent)
			s.requests.forfeit(s.Requests)
		})
	}
	t.setDead(inc, false)
}

// bury takes back what an incarnation may not spend any more.
func (t *tx) bury(inc *incarnation) {
	t.setDead(inc, true)
	inc.LastMS = t.now.UnixMilli()
	node, id := inc.Node, inc.id
	t.log(slog.LevelInfo, "Envoy gone", "node", node, "incarnation", id)
}

func (t *tx) setDead(inc *incarnation, dead bool) {
	for s := range inc.sources {
		if s.account != nil {
			save(t, s.account)
		}
		s.account.leave(s)
	}
	change(t, inc)
	inc.Dead = dead
	for s := range inc.sources {
		s.account.enter(s)
	}
	if dead {
		drop(t, t.l.living, inc)
	} else {
		put(t, t.l.living, inc, struct{}{})
	}
	t.members = true
}

// buryTheSilent buries whoever has not reported for a lease.
func (t *tx) buryTheSilent() {
	lease := t.l.lease()
	for inc := range t.l.living {
		if t.mono.Sub(inc.seen) > lease {
			t.bury(inc)
		}
	}
}
