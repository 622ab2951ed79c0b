// Package guess counts wrong tokens by where they come from, so that guessing is slow, and seen. Valid tokens never ask it.
package guess

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of a Limiter.
const (
	MaxWrong   = 10   // wrong tokens of a source in a minute; more are to be answered 429
	MaxSources = 4096 // that are remembered, the latest
)

// Within says whether a span of a minute that began at since holds now. A clock that was set back ends it.
func Within(since, now time.Time) bool {
	d := now.Sub(since)
	return d >= 0 && d < time.Minute
}

// Limiter counts wrong tokens by source. Its methods may be called from several goroutines at once.
type Limiter struct {
	now func() time.Time

	mu      sync.Mutex
	sources *simplelru.LRU[netip.Prefix, *tries]
}

type tries struct {
	since time.Time
	wrong int
}

// New returns a Limiter that goes by now.
func New(now func() time.Time) *Limiter {
	sources, _ := simplelru.NewLRU[netip.Prefix, *tries](MaxSources, nil) // fails only for a size below 1
	return &Limiter{now: now, sources: sources}
}

// Wrong counts a wrong token. It returns how long its source has to wait before another is answered as such, 0 if it
// has not to; reached says that it has to from this one on.
func (l *Limiter) Wrong(addr netip.Addr) (wait time.Duration, reached bool) {
	source, now := sourceOf(addr), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.sources.Get(source)
	if !ok || !Within(t.since, now) {
		t = &tries{since: now}
		l.sources.Add(source, t)
	}
	t.wrong++
	if t.wrong <= MaxWrong {
		return 0, false
	}
	return time.Minute - now.Sub(t.since), t.wrong == MaxWrong+1
}

// Sources returns how many sources are remembered.
func (l *Limiter) Sources() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sources.Len()
}

// sourceOf returns what is counted together: an IPv4 address, an IPv6 network of 64 bits, which one host may have to
// itself, or all of loopback.
func sourceOf(addr netip.Addr) netip.Prefix {
	if addr.IsLoopback() {
		addr = netip.IPv6Loopback()
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	source, _ := addr.Prefix(bits) // fails only for too many bits
	return source
}
