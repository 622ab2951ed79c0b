package ledger

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"keywheel/xds/event"
)

// node is what xDS knows of Envoys of one node ID.
type node struct {
	version   string
	streams   map[int64]struct{}
	rejected  int64
	lastError string
	toldOld   bool
}

const (
	// maxNodes bounds the node IDs that are remembered.
	maxNodes = 4096
	// shownDead is how long an Envoy that is gone is still shown.
	shownDead = time.Hour
)

// NodeSeen takes down that a node opened an xDS stream, with Envoy's version, "1.40.0"; empty if unknown.
func (l *Ledger) NodeSeen(nodeID, version string, stream int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.node(nodeID); n != nil {
		n.version = version
		n.streams[stream] = struct{}{}
	}
}

// NodeGone takes down that an xDS stream ended.
func (l *Ledger) NodeGone(nodeID string, stream int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.nodes[nodeID]; n != nil {
		delete(n.streams, stream)
	}
}

// OldEnvoy records, once for each node, that its Envoy is too old.
func (l *Ledger) OldEnvoy(ctx context.Context, nodeID, version string) error {
	return l.do(ctx, func(t *tx) error {
		n := l.node(nodeID)
		if n == nil || n.toldOld {
			return nil
		}
		t.tell(event.Event{Kind: event.OldEnvoy, Level: event.Warning, Node: nodeID, Detail: version},
			line{slog.LevelError, "Envoy is too old for the filter, which it will kill at a garbage collection; use 1.39 or newer",
				[]any{"node", nodeID, "version", version}})
		t.after = append(t.after, func() { n.toldOld = true })
		return nil
	})
}

// Rejected records that a node refused an assignment, with what it said.
func (l *Ledger) Rejected(ctx context.Context, nodeID, message string) error {
	return l.do(ctx, func(t *tx) error {
		n := l.node(nodeID)
		if n == nil {
			return nil
		}
		if message != n.lastError { // the same answer to each push is one event
			t.tell(event.Event{Kind: event.Rejected, Level: event.Warning, Node: nodeID, Detail: message},
				line{slog.LevelWarn, "Envoy refused the assignment; the last good one stays in force", []any{"node", nodeID, "reason", message}})
		}
		t.after = append(t.after, func() {
			n.rejected++
			n.lastError = message
		})
		return nil
	})
}

// node returns what is known of a node ID; nil if there are too many.
func (l *Ledger) node(id string) *node {
	n := l.nodes[id]
	if n == nil && len(l.nodes) < maxNodes {
		n = &node{streams: map[int64]struct{}{}}
		l.nodes[id] = n
	}
	return n
}

// heard says whether anything came from an incarnation of late, be it a report that was refused.
func (i *incarnation) heard(now time.Time) bool {
	return i.reports > 0 && now.UnixMilli()-i.LastMS <= shownDead.Milliseconds() || now.Sub(i.refusedAt) <= shownDead
}

// proxies returns the Envoys that report and those that only opened a stream, the newest first.
func (l *Ledger) proxies(now time.Time) []ProxyView {
	out := []ProxyView{}
	reporting := map[string]bool{}
	for _, inc := range l.incarnations {
		if inc.Dead && !inc.heard(now) {
			continue
		}
		reporting[inc.Node] = true
		out = append(out, l.proxy(inc))
	}
	for id, n := range l.nodes {
		if !reporting[id] && len(n.streams) > 0 {
			out = append(out, ProxyView{Node: id, Version: n.version, Connected: true, Rejected: n.rejected, LastError: n.lastError})
		}
	}
	slices.SortFunc(out, func(a, b ProxyView) int {
		if c := b.FirstReport.Compare(a.FirstReport); c != 0 {
			return c
		}
		if a.Incarnation+a.Node < b.Incarnation+b.Node {
			return -1
		}
		return 1
	})
	return out
}
