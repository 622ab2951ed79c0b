package admin

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxWrong   = 10   // wrong tokens of a source in a minute; more are answered 429
	maxSources = 4096 // that are remembered, the latest
)

// within says whether a span of a minute that began at since holds now. A clock that was set back ends it.
func within(since, now time.Time) bool {
	d := now.Sub(since)
	return d >= 0 && d < time.Minute
}

// limiter counts wrong tokens by source, so that guessing is slow, and seen. Valid tokens never ask it.
type limiter struct {
	now func() time.Time

	mu      sync.Mutex
	sources *simplelru.LRU[netip.Prefix, *tries]
}

type tries struct {
	since time.Time
	wrong int
}

func newLimiter(now func() time.Time) *limiter {
	sources, _ := simplelru.NewLRU[netip.Prefix, *tries](maxSources, nil) // fails only for a size below 1
	return &limiter{now: now, sources: sources}
}

// wrong counts a wrong token. It returns how long its source has to wait before another is answered as such, 0 if it
// has not to; reached says that it has to from this one on.
func (l *limiter) wrong(addr netip.Addr) (wait time.Duration, reached bool) {
	source, now := sourceOf(addr), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.sources.Get(source)
	if !ok || !within(t.since, now) {
		t = &tries{since: now}
		l.sources.Add(source, t)
	}
	t.wrong++
	if t.wrong <= maxWrong {
		return 0, false
	}
	return time.Minute - now.Sub(t.since), t.wrong == maxWrong+1
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
