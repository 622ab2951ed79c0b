package plugin

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/shared/protocol"
)

// stats are Envoy's own statistics, by key ID: wasmcustom.keywheel.key.1.picks and so on. They are defined once in a
// VM, on first use. What each call counts is told with the next tick.
type stats struct {
	counters map[string]proxywasm.MetricCounter
	keys     map[protocol.CredentialID]*keyStats
	last     *keyStats
	untold   []*keyStats
}

// keyStats are the counters of one key, and what they do not know yet.
type keyStats struct {
	credential    protocol.CredentialID
	picks, tokens proxywasm.MetricCounter
	newPicks      uint64
	newTokens     uint64
	untold        bool
}

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

// key returns a key's counters, which are about to count; nil where the credential is none.
func (s *stats) key(c protocol.CredentialID) *keyStats {
	k := s.last
	if k == nil || k.credential != c {
		if k = s.find(c); k == nil {
			return nil
		}
		s.last = k
	}
	if !k.untold {
		k.untold = true
		s.untold = append(s.untold, k)
	}
	return k
}

func (s *stats) find(c protocol.CredentialID) *keyStats {
	if k := s.keys[c]; k != nil {
		return k
	}
	key, _, ok := protocol.SplitCredential(c)
	if !ok {
		return nil
	}
	k := &keyStats{
		credential: strings.Clone(c),
		picks:      s.counter("keywheel.key." + key + ".picks"), tokens: s.counter("keywheel.key." + key + ".tokens"),
	}
	if s.keys == nil || len(s.keys) >= mostKeyStats {
		s.keys = map[protocol.CredentialID]*keyStats{}
	}
	s.keys[k.credential] = k
	return k
}

func (s *stats) pick(c protocol.CredentialID) {
	if k := s.key(c); k != nil {
		k.newPicks++
	}
}

func (s *stats) tokens(c protocol.CredentialID, n int64) {
	if k := s.key(c); k != nil {
		k.newTokens += uint64(max(0, n))
	}
}

// tell has Envoy know what was counted.
func (s *stats) tell() {
	for _, k := range s.untold {
		if k.newPicks > 0 {
			k.picks.Increment(k.newPicks)
		}
		if k.newTokens > 0 {
			k.tokens.Increment(k.newTokens)
		}
		k.newPicks, k.newTokens, k.untold = 0, 0, false
	}
	s.untold = s.untold[:0]
}

func (s *stats) rotation() { s.counter("keywheel.rotations").Increment(1) }
func (s *stats) rescue()   { s.counter("keywheel.rescues").Increment(1) }
func (s *stats) refusal()  { s.counter("keywheel.refusals").Increment(1) }
func (s *stats) panicked() { s.counter("keywheel.panics").Increment(1) }
func (s *stats) echo()     { s.counter("keywheel.secrets_shown").Increment(1) }
