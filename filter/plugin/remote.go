package plugin

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/tidwall/gjson"

	"keywheel/shared/protocol"
)

// remote is the configuration of a gate alone that another control plane hands out: where to get an assignment, and which
// calls are Groq's. A nil remote is the configuration of a filter that Keywheel configures itself.
type remote struct {
	controlPlane string   // the Envoy cluster that leads to Keywheel
	token        string   // with which the assignment is asked for
	clusters     []string // whose calls are Groq's, with * for any part of a name
	hold         bool     // the host allows that request headers wait for the body
}

// groqClusters are the clusters whose calls get a key where the configuration names none: a key must not go elsewhere.
var groqClusters = []string{"*groq*"}

// isRemote tells JSON from a serialized Secret.
func isRemote(b []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(b), []byte{'{'}) }

// configureRemote takes a JSON configuration over. With a bad one the last good assignment stays in force.
func (r *root) configureRemote(b []byte) {
	var problem string
	r.remote, problem = parseRemote(b)
	if problem != "" {
		r.vm.book.Refuse(b)
		proxywasm.LogErrorf("keywheel: the plugin's configuration: %s", problem)
	}
}

const exampleRemote = `write {"control_plane": "outbound|18000||keywheel.keywheel.svc.cluster.local"}, ` +
	"the Envoy cluster that leads to Keywheel's KEYWHEEL_XDS_ADDR"

// parseRemote reads a JSON configuration. problem is what is wrong with it and what to write; what can be used of it is
// returned all the same.
func parseRemote(b []byte) (c *remote, problem string) {
	c = &remote{clusters: groqClusters, token: strings.TrimSpace(os.Getenv(protocol.ProxyTokenVariable))}
	j := gjson.ParseBytes(b)
	if !gjson.ValidBytes(b) || !j.IsObject() {
		return c, "it is no JSON object; " + exampleRemote
	}
	j.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "control_plane":
			c.controlPlane = v.Str
		case "token":
			if c.token == "" {
				c.token = strings.TrimSpace(v.Str)
			}
		case "clusters":
			c.clusters = nil
			for _, name := range v.Array() {
				c.clusters = append(c.clusters, name.Str)
			}
		case "hold":
			c.hold = v.Bool()
		default:
			problem = "it has the unknown field " + strconv.Quote(name.Str) + "; known are control_plane, token, clusters and hold"
		}
		return true
	})
	switch {
	case c.controlPlane == "":
		problem = "it has no control_plane; " + exampleRemote
	case c.token == "":
		problem = "there is no token; give the plugin the environment variable " + protocol.ProxyTokenVariable +
			" with the control plane's value, or write it as \"token\""
	}
	return c, problem
}

// cluster is where reports go.
func (c *remote) cluster() string {
	if c == nil || c.controlPlane == "" {
		return protocol.ControlPlaneCluster
	}
	return c.controlPlane
}

// holds says whether a call may wait for its body.
func (c *remote) holds() bool { return c == nil || c.hold }

// serves says whether the call in hand is Groq's, by the cluster that its route leads to.
func (c *remote) serves() bool {
	if c == nil {
		return true
	}
	cluster := property("xds", "cluster_name")
	for _, pattern := range c.clusters {
		if matches(pattern, cluster) {
			return true
		}
	}
	return false
}

// matches says whether a name is a pattern's, in which * stands for any characters.
func matches(pattern, name string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return name == pattern
	}
	name, ok := strings.CutPrefix(name, head)
	for ok {
		if matches(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
		name = name[1:]
	}
	return false
}

// tell says once in each VM what a gate alone cannot do, and by what it goes.
func (r *root) tell() {
	if r.role != protocol.GateOnlyResource || r.vm.told {
		return
	}
	r.vm.told = true
	proxywasm.LogInfo("keywheel: gate only: a call that fails with one key is not tried with another; the next call takes another." +
		" Where upstream filters can be had, use keywheel.gate and keywheel.attempt")
	if r.remote == nil {
		return
	}
	proxywasm.LogInfof("keywheel: keys go to these clusters only, set \"clusters\" to change it: %s", strings.Join(r.remote.clusters, " "))
}
