package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// File is an Envoy configuration as its owner has it, which Envoy reads as it stands: text, in which a test changes what
// the owner must fill in too, and nothing else.
type File struct {
	Name string // its path from the repository's root
	Text string
}

// ReadFile reads a configuration of the repository's.
func ReadFile(t testing.TB, name string) *File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return &File{Name: name, Text: string(text)}
}

// Replace writes something else wherever old stands. It must stand somewhere.
func (f *File) Replace(t testing.TB, old, replacement string) {
	t.Helper()
	if !strings.Contains(f.Text, old) {
		t.Fatalf("%s does not hold %q", f.Name, old)
	}
	f.Text = strings.ReplaceAll(f.Text, old, replacement)
}

// Point gives the socket address host:port, as it is written in flow style, another one.
func (f *File) Point(t testing.TB, from, to string) {
	t.Helper()
	f.Replace(t, flowAddress(t, from), flowAddress(t, to))
}

// Move gives a listener's address another one that is free, and returns that.
func (f *File) Move(t testing.TB, from string) string {
	t.Helper()
	to := FreeAddr(t)
	f.Point(t, from, to)
	return to
}

func flowAddress(t testing.TB, addr string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{ address: %s, port_value: %s }", host, port)
}

// Paste puts a fragment before a line, indented as that line is. The line is the first one that begins with before,
// blanks aside, below the first one that begins with below; an empty below stands for the top.
func (f *File) Paste(t testing.TB, fragment, below, before string) {
	t.Helper()
	lines := strings.SplitAfter(f.Text, "\n")
	at := 0
	for _, wanted := range []string{below, before} {
		for at < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[at]), wanted) {
			at++
		}
	}
	if at == len(lines) {
		t.Fatalf("%s has no line %q below %q", f.Name, before, below)
	}
	indent := lines[at][:len(lines[at])-len(strings.TrimLeft(lines[at], " "))]
	var pasted strings.Builder
	for line := range strings.Lines(fragment) {
		pasted.WriteString(indent + line)
	}
	f.Text = strings.Join(lines[:at], "") + pasted.String() + strings.Join(lines[at:], "")
}

// Fragments are the pieces of envoy.yaml that README.md asks to paste.
type Fragments struct {
	Node     string // at the top
	Gate     string // into http_filters, before the router
	Route    string // into routes, before the others
	Clusters string // into clusters: Groq's and the control plane's
}

// ReadFragments takes the fragments out of README.md: the blocks of YAML below their heading.
func ReadFragments(t testing.TB) Fragments {
	t.Helper()
	const heading = "\n### Add it to your envoy.yaml\n"
	_, section, found := strings.Cut(ReadFile(t, "README.md").Text, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for {
		_, rest, more := strings.Cut(section, "\n```yaml\n")
		if !more {
			break
		}
		var block string
		block, section, _ = strings.Cut(rest, "```\n")
		blocks = append(blocks, block)
	}
	if !found || len(blocks) != 4 {
		t.Fatalf("README.md has %d fragments below %q; want 4", len(blocks), heading)
	}
	for i, block := range blocks {
		if !strings.HasPrefix(block, fmt.Sprintf("# %d. ", i+1)) {
			t.Errorf("fragment %d does not begin by saying where it goes", i+1)
		}
	}
	return Fragments{Node: blocks[0], Gate: blocks[1], Route: blocks[2], Clusters: blocks[3]}
}
