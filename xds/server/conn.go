package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Conn is the connection over which a request came.
type Conn struct {
	ID    uint64 // unique as long as the process lives, from 1
	Local bool   // the peer is on this machine: once the connection is closed, so is the peer
}

type connKey struct{}

// ConnFrom returns the connection of a request to a Server, also of a gRPC stream. ok is false for other contexts.
func ConnFrom(ctx context.Context) (c Conn, ok bool) {
	c, ok = ctx.Value(connKey{}).(Conn)
	return c, ok
}

// connContext gives the requests of a connection its Conn.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	if t, ok := c.(*trackedConn); ok {
		return context.WithValue(ctx, connKey{}, t.Conn)
	}
	return ctx
}

var connIDs atomic.Uint64

// tracked numbers the connections that it accepts and says when each is closed.
type tracked struct {
	net.Listener
	closed func(id uint64)
}

// Accept implements net.Listener.
func (t *tracked) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &trackedConn{Conn: Conn{ID: connIDs.Add(1), Local: local(c)}, conn: c, closed: t.closed}, nil
}

// conn keeps trackedConn's two embedded types apart.
type conn = net.Conn

type trackedConn struct {
	Conn
	conn
	closed func(id uint64)
	once   sync.Once
}

// Close implements net.Conn.
func (t *trackedConn) Close() error {
	err := t.conn.Close()
	t.once.Do(func() { t.closed(t.ID) })
	return err
}

// local says whether the peer is on this machine.
func local(c net.Conn) bool {
	if c.RemoteAddr().Network() == "unix" {
		return true
	}
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}
