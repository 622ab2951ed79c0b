package server

import (
	"context"
	"errors"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
)

var errEnded = errors.New("stream ended so that Envoy asks again")

type endingKey struct{}

// ending is a stream that can be ended from this side: its handler sees the end of the requests.
type ending struct {
	stream.Stream
	ctx      context.Context
	requests chan received
	done     chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

type received struct {
	request *discoveryv3.DiscoveryRequest
	err     error
}

func newEnding(inner stream.Stream) *ending {
	e := &ending{Stream: inner, requests: make(chan received), done: make(chan struct{})}
	e.ctx = context.WithValue(inner.Context(), endingKey{}, e)
	go func() {
		for {
			r, err := inner.Recv()
			select {
			case e.requests <- received{r, err}:
			case <-e.done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return e
}

// Context implements grpc.ServerStream.
func (e *ending) Context() context.Context { return e.ctx }

// Recv implements stream.Stream.
func (e *ending) Recv() (*discoveryv3.DiscoveryRequest, error) {
	select {
	case r := <-e.requests:
		return r.request, r.err
	case <-e.done:
		return nil, errEnded
	}
}

// after ends the stream in a time. A call before that replaces the time.
func (e *ending) after(wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
	e.timer = time.AfterFunc(wait, e.stop)
}

// stop ends the stream.
func (e *ending) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
	if !e.ended {
		e.ended = true
		close(e.done)
	}
}
