package plugin

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/shared/protocol"
)

// stats are Envoy's own statistics, by key ID: wasmcustom.keywheel.key.1.picks and so on. They are defined once in a
// VM, on first use.
type stats struct {
	counters map[string]proxywasm.MetricCounter
	keys     map[protocol.CredentialID]*keyStats
}

// keyStats are the counters of one key.
type keyStats struct{ picks, tokens proxywasm.MetricCounter }

// mostKeyStats bounds the credentials whose counters are at hand: each new revision of a key is one more.
const mostKeyStats = 4096

func (s *stats) counter(name string) proxywasm.MetricCounter {
	c, ok := s.counters[name]
	if !ok {
		if s.counters == nil {
			s.counters = map[string]proxywasm.MetricCounter{}
		}
		c = proxywasm.DefineCounterMetric(name)
		s.counters[name] = c
	}
	return c
}

func (s *stats) key(c protocol.CredentialID) *keyStats {
	if k := s.keys[c]; k != nil {
		return k
	}
	key, _, ok := protocol.SplitCredential(c)
	if !ok {
		return nil
	}
	k := &keyStats{picks: s.counter("keywheel.key." + key + ".picks"), tokens: s.counter("keywheel.key." + key + ".tokens")}
	if s.keys == nil || len(s.keys) >= mostKeyStats {
		s.keys = map[protocol.CredentialID]*keyStats{}
	}
	s.keys[strings.Clone(c)] = k
	return k
}

func (s *stats) pick(c protocol.CredentialID) {
	if k := s.key(c); k != nil {
		k.picks.Increment(1)
	}
}

func (s *stats) tokens(c protocol.CredentialID, n int64) {
	if k := s.key(c); k != nil {
		k.tokens.Increment(uint64(n))
	}
}

func (s *stats) rotation() { s.counter("keywheel.rotations").Increment(1) }
func (s *stats) rescue()   { s.counter("keywheel.rescues").Increment(1) }
func (s *stats) refusal()  { s.counter("keywheel.refusals").Increment(1) }
func (s *stats) panicked() { s.counter("keywheel.panics").Increment(1) }
func (s *stats) echo()     { s.counter("keywheel.secrets_shown").Increment(1) }
