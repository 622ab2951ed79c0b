package sinks

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Drip is a server that greets with a byte every now and then, and never to the end of a line.
type Drip struct {
	Addr string

	listener net.Listener
	reached  atomic.Bool
	stop     chan struct{}
	once     sync.Once
	group    sync.WaitGroup
}

// StartDrip runs one until the test ends.
func StartDrip(t testing.TB) *Drip {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &Drip{Addr: l.Addr().String(), listener: l, stop: make(chan struct{})}
	d.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.reached.Store(true)
			d.group.Go(func() { d.greet(c) })
		}
	})
	t.Cleanup(d.Stop)
	return d
}

func (d *Drip) greet(c net.Conn) {
	defer c.Close()
	drops := time.NewTicker(100 * time.Millisecond)
	defer drops.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-drops.C:
			if _, err := c.Write([]byte("2")); err != nil {
				return
			}
		}
	}
}

// Reached is nil once somebody connected.
func (d *Drip) Reached() error {
	if !d.reached.Load() {
		return errors.New("nobody connected")
	}
	return nil
}

// Stop closes all connections.
func (d *Drip) Stop() {
	d.once.Do(func() {
		close(d.stop)
		_ = d.listener.Close()
	})
	d.group.Wait()
}
