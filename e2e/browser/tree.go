package browser

import (
	"encoding/json"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// Node is one of the accessibility tree.
type Node struct {
	Role, Name, Value string
	Texts             []string // within it, in their order
}

// Tree returns what assistive software is told, in the page's order.
func (v *View) Tree() []Node {
	v.t.Helper()
	ctx, cancel := v.bounded()
	defer cancel()
	got, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		v.t.Fatal(err)
	}
	byID := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range got.Nodes {
		byID[n.NodeID] = n
	}
	var nodes []Node
	var walk func(n *accessibility.Node) (texts []string)
	walk = func(n *accessibility.Node) (texts []string) {
		at := len(nodes)
		if !n.Ignored {
			nodes = append(nodes, Node{Role: word(n.Role), Name: word(n.Name), Value: word(n.Value)})
			if nodes[at].Role == "StaticText" {
				return []string{nodes[at].Name} // below it are its lines
			}
		}
		for _, id := range n.ChildIDs {
			if child := byID[id]; child != nil {
				texts = append(texts, walk(child)...)
			}
		}
		if !n.Ignored {
			nodes[at].Texts = texts
		}
		return texts
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

// Select returns the nodes with a role, in their order.
func Select(nodes []Node, role string) []Node {
	var found []Node
	for _, n := range nodes {
		if n.Role == role {
			found = append(found, n)
		}
	}
	return found
}

// Names are the names of the nodes with a role.
func Names(nodes []Node, role string) []string {
	var names []string
	for _, n := range Select(nodes, role) {
		names = append(names, n.Name)
	}
	return names
}
