// Package plugin connects the account to the host: it is the only code that calls Envoy. One module plays two roles.
//
// The gate is a downstream filter, once for each client call: it admits, meters and settles. The attempt is an
// upstream filter, once for each try: it picks the key and learns from the answer. What they tell each other goes by
// shared data and a stream property (package trail), because they can be in different VMs.
//
// Where there are no upstream filters, a gate alone does the attempt's work too (sole), with one key for each call. Where
// its configuration is not Keywheel's to push, it fetches its assignment itself (remote, fetch).
//
// The rules are:
//   - A callback never panics into the host: that would cost every stream of the worker.
//   - Linear memory never shrinks, so bodies are read in pieces and dropped.
//   - A plugin context's start has no effect outside the VM: the host also starts one that is thrown away.
package plugin

import (
	"math/rand/v2"
	"runtime"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/meter"
	"keywheel/filter/picker"
	"keywheel/filter/shareddata"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
	"keywheel/shared/quota"
)

// tickMS is how often each context looks after reports, held answers and dead VMs.
const tickMS = 100

// New returns the module's VM context.
func New() types.VMContext { return &vm{} }

// vm is one VM: a worker's, or the main thread's.
type vm struct {
	types.DefaultVMContext

	id          uint32 // never 0
	book        *account.Book
	incarnation string
	node        string
	learner     meter.Learner
	stats       stats
	gate        *assigned // newest good assignment of each role; nil before the first
	attempt     *assigned
	forGates    *assigned           // the newer of these two, which gates go by
	only        *assigned           // of a gate alone
	fetch       fetch               // how a gate alone gets it, where it is not pushed
	told        bool                // what a gate alone cannot do
	held        map[uint32]*attempt // answers whose body is awaited, by context
	gates       int                 // living plugin contexts of gates: they tick for the whole VM
	tries       *root               // newest living plugin context of an attempt; nil: none
	calls       calls
	gatesDone   spare[gate]
	attempts    spare[attempt]
	peeks       spare[groq.RequestPeek]
	meters      spare[groq.Meter]
	model       string // that was asked for last, and is likely to be again
	buffer      []byte // for a trail that is being written

	taken taken
	inUse protocol.CredentialID // as it was seen since the last tick; empty: it was not

	hurt   bool  // something panicked, and may have left something held
	panics int64 // in all
	saidMS int64 // host's time at which one was last spoken of
	echoMS int64 // host's time at which it was last told that an upstream shows a secret

	standing   account.Standing
	standingMS int64 // host's time at which it was read
	beatMS     int64 // host's time of the last sign of life
	settledMS  int64 // host's time of the last call that ended here
	sentMS     int64 // host's time of this VM's newest report
	earlyMS    int64 // host's time since which a report is wanted before the interval is over; 0: it is not
	urgentMS   int64 // the same, at once: an allowance is nearly spent
	edgeMS     int64 // host's time of the last note that the edge refused us
	refused    bool  // the newest answer to a report of this VM's was none
}

// NewPluginContext implements types.VMContext.
func (v *vm) NewPluginContext(id uint32) types.PluginContext {
	if v.id == 0 {
		v.id = newID()
		v.book = account.NewBook(shareddata.Host{})
		v.held = map[uint32]*attempt{}
	}
	return &root{vm: v, id: id}
}

// root is one role's plugin context. An xDS push makes a new one; streams keep theirs.
type root struct {
	types.DefaultPluginContext

	vm       *vm
	id       uint32
	role     string
	ticks    bool
	remote   *remote // of a gate alone that another control plane configures; nil: its assignment is pushed
	hastened bool    // the next tick comes early
	pushed   []byte  // a configuration in which something panicked
}

// OnPluginStart implements types.PluginContext. It never fails: one refused configuration would poison all later ones.
func (r *root) OnPluginStart(int) (status types.OnPluginStartStatus) {
	status = types.OnPluginStartStatusOK
	defer r.vm.guard(atStart)
	name, err := proxywasm.GetProperty([]string{"plugin_root_id"})
	if err != nil {
		proxywasm.LogCriticalf("keywheel: cannot read plugin_root_id: %v", err)
	}
	r.role = string(name)
	if r.role != protocol.GateResource && r.role != protocol.AttemptResource && r.role != protocol.GateOnlyResource {
		proxywasm.LogCriticalf("keywheel: root_id is %q; set it to %s or %s, or to %s where there are no upstream filters",
			r.role, protocol.GateResource, protocol.AttemptResource, protocol.GateOnlyResource)
	}
	r.vm.node = property("xds", "node", "id")
	r.startTicking()
	r.configure()
	if r.remote != nil { // no call is served before
		r.hastened = true
		r.tick(1)
	}
	return status
}

