package admin

import (
	"context"
	"net/netip"

	"keywheel/xds/audit"
)

// Caller is who made a request.
type Caller struct {
	Who  string // audit.Admin, audit.Read, audit.Page or audit.Nobody
	From string // the address that it came from, without the port

	admits  access
	token   digest // that it showed, or that its session was made with
	session digest // its session's; zero without one
	addr    netip.Addr
	secure  bool // it came over TLS
	guard   *guard
}

type callerKey struct{}

// caller returns who made the request that ctx belongs to.
func caller(ctx context.Context) Caller {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return Caller{Who: audit.Nobody}
	}
	return c
}

// byCaller is the beginning of the audit's entry of a change that the caller makes.
func byCaller(ctx context.Context) audit.Entry {
	c := caller(ctx)
	return audit.Entry{Who: c.Who, From: c.From}
}

// still says whether what admitted the caller would admit them now: the token is valid, the session has not ended. An
// answer that goes on for long asks again and again; so a page that only listens keeps its session too.
func (c *Caller) still() bool {
	if c.guard == nil {
		return false
	}
	if c.Who == audit.Page && !c.guard.sessions.use(c.session) {
		return false
	}
	return c.guard.level(c.token) == c.admits
}

// address returns the IP address of a request's RemoteAddr; zero if it has none.
func address(remote string) netip.Addr {
	ap, _ := netip.ParseAddrPort(remote) // zero on an error
	return ap.Addr().Unmap().WithZone("")
}
