// Package clock tells Keywheel's time: the host's own, or for tests one that starts where it is told and runs as fast
// as it is told. Filters follow by Spec, which travels to them in the assignment.
package clock

import (
	"errors"
	"math"
	"sync"
	"time"

	"keywheel/shared/protocol"
)

// MaxSpeed is the fastest that a virtual clock may run: a day in less than a second.
const MaxSpeed = 100_000

// Clock tells the time. It is safe for concurrent use.
type Clock struct {
	host func() time.Time

	mu   sync.RWMutex
	spec protocol.Clock // zero: the host's time
}

// Real returns the host's clock.
func Real() *Clock { return &Clock{host: time.Now} }

// New returns a virtual clock that shows anchor now, to the millisecond, and from then on runs speed times as fast as
// host; at speed 0 it stands still. See Check for what it can show. host is time.Now if nil.
func New(anchor time.Time, speed float64, host func() time.Time) *Clock {
	if host == nil {
		host = time.Now
	}
	c := &Clock{host: host}
	c.Set(anchor, speed)
	return c
}

// Check says what keeps a virtual clock from showing now at speed.
func Check(now time.Time, speed float64) error {
	switch {
	case now.Year() < 2000 || now.Year() > 2199:
		return errors.New("the time must be in the years 2000 to 2199")
	case math.IsNaN(speed) || speed < 0 || speed > MaxSpeed:
		return errors.New("the speed must be a number from 0 to 100000")
	}
	return nil
}

// Now is the time it shows, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	spec := c.spec
	c.mu.RUnlock()
	host := c.host()
	if spec == (protocol.Clock{}) {
		return host.UTC()
	}
	return time.UnixMilli(spec.Now(host.UnixMilli())).UTC()
}

// Set makes the clock virtual, if it is not yet, and lets it show now and run at speed. It may go back. What Check
// refuses is not for it.
func (c *Clock) Set(now time.Time, speed float64) {
	spec := protocol.Clock{AnchorHostMS: c.host().UnixMilli(), AnchorNowMS: now.UnixMilli(), Speed: speed}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spec = spec
}

// Spec is how a filter computes the same time from its host's clock; zero for the host's own.
func (c *Clock) Spec() protocol.Clock {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.spec
}

// Virtual says whether the clock is not the host's.
func (c *Clock) Virtual() bool { return c.Spec() != protocol.Clock{} }