// OnTick implements types.PluginContext.
func (r *root) OnTick() {
	defer r.vm.guard(atTick)
	if r.hastened {
		r.hastened = false
		r.tick(tickMS)
	}
	r.vm.tellAll()
	r.vm.renew()
	r.again()
	if tries := r.vm.tries; tries != nil { // it may not tick itself
		tries.again()
	}
	r.vm.releaseHeld(r.id)
	r.vm.beat()
	fault(atTick)
	r.tell()
	r.fetch()
	r.vm.report(r.remote.cluster(), false)
	// Lets the collector's goroutines run. Without it a burst of garbage was seen to grow the memory without end: callbacks
	// hardly ever wait, so that presumably a collection that has begun does not end.
	runtime.Gosched()
}

func (r *root) tick(ms uint32) {
	if err := proxywasm.SetTickPeriodMilliSeconds(ms); err != nil {
		proxywasm.LogCriticalf("keywheel: cannot set the tick: %v", err)
	}
}

// hasten has the next tick, which sends the reports, come as soon as one that is wanted early may be sent. Called in a
// stream's callback: the tick is the plugin context's all the same.
func (r *root) hasten() {
	v := r.vm
	if r.hastened || v.earlyMS == 0 && v.urgentMS == 0 {
		return
	}
	sent := v.book.Sender().SentMS
	v.toldAt(sent)
	gap := int64(earlyGapMS)
	switch {
	case v.urgentMS > 0:
		gap = urgentGapMS
	case v.earlyMS == 0:
		return
	}
	r.hastened = true
	r.tick(uint32(min(tickMS, max(1, sent+gap-hostMS()))))
}

// OnPluginDone implements types.PluginContext: Envoy stops, or a push replaced this context.
func (r *root) OnPluginDone() (done bool) {
	done = true // else the host would keep the context for ever
	defer r.vm.guard(atDone)
	fault(atDone)
	r.vm.tellAll()
	r.vm.report(r.remote.cluster(), true)
	r.stopTicking()
	return done
}

// NewHttpContext implements types.PluginContext.
func (r *root) NewHttpContext(id uint32) types.HttpContext {
	if r.role == protocol.AttemptResource {
		t := r.vm.attempts.take()
		*t = attempt{try: try{vm: r.vm}, id: id}
		return t
	}
	g := r.vm.gatesDone.take()
	*g = gate{vm: r.vm, root: r, attempts: g.attempts[:0]}
	if r.role == protocol.GateOnlyResource {
		g.sole = &sole{}
	}
	return g
}

// beat shows that this VM lives, and gives back what dead ones held.
func (v *vm) beat() {
	host := hostMS()
	if host >= v.beatMS && host-v.beatMS < 1000 {
		return
	}
	v.beatMS = host
	alive, died := v.book.Beat(v.id, host)
	if !died {
		return
	}
	for _, c := range v.book.Credentials() {
		if v.book.Update(c, func(e *account.Entry) bool { return e.Reclaim(alive) }) {
			proxywasm.LogWarnf("keywheel: took back what a worker that ended held of credential %s", c)
		}
	}
}

// process returns this Envoy process's incarnation.
func (v *vm) process() string {
	if v.incarnation == "" {
		v.incarnation = v.book.Incarnation(func() string { return uuidV7(uint64(hostMS()), rand.Uint64(), rand.Uint64()) })
	}
	return v.incarnation
}

// standingAgeMS is how old the VM's copy of the clock and of the keys' standing may be.
const standingAgeMS = 100

// instant is now, by Keywheel's clock.
func (v *vm) instant() picker.Instant { return v.instantAt(hostMS()) }

// instantAt is the instant at a host's time that was read just now.
func (v *vm) instantAt(host int64) picker.Instant {
	if host < v.standingMS || host-v.standingMS >= standingAgeMS {
		v.standingMS = host
		if s, ok := v.book.Standing(); ok {
			v.standing = s
		} else if a := v.newest(); a != nil {
			v.standing.Clock = a.Clock
		}
	}
	now := v.standing.Clock.Now(host) + v.standing.OffsetMS
	return picker.Instant{NowMS: now, Window: quota.WindowAtMS(now)}
}

// newest is the newest of the roles' assignments; nil before the first.
func (v *vm) newest() *assigned {
	newest := v.gate
	for _, a := range [...]*assigned{v.attempt, v.only} {
		if newest.version().Before(a.version()) {
			newest = a
		}
	}
	return newest
}

// mode is what reports call the roles that are played here.
func (v *vm) mode() string {
	if v.only != nil && v.gate == nil && v.attempt == nil {
		return protocol.ModeGateOnly
	}
	return ""
}

const hexDigits = "0123456789abcdef"

// uuidV7 makes a UUID of RFC 9562, version 7.
func uuidV7(ms, a, b uint64) string {
	hi := ms<<16 | 7<<12 | a&0xfff
	lo := 2<<62 | b>>2
	out := make([]byte, 0, 36)
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			out = append(out, '-')
		}
		n := hi
		if i >= 16 {
			n = lo
		}
		out = append(out, hexDigits[n>>(60-4*(i%16))&15])
	}
	return string(out)
}
