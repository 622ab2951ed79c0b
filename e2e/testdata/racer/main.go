// Racer is a filter in which two workers of a real Envoy count in the product's own account at once, mostly in entries
// that both create at the same moment. It is built for Envoy only.
//
// A worker takes part from its first HTTP request on. When there are two, each of their ticks is a few rounds: both wait
// for the other, then both count in a name that is new, and in one that is not. In the end the counters racer.added and
// racer.counted hold what was added and what the account has of it.
package main

import (
	"encoding/binary"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/account"
	"keywheel/filter/shareddata"
	"keywheel/shared/groq"
	"keywheel/shared/quota"
)

const (
	workers   = 2
	rounds    = 2000 // each with a name of its own; names cannot be deleted
	perRound  = 200  // adds of each worker to the new name
	hot       = 50   // adds of each worker to the name of all rounds
	perTick   = 20   // rounds
	hotName   = "hot.1"
	window    = quota.Window(20_000)
	tickMS    = 1
	joined    = "racer/joined"  // workers that take part
	arrived   = "racer/arrived" // arrivals at the beginning of a round, over all rounds
	endedName = "racer/ended"   // workers that are through
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

// NewPluginContext implements types.VMContext.
func (*vm) NewPluginContext(uint32) types.PluginContext {
	return &racer{data: shareddata.Host{}, book: account.NewBook(shareddata.Host{})}
}

type racer struct {
	types.DefaultPluginContext

	data   shareddata.Host
	book   *account.Book
	joined bool
	round  int
	ended  bool
}

// OnPluginStart implements types.PluginContext.
func (r *racer) OnPluginStart(int) types.OnPluginStartStatus {
	if err := proxywasm.SetTickPeriodMilliSeconds(tickMS); err != nil {
		proxywasm.LogCriticalf("racer: %v", err)
	}
	return types.OnPluginStartStatusOK
}

// NewHttpContext implements types.PluginContext.
func (r *racer) NewHttpContext(uint32) types.HttpContext {
	if !r.joined {
		r.joined = true
		r.increment(joined)
		proxywasm.DefineCounterMetric("racer.joined").Increment(1)
	}
	return &types.DefaultHttpContext{}
}

// OnTick implements types.PluginContext.
func (r *racer) OnTick() {
	if !r.joined || r.ended || r.read(joined) < workers {
		return
	}
	for range perTick {
		if r.round == rounds {
			r.end()
			return
		}
		r.run()
	}
}

// run is one round.
func (r *racer) run() {
	r.round++
	r.increment(arrived)
	for r.read(arrived) < uint64(r.round*workers) { // the other is on its way: it runs on a thread of its own
	}
	name := "round-" + strconv.Itoa(r.round) + ".1"
	for i := range perRound {
		r.add(name)
		if i < hot {
			r.add(hotName)
		}
	}
	proxywasm.DefineCounterMetric("racer.added").Increment(perRound + hot)
}

// add charges a credential one token for one request, as the gate does.
func (r *racer) add(name string) {
	r.book.Update(name, func(e *account.Entry) bool {
		e.Settle(window, account.Settlement{Class: groq.ClassOK, Model: "m", Usage: groq.Usage{Total: 1}, Charged: true})
		return true
	})
}

// end sums up, in the worker that is the last.
func (r *racer) end() {
	r.ended = true
	if r.increment(endedName) < workers {
		return
	}
	var requests, tokens, listed uint64
	for _, name := range r.book.Credentials() {
		u := r.book.Entry(name).Usage(name)[window]
		listed++
		requests += uint64(u.Requests)
		for _, m := range u.Models {
			tokens += uint64(m.Total)
		}
	}
	proxywasm.DefineCounterMetric("racer.names").Increment(listed)
	proxywasm.DefineCounterMetric("racer.requests").Increment(requests)
	proxywasm.DefineCounterMetric("racer.tokens").Increment(tokens)
	proxywasm.DefineCounterMetric("racer.done").Increment(1)
}

func (r *racer) read(name string) uint64 {
	b, _, ok := r.data.Get(name)
	if !ok {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// increment adds 1 to what read reads, and returns the sum.
func (r *racer) increment(name string) uint64 {
	for {
		n := uint64(0)
		b, cas, ok := r.data.Get(name)
		if ok {
			n = binary.LittleEndian.Uint64(b)
		} else {
			cas = account.Absent
		}
		if r.data.Swap(name, binary.LittleEndian.AppendUint64(nil, n+1), cas) {
			return n + 1
		}
	}
}
