package server

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
)

var (
	_ sotw.Callbacks  = (*streams)(nil)
	_ delta.Callbacks = (*streams)(nil)
)

// OnStreamOpen implements sotw.Callbacks.
func (x *streams) OnStreamOpen(ctx context.Context, id int64, _ string) error {
	x.opened(ctx, streamKey{id: id})
	return nil
}

// OnDeltaStreamOpen implements delta.Callbacks.
func (x *streams) OnDeltaStreamOpen(ctx context.Context, id int64, _ string) error {
	x.opened(ctx, streamKey{delta: true, id: id})
	return nil
}

// OnStreamClosed implements sotw.Callbacks.
func (x *streams) OnStreamClosed(id int64, _ *corev3.Node) { x.closed(streamKey{id: id}) }

// OnDeltaStreamClosed implements delta.Callbacks.
func (x *streams) OnDeltaStreamClosed(id int64, _ *corev3.Node) {
	x.closed(streamKey{delta: true, id: id})
}

// OnStreamRequest implements sotw.Callbacks: it comes before the answer. go-control-plane would send at once again what
// was refused; told that the Envoy has that version, it waits for another.
func (x *streams) OnStreamRequest(id int64, r *discoveryv3.DiscoveryRequest) error {
	st := x.stream(streamKey{id: id})
	if st == nil {
		return nil
	}
	x.request(st, r.GetNode(), r.GetErrorDetail(), r.GetResponseNonce())
	if r.GetErrorDetail() != nil && r.GetResponseNonce() == st.nonce {
		r.VersionInfo = st.sent
	}
	return nil
}

// OnStreamDeltaRequest implements delta.Callbacks. The delta protocol by itself does not send again what was refused.
func (x *streams) OnStreamDeltaRequest(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	if st := x.stream(streamKey{delta: true, id: id}); st != nil {
		x.request(st, r.GetNode(), r.GetErrorDetail(), r.GetResponseNonce())
	}
	return nil
}

// OnStreamResponse implements sotw.Callbacks.
func (x *streams) OnStreamResponse(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	if st := x.stream(streamKey{id: id}); st != nil {
		st.nonce, st.sent = r.GetNonce(), r.GetVersionInfo()
	}
}

// OnStreamDeltaResponse implements delta.Callbacks.
func (x *streams) OnStreamDeltaResponse(int64, *discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DeltaDiscoveryResponse) {
}

func (x *streams) opened(ctx context.Context, key streamKey) {
	st := &openStream{ctx: ctx, id: x.ids.Add(1)}
	if e, ok := ctx.Value(endingKey{}).(*ending); ok {
		st.again = e.after
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open[key] = st
}

func (x *streams) closed(key streamKey) {
	st := x.stream(key)
	x.mu.Lock()
	delete(x.open, key)
	x.mu.Unlock()
	if st != nil && st.seen {
		x.server.Observer.NodeGone(st.node, st.id)
	}
}
