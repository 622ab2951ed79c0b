package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/genproto/googleapis/rpc/status"

	"keywheel/xds/envoy"
)

// maxMessage bounds what is kept of an Envoy's reason for a refusal, in bytes.
const maxMessage = 512

// streams is the xDS service. It adds to go-control-plane's that each stream begins with the state of the moment, that
// the observer is told, and that a refused configuration is not sent again at once.
type streams struct {
	extensionv3.UnimplementedExtensionConfigDiscoveryServiceServer
	server *Server
	sotw   sotw.Server
	delta  delta.Server
	ids    atomic.Int64

	refusals *lru.Cache[string, int] // in a row, by node ID

	mu   sync.Mutex
	open map[streamKey]*openStream
}

// maxRefusing bounds the nodes whose refusals are counted.
const maxRefusing = 1024

// streamKey is go-control-plane's name of a stream, which it numbers apart by protocol.
type streamKey struct {
	delta bool
	id    int64
}

// openStream is what is known of one stream. Only its own goroutine uses it.
type openStream struct {
	ctx   context.Context
	id    int64
	again func(time.Duration) // ends the stream after a time; nil: the protocol does not need it
	node  string
	seen  bool   // the first request came
	nonce string // of the newest answer
	sent  string // its version
}

func newStreams(ctx context.Context, s *Server) *streams {
	refusals, _ := lru.New[string, int](maxRefusing) // fails only for sizes below 1
	x := &streams{server: s, open: map[streamKey]*openStream{}, refusals: refusals}
	x.sotw = sotw.NewServer(ctx, s.Cache, x)
	x.delta = delta.NewServer(ctx, s.Cache, x)
	return x
}

// StreamExtensionConfigs implements the ECDS service.
func (x *streams) StreamExtensionConfigs(g extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	return x.handle(g, resourcev3.ExtensionConfigType)
}

// StreamAggregatedResources implements the ADS service.
func (x *streams) StreamAggregatedResources(g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return x.handle(g, resourcev3.AnyType)
}

func (x *streams) handle(inner stream.Stream, typeURL string) error {
	e := newEnding(inner)
	defer e.stop()
	return x.sotw.StreamHandler(e, typeURL)
}

// DeltaExtensionConfigs implements the ECDS service.
func (x *streams) DeltaExtensionConfigs(g extensionv3.ExtensionConfigDiscoveryService_DeltaExtensionConfigsServer) error {
	return x.delta.DeltaStreamHandler(g, resourcev3.ExtensionConfigType)
}

// DeltaAggregatedResources implements the ADS service.
func (x *streams) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return x.delta.DeltaStreamHandler(g, resourcev3.AnyType)
}

func (x *streams) stream(key streamKey) *openStream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.open[key]
}

// request takes what every request says: who asks at first, then whether the last answer was taken over.
func (x *streams) request(st *openStream, node *corev3.Node, refusal *status.Status, nonce string) {
	if !st.seen {
		st.seen, st.node = true, node.GetId()
		x.met(st, node)
		if err := x.server.Refresh(st.ctx); err != nil {
			x.server.Logger.Error("An Envoy gets the last assignment, as there is no newer one", "node", st.node, "error", err)
		}
	}
	switch {
	case refusal != nil:
		x.refused(st, refusal.GetMessage())
	case nonce != "":
		x.refusals.Remove(st.node)
	}
}

// met tells the observer of a node's first request on a stream.
func (x *streams) met(st *openStream, node *corev3.Node) {
	version := ""
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil {
		version = fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	x.server.Observer.NodeSeen(st.node, version, st.id)
	x.server.Logger.Debug("Envoy asks for its assignment", "node", st.node, "version", version, "stream", st.id)
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil && !envoy.Recent(int(v.GetMajorNumber()), int(v.GetMinorNumber())) {
		x.check(x.server.Observer.OldEnvoy(st.ctx, st.node, version))
	}
}

// refused takes a NACK.
func (x *streams) refused(st *openStream, message string) {
	n, _ := x.refusals.Get(st.node)
	n++
	x.refusals.Add(st.node, n)
	message = x.server.Redact(message)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	x.check(x.server.Observer.Rejected(st.ctx, st.node, message))
	if st.again != nil {
		st.again(x.server.RetryAfter(n))
	}
}

func (x *streams) check(err error) {
	if err != nil {
		x.server.Logger.Error("What an Envoy said could not be recorded", "error", err)
	}
}

// retryAfter is the standard for Config.RetryAfter.
func retryAfter(n int) time.Duration {
	const first, most = 5 * time.Second, 5 * time.Minute
	wait := most
	if n < 8 {
		wait = min(most, first<<(n-1))
	}
	return wait + time.Duration(rand.Int64N(int64(wait)/5)) //nolint:gosec // jitter
}
