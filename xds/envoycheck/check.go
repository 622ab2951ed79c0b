// Package envoycheck reads somebody's Envoy configuration and says what of it keeps Keywheel from working, or keys from
// staying secret, and what to write instead.
//
// The rules are:
//   - The file is read as a tree: extensions, filters and fields that are not known here are passed over. Whether Envoy takes
//     the file is Envoy's to say (envoy --mode validate).
//   - One mistake brings one finding. A code is stable; people may look for it.
//   - Only what Envoy was seen or is documented to do is called wrong.
//   - What comes to Envoy by another way (xDS, files of routes) is named, not guessed.
//   - No secret of the file is ever shown.
package envoycheck

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Finding is one thing that is wrong.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Line     int      `json:"line"`  // from 1; 0 if it is the file as a whole
	Place    string   `json:"place"` // such as: listener "main" › route "groq"
	Wrong    string   `json:"wrong"` // what is wrong, and what happens because of it
	Write    string   `json:"write"` // what to write instead, as YAML; empty if something must go
}

// Report is what a file came to. Its lists are never nil.
type Report struct {
	Findings    []Finding `json:"findings"`      // in the order of the file
	NotLookedAt []string  `json:"not_looked_at"` // what this Envoy gets from elsewhere
	Listeners   int       `json:"listeners"`
	Routes      int       `json:"routes"`
	GroqRoutes  int       `json:"groq_routes"` // routes that lead to Groq or have a gate
	Clusters    int       `json:"clusters"`
}

// Count is how many findings of a severity there are.
func (r Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Check looks through text, an Envoy bootstrap as YAML or JSON.
func Check(text []byte) Report {
	c := &checker{clusters: map[string]*cluster{}, said: map[said]bool{}}
	if root, err := parse(text); err != nil {
		c.add(finding{code: "not-yaml", place: "file", wrong: fmt.Sprintf("It is neither YAML nor JSON, so nothing of it was looked at: %v.", err)})
	} else {
		c.root = root
		c.check()
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	r := Report{
		Findings: append([]Finding{}, c.findings...), NotLookedAt: append([]string{}, c.unseen...),
		Listeners: len(c.listeners), Clusters: len(c.clusterList), Routes: len(c.routes),
	}
	for _, r2 := range c.routes {
		if r2.groq {
			r.GroqRoutes++
		}
	}
	return r
}

// TooOld is the finding about an Envoy of a version that cannot run the filter.
func TooOld(version, least string) Finding {
	return Finding{
		Code: "envoy-too-old", Severity: severities["envoy-too-old"], Place: "Envoy " + version,
		Wrong: fmt.Sprintf("Envoy %s is older than %s: it kills the filter at a garbage collection, and its calls with it.", version, least),
		Write: "# Envoy " + least + " or newer",
	}
}

// parse reads YAML, and JSON that YAML's reader does not take.
func parse(text []byte) (value, error) {
	doc := &yaml.Node{}
	err := yaml.Unmarshal(text, doc)
	if err == nil {
		return valueOf(doc), nil
	}
	var tree any
	if json.Unmarshal(text, &tree) != nil {
		return value{}, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	again, jsonErr := json.MarshalIndent(tree, "", " ")
	if jsonErr != nil {
		return value{}, err
	}
	if err := yaml.Unmarshal(bytes.TrimSpace(again), doc); err != nil {
		return value{}, err
	}
	return valueOf(doc), nil
}

// checker is one look through a file.
type checker struct {
	root        value
	listeners   []*listener
	managers    []*manager
	routes      []*route
	legs        []*leg
	clusters    map[string]*cluster
	clusterList []*cluster

	findings []Finding
	unseen   []string
	said     map[said]bool
}

// said is a finding about one thing in the file: what several routes share, by anchors or their virtual host, is said once.
type said struct {
	code string
	node *yaml.Node
}

// finding is what a rule found. at is the value at fault, or the nearest there is.
type finding struct {
	code  string
	place string
	at    value
	wrong string
	write string
}

func (c *checker) add(f finding) { c.addAs(severities[f.code], f) }

func (c *checker) addAs(s Severity, f finding) {
	key := said{f.code, f.at.node}
	if f.at.node != nil && c.said[key] {
		return
	}
	c.said[key] = true
	c.findings = append(c.findings, Finding{
		Code: f.code, Severity: s, Line: f.at.line(), Place: f.place, Wrong: f.wrong, Write: strings.Trim(f.write, "\n"),
	})
}

// notLooked takes down that something was not to be seen.
func (c *checker) notLooked(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.unseen, text) {
		c.unseen = append(c.unseen, text)
	}
}

// check looks through the file, group by group.
func (c *checker) check() {
	if !c.root.at("static_resources").exists() && !c.root.at("dynamic_resources").exists() {
		c.add(finding{code: "not-a-bootstrap", place: "file", at: c.root,
			wrong: "It has neither static_resources nor dynamic_resources, so it is no Envoy configuration (bootstrap)." + c.guess()})
		return
	}
	c.read()
	c.checkSecretsInFile()
	c.checkAdmin()
	if !c.checkPresence() {
		return
	}
	c.checkControlPlane()
	c.checkRoles()
	for _, m := range c.managers {
		c.checkChain(m)
	}
	for _, l := range c.legs {
		if l.groq {
			c.checkLeg(l)
		}
	}
	for _, cl := range c.clusterList {
		if cl.groq || cl.led {
			c.checkCluster(cl)
		}
	}
}

// guess says what a file may be that is no bootstrap.
func (c *checker) guess() string {
	switch {
	case c.root.at("configs").exists():
		return " It looks like an answer of /config_dump; check the file that Envoy is started with."
	case c.root.at("kind").exists():
		return " It looks like a Kubernetes resource; check the configuration that it holds."
	case c.root.at("resources").exists():
		return " It looks like a file of xDS resources; check the bootstrap that names it."
	}
	return ""
}
