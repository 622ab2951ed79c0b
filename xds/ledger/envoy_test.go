package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"keywheel/shared/protocol"
)

// envoy makes reports as a filter does.
type envoy struct {
	peer    Peer
	id      string
	node    string
	seq     int64
	epoch   int64
	gen     int64
	windows map[string]*protocol.WindowUsage
	notes   []protocol.Note
	noteAt  []time.Time
	found   []protocol.Finding
	held    []protocol.CredentialUse
	allowed map[string]int64 // tokens by credential and window
	asked   map[string]int64 // requests
	more    map[string]bool
	host    func() time.Time // its host's clock; nil: that of the report
}

var made struct {
	sync.Mutex
	n uint64
}

// newEnvoy starts an Envoy process at a host's time.
func newEnvoy(host time.Time) *envoy {
	made.Lock()
	defer made.Unlock()
	made.n++
	var u uuid.UUID
	ms := uint64(host.UnixMilli())
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6], u[8] = 0x70, 0x80
	for i := range 4 {
		u[12+i] = byte(made.n >> (24 - 8*i))
	}
	return &envoy{id: u.String(), node: "envoy", windows: map[string]*protocol.WindowUsage{}, peer: Peer{ConnID: made.n, Local: true}}
}

func (w *world) newEnvoy() *envoy {
	e := newEnvoy(w.mono())
	e.host = w.mono
	return e
}

func (e *envoy) window(w string) *protocol.WindowUsage {
	if e.windows[w] == nil {
		e.windows[w] = &protocol.WindowUsage{Window: w}
	}
	return e.windows[w]
}

func (e *envoy) credential(w string, c protocol.CredentialID) *protocol.CredentialUsage {
	u := e.window(w)
	for i := range u.Credentials {
		if u.Credentials[i].Credential == c {
			return &u.Credentials[i]
		}
	}
	u.Credentials = append(u.Credentials, protocol.CredentialUsage{
		Credential: c, Attempts: map[string]int64{}, TimeMS: make([]int64, len(protocol.TimeBuckets)+1), Models: []protocol.ModelUsage{{Model: "llama"}},
	})
	return &u.Credentials[len(u.Credentials)-1]
}

// spend is a request that went well.
func (e *envoy) spend(w string, c protocol.CredentialID, tokens int64) {
	u := e.credential(w, c)
	u.Requests++
	u.Attempts["ok"]++
	u.TimeMS[11]++
	u.Models[0].Total += tokens
	u.Models[0].Prompt += tokens / 2
	u.Models[0].Completion += tokens - tokens/2
	g := &e.window(w).Gate
	g.Requests++
	g.Succeeded++
	g.TimeMS += 1200
	g.LastServedMS = 1
}

func (e *envoy) spent(w string, c protocol.CredentialID) int64 {
	return e.credential(w, c).Models[0].Total
}

func (e *envoy) note(when time.Time, n protocol.Note) {
	n.Seq = int64(len(e.notes) + 1)
	e.notes = append(e.notes, n)
	e.noteAt = append(e.noteAt, when)
}

// report is a copy of everything so far.
func (e *envoy) report(now time.Time) *protocol.Report {
	e.seq++
	r := &protocol.Report{
		Version: protocol.Version, Node: e.node, Incarnation: e.id, Seq: e.seq, NowMS: now.UnixMilli(), HostMS: now.UnixMilli(),
		Epoch: e.epoch, Generation: e.gen, Findings: slices.Clone(e.found), Notes: slices.Clone(e.notes), Reserved: slices.Clone(e.held),
	}
	if e.host != nil {
		r.HostMS = e.host().UnixMilli()
	}
	for i := range r.Notes {
		r.Notes[i].AgeMS = max(0, now.Sub(e.noteAt[i]).Milliseconds())
	}
	for _, name := range slices.Sorted(maps.Keys(e.windows)) {
		u := *e.windows[name]
		u.Credentials, u.Callers = slices.Clone(u.Credentials), slices.Clone(u.Callers)
		for i := range u.Credentials {
			c := &u.Credentials[i]
			c.Attempts, c.TimeMS, c.Models = maps.Clone(c.Attempts), slices.Clone(c.TimeMS), slices.Clone(c.Models)
		}
		r.Windows = append(r.Windows, u)
	}
	return r
}

// take follows an answer unless a newer one is followed.
func (e *envoy) take(a *protocol.Answer) {
	if a.Epoch < e.epoch || a.Epoch == e.epoch && a.Generation < e.gen {
		return
	}
	same := a.Epoch == e.epoch && a.Generation == e.gen
	e.epoch, e.gen = a.Epoch, a.Generation
	if same {
		return // a filter does not write the same generation twice
	}
	e.allowed, e.asked, e.more = map[string]int64{}, map[string]int64{}, map[string]bool{}
	for _, x := range a.Allowances {
		name := x.Credential + " " + x.Window
		e.allowed[name], e.asked[name], e.more[name] = x.Tokens, x.Requests, x.More
	}
}
