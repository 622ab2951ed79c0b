package ledger

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

const callerBucket = "callers"

// maxCallers bounds the names of one incarnation in a window: what filters count apart, and the rest.
const maxCallers = protocol.MaxCallers + 1

// CallerUse is what a caller took in a window. Requests are its calls as the gates saw them end, whatever became of them;
// tokens are those of all their tries.
type CallerUse = protocol.CallerUsage

// Callers returns what callers took in a window, over all Envoys: who took most tokens first. At most
// protocol.MaxCallers stand apart; all others are protocol.OtherCaller, which comes last.
//
// It is what reports told, without the account's safeguards: use that is set aside there as impossible is in here, and use
// of keys that are not configured too.
func (l *Ledger) Callers(w quota.Window) []CallerUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.days[w]; d != nil && d.Folded != nil {
		return slices.Clone(d.Folded.Callers)
	}
	return l.callersIn(w).list()
}

// callers is the highest that an incarnation reported of each of its callers in a window.
type callers struct {
	id   gateID
	Uses []CallerUse `json:"uses"`

	gone bool
}

func (c *callers) place() (string, string) {
	return callerBucket, c.id.window.String() + "/" + c.id.incarnation
}

func (c *callers) kept() any {
	if c.gone {
		return nil
	}
	return c
}

func (l *Ledger) readCallers(key string, value []byte) error {
	w, inc, err := cutWindow(key)
	if err != nil {
		return err
	}
	c := &callers{id: gateID{w, inc}}
	l.callers[c.id] = c
	return json.Unmarshal(value, c)
}

// tally sums callers up over incarnations. Who was not seen for longest makes room for who comes. It is not kept, but
// follows from the records; after a restart others can be among the rest, and the sum of all is the same.
type tally struct {
	names *simplelru.LRU[string, *CallerUse]
	other CallerUse
}

func newTally() *tally {
	t := &tally{other: CallerUse{Caller: protocol.OtherCaller}}
	t.names, _ = simplelru.NewLRU(protocol.MaxCallers, func(_ string, u *CallerUse) { addUse(&t.other, u) }) // it fails for no size only
	return t
}

func addUse(sum, u *CallerUse) {
	sum.Requests += u.Requests
	sum.Prompt += u.Prompt
	sum.Completion += u.Completion
	sum.Total += u.Total
}

func (t *tally) add(u CallerUse) {
	if u.Caller == protocol.OtherCaller {
		addUse(&t.other, &u)
		return
	}
	if sum, ok := t.names.Get(u.Caller); ok {
		addUse(sum, &u)
		return
	}
	t.names.Add(u.Caller, &u)
}

// list returns the callers, who took most tokens first, then the rest.
func (t *tally) list() []CallerUse {
	var uses []CallerUse
	for _, u := range t.names.Values() {
		uses = append(uses, *u)
	}
	slices.SortFunc(uses, moreFirst)
	if t.other.Requests > 0 {
		uses = append(uses, t.other)
	}
	return uses
}

func moreFirst(a, b CallerUse) int {
	return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Caller, b.Caller))
}

// callersIn returns a window's tally. One that was not needed since the start is made of the records, so that who took
// most stands apart.
func (l *Ledger) callersIn(w quota.Window) *tally {
	if t := l.tallies[w]; t != nil {
		return t
	}
	sums := map[string]*CallerUse{}
	for id, c := range l.callers {
		if id.window != w {
			continue
		}
		for i := range c.Uses {
			u := &c.Uses[i]
			if sums[u.Caller] == nil {
				sums[u.Caller] = &CallerUse{Caller: u.Caller}
			}
			addUse(sums[u.Caller], u)
		}
	}
	var uses []CallerUse
	for _, u := range sums {
		uses = append(uses, *u)
	}
	slices.SortFunc(uses, func(a, b CallerUse) int { return moreFirst(b, a) })
	t := newTally()
	for _, u := range uses {
		t.add(u)
	}
	if len(uses) > 0 { // not for whatever window is asked about
		l.tallies[w] = t
	}
	return t
}

// mergeCallers takes in what an incarnation counted for its callers.
func (t *tx) mergeCallers(in *incoming, w quota.Window, uses []CallerUse) {
	l := t.l
	id := gateID{w, in.inc.id}
	c := l.callers[id]
	var known []CallerUse
	if c != nil {
		known = slices.Clone(c.Uses)
	}
	known, added := raiseCallers(known, uses)
	if len(added) == 0 {
		return
	}
	sum := l.callersIn(w) // before the records change that it may be made of
	l.tallies[w] = sum
	if c == nil {
		c = &callers{id: id}
		put(t, l.callers, id, c)
		made := c
		t.undo = append(t.undo, func() { made.gone = true })
	}
	change(t, c).Uses = known
	t.after = append(t.after, func() {
		for _, u := range added {
			sum.add(u)
		}
	})
}

// raiseCallers raises known to the highest of each count, and returns what that added. A name beyond maxCallers, which no
// filter sends, is passed over: the account's part of the report is good all the same.
func raiseCallers(known, uses []CallerUse) (raised, added []CallerUse) {
	for i, u := range uses {
		at := i // filters keep their order
		if at >= len(known) || known[at].Caller != u.Caller {
			at = slices.IndexFunc(known, func(k CallerUse) bool { return k.Caller == u.Caller })
		}
		if at < 0 {
			if len(known) == maxCallers {
				continue
			}
			at = len(known)
			known = append(known, CallerUse{Caller: u.Caller})
		}
		k := &known[at]
		more := CallerUse{
			Caller: u.Caller, Requests: max(0, u.Requests-k.Requests), Prompt: max(0, u.Prompt-k.Prompt),
			Completion: max(0, u.Completion-k.Completion), Total: max(0, u.Total-k.Total),
		}
		if more != (CallerUse{Caller: u.Caller}) {
			addUse(k, &more)
			added = append(added, more)
		}
	}
	return known, added
}

// dropCallers drops the records of a window that is folded.
func (t *tx) dropCallers(w quota.Window) {
	for id, c := range t.l.callers {
		if id.window == w {
			change(t, c).gone = true
			drop(t, t.l.callers, id)
		}
	}
	drop(t, t.l.tallies, w)
}

// callers refuses what is no list of callers.
func (c *checker) callers(uses []CallerUse) {
	c.entries("callers in a window", len(uses), maxCallers)
	for i := range uses {
		u := &uses[i]
		c.text("a caller", u.Caller, protocol.MaxCallerName)
		c.count("a caller's count", u.Requests, u.Prompt, u.Completion, u.Total)
	}
}
