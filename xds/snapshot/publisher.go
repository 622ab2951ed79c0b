package snapshot

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
)

// Source is where assignments come from: the ledger.
type Source interface {
	// Assignment returns the assignment in force. It never changes a value that it returned.
	Assignment() protocol.Assignment
	// Changed returns a channel that receives, or is closed, when the assignment may have changed.
	Changed() <-chan struct{}
}

// Config says what a Publisher publishes, and how.
type Config struct {
	Source   Source
	Secrets  func() map[protocol.CredentialID]secret.Key // in force
	Token    func() secret.Key                           // with which usage reports are to be sent
	WasmPath string                                      // see Input
	Interval time.Duration                               // least time between two pushes
	Logger   *slog.Logger                                // nil: slog.Default()
}

// Publisher keeps the cache, from which the xDS server answers, at the newest snapshot. A snapshot that cannot be made
// never replaces a good one. Its methods may be called at once from several goroutines.
type Publisher struct {
	Config
	cache cachev3.SnapshotCache

	mu      sync.Mutex
	version string               // empty: none yet
	only    []byte               // what a gate alone is configured with
	gate    *protocol.Assignment // that gates were given; nil: they are to be given the newest
	newest  int64                // generation of the newest assignment that was pushed

	interval atomic.Int64 // Config.Interval, as it is now
}

// everyNode is the one node that all Envoys are taken for: all get the same.
const everyNode = "every"

type oneNode struct{}

// ID implements cachev3.NodeHash.
func (oneNode) ID(*corev3.Node) string { return everyNode }

// NewPublisher returns a Publisher that has published nothing yet.
func NewPublisher(c Config) *Publisher {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	p := &Publisher{Config: c, cache: cachev3.NewSnapshotCache(false, oneNode{}, nil)}
	p.SetInterval(c.Interval)
	return p
}

// SetInterval changes the least time between two pushes, from the next one on.
func (p *Publisher) SetInterval(d time.Duration) { p.interval.Store(int64(d)) }

// Cache is what the xDS server answers from.
func (p *Publisher) Cache() cachev3.Cache { return p.cache }

// Version is the newest snapshot's; empty: none yet.
func (p *Publisher) Version() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// GateOnly is what a gate alone is configured with, and its version; empty: none yet. It must not be changed.
func (p *Publisher) GateOnly() (version string, configuration []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version, p.only
}

// Refresh makes a snapshot of the state at this moment and, if it is another than the last, pushes it. It says
// whether it did.
func (p *Publisher) Refresh(ctx context.Context) (pushed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, a, err := p.build()
	if err != nil {
		s, a, err = p.build() // a secret may have been replaced between the two looks
	}
	if err != nil || Version(s) == p.version {
		return false, err
	}
	only, err := GateOnly(s)
	if err != nil {
		return false, err
	}
	if err := p.cache.SetSnapshot(ctx, everyNode, s); err != nil {
		return false, err
	}
	p.version, p.only, p.newest = Version(s), only, a.Generation
	if p.gate == nil {
		p.gate = &a
	}
	p.Logger.Debug("Assignment pushed", "version", p.version)
	return true, nil
}

func (p *Publisher) build() (*cachev3.Snapshot, protocol.Assignment, error) {
	a := p.Source.Assignment()
	s, err := Build(Input{Assignment: a, Gate: p.gate, Secrets: p.Secrets(), Token: p.Token(), WasmPath: p.WasmPath})
	return s, a, err
}

// gateInterval is how far the gate's assignment may be behind. It goes by the attempt's, which is in the same VM; its own
// is for a worker that starts anew. Envoy never frees a little of each configuration, and this halves it.
const gateInterval = time.Minute

// behind says whether gates were given an older assignment than attempts.
func (p *Publisher) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate != nil && p.gate.Generation != p.newest
}

// Run pushes each change of the source until ctx ends: the first at once, those that follow within Config.Interval
// together. It always returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	said := ""
	var gates <-chan time.Time // gates are to be given the newest; nil: they have it
	for {
		changed := p.Source.Changed() // before the look, or a change right after it would be missed
		pushed, err := p.Refresh(ctx)
		if err == nil {
			said = ""
		} else if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			p.Logger.Error("The assignment cannot be pushed; Envoys keep the last one", "error", err)
		}
		if gates == nil && p.behind() {
			gates = time.After(gateInterval)
		}
		if pushed || err != nil {
			timer := time.NewTimer(time.Duration(p.interval.Load()))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			if err != nil {
				continue
			}
		}
		select {
		case <-changed:
		case <-gates:
			gates = nil
			p.mu.Lock()
			p.gate = nil
			p.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// Redact takes the secrets in force out of a text that came from outside.
func (p *Publisher) Redact(text string) string {
	keys := []secret.Key{p.Token()}
	for _, k := range p.Secrets() {
		keys = append(keys, k)
	}
	for _, k := range keys {
		if !k.IsZero() {
			text = strings.ReplaceAll(text, k.Reveal(), "[redacted]")
		}
	}
	return text
}
