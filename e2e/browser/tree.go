package browser

import (
	"encoding/json"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// Node is one of the accessibility tree.
type Node struct{ Role, Name, Value string }

// Tree returns what assistive software is told, in the page's order.
func (v *View) Tree() []Node {
	v.t.Helper()
	ctx, cancel := v.bounded()
	defer cancel()
	got, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		v.t.Fatal(err)
	}
	children := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range got.Nodes {
		children[n.NodeID] = n
	}
	var nodes []Node
	var walk func(n *accessibility.Node)
	walk = func(n *accessibility.Node) {
		if !n.Ignored {
			nodes = append(nodes, Node{word(n.Role), word(n.Name), word(n.Value)})
		}
		for _, id := range n.ChildIDs {
			if child := children[id]; child != nil {
				walk(child)
			}
		}
	}
	walk(got.Nodes[0])
	return nodes
}

func word(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	if json.Unmarshal([]byte(v.Value), &text) != nil {
		return string(v.Value) // a number
	}
	return text
}

// Names returns the names of the nodes with a role, in their order.
func Names(nodes []Node, role string) []string {
	var names []string
	for _, n := range nodes {
		if n.Role == role {
			names = append(names, n.Name)
		}
	}
	return names
}
