package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// client makes one call after the other on a connection. It does as little as it can: what it costs is taken from the
// same machine as what is measured.
type client struct {
	conn net.Conn
	in   []byte
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &client{conn: c, in: make([]byte, 64<<10)}
}

var (
	headersEnd = []byte("\r\n\r\n")
	lastChunk  = []byte("0\r\n\r\n")
	lengthName = []byte("content-length: ")
)

// call sends a request and reads its answer to the end. Anything but a 200 is an error.
func (c *client) call(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	for n, whole := 0, -1; ; {
		read, err := c.conn.Read(c.in[n:])
		if err != nil {
			return err
		}
		n += read
		head := bytes.Index(c.in[:n], headersEnd)
		if head < 0 {
			continue
		}
		if whole < 0 {
			if !bytes.HasPrefix(c.in, []byte("HTTP/1.1 200")) {
				return fmt.Errorf("answered %q", c.in[:n])
			}
			whole = 0 // chunked
			if at := bytes.Index(c.in[:head], lengthName); at >= 0 {
				length, _, _ := bytes.Cut(c.in[at+len(lengthName):n], []byte("\r"))
				size, err := strconv.Atoi(string(length))
				if err != nil {
					return err
				}
				whole = head + len(headersEnd) + size
			}
		}
		switch {
		case whole > 0 && n == whole, whole == 0 && bytes.HasSuffix(c.in[:n], lastChunk):
			return nil
		case whole > 0 && n > whole, n == len(c.in):
			return errors.New("the answer is longer than it says, or than expected")
		}
	}
}

// load makes calls over a number of connections and returns how long each took, in microseconds, and how long all did.
func load(t testing.TB, addr string, s *shape, connections, calls int) (micros []float64, took time.Duration) {
	t.Helper()
	request := s.request(addr)
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = dial(t, addr)
		defer clients[i].conn.Close()
		if err := clients[i].call(request); err != nil { // the first makes the connection upstream
			t.Fatalf("%s by %s: %v", s.name, addr, err)
		}
	}
	each := calls / connections
	micros = make([]float64, each*connections)
	var wg sync.WaitGroup
	begin := time.Now()
	for i, c := range clients {
		wg.Go(func() {
			for j := range each {
				start := time.Now()
				if err := c.call(request); err != nil {
					t.Errorf("%s by %s: %v", s.name, addr, err)
					return
				}
				micros[i*each+j] = float64(time.Since(start).Nanoseconds()) / 1e3
			}
		})
	}
	wg.Wait()
	return micros, time.Since(begin)
}
