package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/shared/protocol"
)

// stats are Envoy's own statistics, by key ID: wasmcustom.keywheel.key.1.picks and so on. They are defined once in a
// VM, on first use.
type stats struct {
	counters map[string]proxywasm.MetricCounter
}

func (s *stats) add(name string, n uint64) {
	c, ok := s.counters[name]
	if !ok {
		if s.counters == nil {
			s.counters = map[string]proxywasm.MetricCounter{}
		}
		c = proxywasm.DefineCounterMetric(name)
		s.counters[name] = c
	}
	c.Increment(n)
}

func (s *stats) ofKey(c protocol.CredentialID, what string, n uint64) {
	if key, _, ok := protocol.SplitCredential(c); ok {
		s.add("keywheel.key."+key+"."+what, n)
	}
}

func (s *stats) pick(c protocol.CredentialID)            { s.ofKey(c, "picks", 1) }
func (s *stats) tokens(c protocol.CredentialID, n int64) { s.ofKey(c, "tokens", uint64(n)) }
func (s *stats) rotation()                               { s.add("keywheel.rotations", 1) }
func (s *stats) rescue()                                 { s.add("keywheel.rescues", 1) }
func (s *stats) refusal()                                { s.add("keywheel.refusals", 1) }
