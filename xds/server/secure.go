package server

import (
	"context"
	"crypto/tls"
	"net"
)

// secured is a listener whose connections have proved who they are.
type secured struct {
	net.Listener
	config  *tls.Config
	refused func(peer net.Addr, err error)

	accepted chan accepted
	ctx      context.Context // ends with the listener
	end      context.CancelFunc
}

type accepted struct {
	conn net.Conn
	err  error
}

// secure returns l with TLS. Each handshake is on its own, so that a slow peer keeps nobody waiting; refused is told of
// those that fail.
func secure(l net.Listener, config *tls.Config, refused func(peer net.Addr, err error)) net.Listener {
	s := &secured{Listener: l, config: config, refused: refused, accepted: make(chan accepted)}
	s.ctx, s.end = context.WithCancel(context.Background())
	go s.run()
	return s
}

// Accept implements net.Listener. The connections are of type *tls.Conn.
func (s *secured) Accept() (net.Conn, error) {
	select {
	case a := <-s.accepted:
		return a.conn, a.err
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *secured) Close() error {
	s.end()
	return s.Listener.Close()
}

// run accepts until the listener is closed. Other errors pass: whoever calls Accept knows how long to wait after one.
func (s *secured) run() {
	for s.ctx.Err() == nil {
		c, err := s.Listener.Accept()
		if err == nil {
			go s.shake(c)
			continue
		}
		select {
		case s.accepted <- accepted{err: err}:
		case <-s.ctx.Done():
		}
	}
}

// shake hands a connection over once it is known whose it is.
func (s *secured) shake(inner net.Conn) {
	ctx, cancel := context.WithTimeout(s.ctx, headerTimeout)
	defer cancel()
	c := tls.Server(inner, s.config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = inner.Close() // nothing is left to be said to the peer
		if s.ctx.Err() == nil {
			s.refused(inner.RemoteAddr(), err)
		}
		return
	}
	select {
	case s.accepted <- accepted{conn: c}:
	case <-s.ctx.Done():
		_ = c.Close() // it goes with the listener
	}
}
