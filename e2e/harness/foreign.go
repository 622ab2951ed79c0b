package harness

import (
	"strings"
	"testing"
)

// foreignFile is an Envoy configuration that was made without Keywheel in mind: a shop's edge.
const foreignFile = "e2e/testdata/foreign/envoy.yaml"

// foreignNode is its line that says which Envoy it is.
const foreignNode = "node: { id: edge-1, cluster: shop-edge }\n"

// LLMHost is the name by which LLM clients call the foreign edge.
const LLMHost = "llm.example.com"

// ForeignUpstreams are the addresses, host:port, of what stands behind the foreign edge.
type ForeignUpstreams struct {
	Shop, LLM, Postgres string
	Orders, Payments    string // over TLS, with names of ForeignNames
	CA                  string // file of who signed them
}

// ForeignNames are the names that certificates of Orders and Payments need.
var ForeignNames = []string{"orders.internal", "payments.example.net"}

// ForeignEdge is the foreign configuration with addresses of this machine.
type ForeignEdge struct {
	*File
	Edge, Partners, Postgres, Admin string // where it listens
}

// NewForeign is the foreign configuration as it stands, but for what differs from machine to machine: addresses and the
// authorities.
func NewForeign(t testing.TB, up ForeignUpstreams) *ForeignEdge {
	t.Helper()
	return fillIn(t, ReadFile(t, foreignFile), up)
}

// ForeignWithKeywheel is NewForeign after the README's fragments were pasted where they say. Without its node, the file
// gets the fragment's.
func ForeignWithKeywheel(t testing.TB, up ForeignUpstreams, ownNode bool) *ForeignEdge {
	t.Helper()
	f := ReadFile(t, foreignFile)
	if !ownNode {
		f.Replace(t, foreignNode, "")
	}
	pasteFragments(t, f)
	return fillIn(t, f, up)
}

func fillIn(t testing.TB, f *File, up ForeignUpstreams) *ForeignEdge {
	t.Helper()
	e := &ForeignEdge{File: f}
	e.Edge, e.Partners = f.Move(t, "0.0.0.0:8080"), f.Move(t, "0.0.0.0:8081")
	e.Postgres, e.Admin = f.Move(t, "127.0.0.1:5433"), f.Move(t, "127.0.0.1:9000")
	f.Point(t, "shop.internal:8000", up.Shop)
	f.Point(t, "vllm.internal:8001", up.LLM)
	f.Point(t, "postgres.internal:5432", up.Postgres)
	f.Point(t, "orders.internal:8443", up.Orders)
	f.Point(t, "payments.example.net:443", up.Payments)
	f.Replace(t, CABundle, up.CA)
	return e
}

// pasteFragments does as README.md says. What was there before is still there, line by line.
func pasteFragments(t testing.TB, f *File) {
	t.Helper()
	before := strings.Split(f.Text, "\n")
	fragments := ReadFragments(t)
	if !strings.HasPrefix(f.Text, "node:") && !strings.Contains(f.Text, "\nnode:") {
		f.Paste(t, fragments.Node, "", "admin:")
	}
	f.Paste(t, fragments.Clusters, "clusters:", "- name: shop")
	f.Paste(t, fragments.Gate, "- name: edge", "- name: envoy.filters.http.router")
	f.Paste(t, fragments.Route, "domains: [llm.example.com]", "- match:")
	at := 0
	for _, line := range strings.Split(f.Text, "\n") {
		if at < len(before) && line == before[at] {
			at++
		}
	}
	if at != len(before) {
		t.Fatalf("pasting changed line %d: %q", at+1, before[at])
	}
}
