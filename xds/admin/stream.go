package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"
)

// State is all that a page shows of this instant.
type State struct {
	Pool    Pool    `json:"pool"`
	Keys    []Key   `json:"keys" nullable:"false"`
	Proxies []Proxy `json:"proxies" nullable:"false"`
}

const (
	// lookEvery is how often the account is looked at for a stream, and so the most often that a state is sent.
	lookEvery = 500 * time.Millisecond
	// sendAtLeast is how often a state is sent though nothing changed, so that both sides notice a dead connection.
	sendAtLeast = 15 * time.Second
	// maxStreams bounds the streams that are open at once.
	maxStreams = 64
)

func (a *api) registerStream() {
	op := guardedOperation(huma.Operation{
		OperationID: "stream", Method: http.MethodGet, Path: "/api/v1/stream", Tags: []string{tagAccount},
		Summary: "What changes, as it does",
		Description: "Server-sent events: `state` at once and whenever it changed, at most twice a second; `event` for each thing that happened " +
			"since the stream was opened.",
	}, http.StatusServiceUnavailable)
	op.Middlewares = huma.Middlewares{a.admitStream}
	a.streams = make(chan struct{}, maxStreams)
	sse.Register(a.huma, op, map[string]any{"state": State{}, "event": Event{}}, a.stream)
}

// admitStream lets a stream begin if there is room for one more. Who asks for the headers alone gets no stream.
func (a *api) admitStream(ctx huma.Context, next func(huma.Context)) {
	if ctx.Method() == http.MethodHead {
		ctx.SetHeader("Content-Type", "text/event-stream")
		ctx.SetStatus(http.StatusOK)
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
		next(ctx)
	default:
		_ = huma.WriteErr(a.huma, ctx, http.StatusServiceUnavailable, "Too many streams are open; try again when one has ended.") // fails if the client is gone
	}
}

// state is all that a page shows of this instant.
func (a *api) state() State {
	view := a.Ledger.View()
	s := State{Pool: poolOf(view), Keys: a.keysOf(view), Proxies: make([]Proxy, 0, len(view.Proxies))}
	for i := range view.Proxies {
		s.Proxies = append(s.Proxies, proxyOf(&view.Proxies[i]))
	}
	return s
}

// content is a state as text, without what changes though nothing happened.
func (s State) content() string {
	s.Pool.Now = s.Pool.Now.Truncate(time.Minute)
	proxies := make([]Proxy, len(s.Proxies))
	for i, p := range s.Proxies {
		p.LastReport, p.Reports, p.SkewMS = nil, 0, 0
		proxies[i] = p
	}
	s.Proxies = proxies
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b)
}

// stream sends until the client goes away.
func (a *api) stream(ctx context.Context, _ *struct{}, send sse.Sender) {
	var told int64
	if newest := a.Ledger.Newest(1); len(newest) > 0 {
		told = newest[0].ID
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	who := caller(ctx)
	sent, quiet, looks := "", 0, 0
	for {
		if looks++; looks%int(sendAtLeast/lookEvery) == 0 && !who.still() {
			return // signed out, or the token is another by now
		}
		for _, e := range a.Ledger.Events(told, maxListed) {
			told = e.ID
			if send.Data(eventOf(&e)) != nil {
				return
			}
		}
		s := a.state()
		if content := s.content(); content != sent || quiet >= int(sendAtLeast/lookEvery) {
			sent, quiet = content, 0
			if send.Data(s) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.Closing:
			return
		case <-look.C:
			quiet++
		}
	}
}

// maxListed is the most that one answer lists.
const maxListed = 1000
