package envoycheck

import (
	"fmt"
	"slices"
	"strings"

	"keywheel/shared/protocol"
)

// Names that the rules go by.
const (
	groqHost     = "api.groq.com"
	gateOnly     = "keywheel.gate_only" // the gate that sets the key itself, where there is no upstream filter
	rotateHeader = "x-keywheel-rotate"
	keyHeader    = "x-keywheel-key"
	httpOptions  = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

	typeManager  = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	typeRouter   = "envoy.extensions.filters.http.router.v3.Router"
	typeCodec    = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
	typeWasm     = "envoy.extensions.filters.http.wasm.v3.Wasm"
	typeFilterOn = "envoy.config.route.v3.FilterConfig"
)

// What is looked at: more than anybody writes, and a bound for a file that repeats itself by anchors.
const (
	maxManagers = 500
	maxLegs     = 20_000
)

type listener struct {
	value
	place string
}

// manager is an HTTP connection manager: a listener's routes and the filters before them.
type manager struct {
	value
	listener *listener
	place    string
	filters  []value
	gates    []value // those of filters that are a gate of Keywheel's
	config   value   // of the routes
	legs     []*leg
}

type route struct {
	value
	manager *manager
	host    value // the virtual host
	action  value // empty: the route leads to no cluster
	place   string
	groq    bool
}

// leg is a route and one of the clusters that it leads to.
type leg struct {
	*route
	entry   value // of weighted_clusters; empty: the route has one cluster
	cluster *cluster
	groq    bool
	gate    bool // keywheel.gate is on
	alone   bool // keywheel.gate_only is on
}

type cluster struct {
	value
	name    string
	place   string
	options value   // HttpProtocolOptions
	filters []value // upstream
	attempt value
	groq    bool
	led     bool // a gated route leads to it, and no other cluster can be Groq
}

// read takes listeners, routes and clusters out of the file.
func (c *checker) read() {
	static, dynamic := c.root.at("static_resources"), c.root.at("dynamic_resources")
	for kind, name := range map[string]string{"lds_config": "listeners", "cds_config": "clusters"} {
		if dynamic.at(kind).exists() {
			c.notLooked("%s that come by dynamic_resources.%s", name, kind)
		}
	}
	slices.Sort(c.unseen)
	for _, v := range static.at("clusters").items() {
		c.readCluster(v)
	}
	for i, v := range static.at("listeners").items() {
		l := &listener{value: v, place: named("listener", v.at("name").text(), i, "")}
		c.listeners = append(c.listeners, l)
		c.readManager(l, v.at("api_listener", "api_listener"))
		for _, chain := range append(v.at("filter_chains").items(), v.at("default_filter_chain")) {
			for _, f := range chain.at("filters").items() {
				c.readManager(l, f.at("typed_config"))
			}
		}
	}
	c.findGroq()
}

// named is how a part of the file is called: by its name, else by its number and what it is about.
func named(what, name string, index int, about string) string {
	switch {
	case name != "":
		return fmt.Sprintf("%s %q", what, name)
	case about != "":
		return fmt.Sprintf("%s %d (%s)", what, index+1, about)
	}
	return fmt.Sprintf("%s %d", what, index+1)
}

func (c *checker) readCluster(v value) {
	cl := &cluster{value: v, name: v.at("name").text(), place: named("cluster", v.at("name").text(), len(c.clusterList), "")}
	_, cl.options = v.at("typed_extension_protocol_options").key(httpOptions).anyType()
	cl.filters = cl.options.at("http_filters").items()
	for _, f := range cl.filters {
		if roleOf(f) == protocol.AttemptResource {
			cl.attempt = f
		}
	}
	cl.groq = cl.attempt.exists() || cl.leadsToGroq()
	c.clusterList = append(c.clusterList, cl)
	c.clusters[cl.name] = cl
}

// addresses are the hosts of a cluster that the file names, and what they are called.
func (cl *cluster) addresses() (found []string) {
	for _, group := range cl.at("load_assignment", "endpoints").items() {
		for _, e := range group.at("lb_endpoints").items() {
			for _, path := range [][]string{{"endpoint", "address", "socket_address", "address"}, {"endpoint", "hostname"}} {
				if text := e.at(path...).text(); text != "" {
					found = append(found, strings.ToLower(strings.TrimSuffix(text, ".")))
				}
			}
		}
	}
	return found
}

// leadsToGroq says whether the cluster is at Groq's own address.
func (cl *cluster) leadsToGroq() bool {
	return slices.Contains(cl.addresses(), groqHost) || cl.tls().at("sni").text() == groqHost
}

// roleOf is the role of Keywheel's that a filter plays, by its name or its module's root_id, and empty for others'.
func roleOf(filter value) string {
	roles := []string{protocol.GateResource, protocol.AttemptResource, gateOnly}
	if name := filter.at("name").text(); slices.Contains(roles, name) {
		return name
	}
	if root := plugin(filter).at("root_id").text(); slices.Contains(roles, root) {
		return root
	}
	return ""
}

// owned says whether a filter is a gate alone that somebody else's control plane configures: it fetches its keys itself, and
// knows by the clusters' names which calls are Groq's.
func owned(filter value) bool {
	return roleOf(filter) == gateOnly && !filter.at("config_discovery").exists() && plugin(filter).at("configuration").exists()
}

// controlPlane is the cluster by which such a gate fetches its keys.
func controlPlane(filter value) string {
	text := plugin(filter).at("configuration", "value").text()
	settings, err := parse([]byte(text))
	if err != nil {
		return ""
	}
	return settings.at("control_plane").text()
}

// plugin is the configuration of a Wasm filter's module, as far as the file has it.
func plugin(filter value) value {
	for _, path := range [][]string{{"config_discovery", "default_config"}, {"typed_config"}} {
		if message, fields := filter.at(path...).anyType(); message == typeWasm {
			return fields.at("config")
		}
	}
	return value{}
}

func (c *checker) readManager(l *listener, config value) {
	message, v := config.anyType()
	if message != typeManager {
		return
	}
	if len(c.managers) == maxManagers {
		c.notLooked("listeners after the first %d", maxManagers)
		return
	}
	m := &manager{value: v, listener: l, place: l.place, filters: v.at("http_filters").items(), config: v.at("route_config")}
	c.managers = append(c.managers, m)
	for _, f := range m.filters {
		if role := roleOf(f); role == protocol.GateResource || role == gateOnly {
			m.gates = append(m.gates, f)
		}
	}
	for _, elsewhere := range []string{"rds", "scoped_routes"} {
		if v.at(elsewhere).exists() {
			c.notLooked("routes of %s that come by %s", l.place, elsewhere)
		}
	}
	if m.config.at("vhds").exists() {
		c.notLooked("virtual hosts of %s that come by vhds", l.place)
	}
	hosts := m.config.at("virtual_hosts").items()
	for i, host := range hosts {
		if host.at("matcher").exists() {
			c.notLooked("routes of %s that stand in a matcher", l.place)
		}
		place := l.place
		if len(hosts) > 1 {
			place += " › " + named("virtual host", host.at("name").text(), i, "")
		}
		for j, v := range host.at("routes").items() {
			if len(c.legs) >= maxLegs {
				c.notLooked("routes after the first %d", maxLegs)
				return
			}
			r := &route{value: v, manager: m, host: host, action: v.at("route"), place: place + " › " + named("route", v.at("name").text(), j, about(v))}
			c.routes = append(c.routes, r)
			c.readLegs(r)
		}
	}
}

// about is what a route without a name is for.
func about(route value) string {
	for _, e := range route.at("match").entries() {
		switch text := e.text(); {
		case text != "":
			return snake(e.key) + " " + text
		case snake(e.key) == "safe_regex":
			return "regex " + e.at("regex").text()
		}
	}
	return ""
}

func (c *checker) readLegs(r *route) {
	var entries []value
	if r.action.exists() {
		entries = append(r.action.at("weighted_clusters", "clusters").items(), value{})
	}
	for i, entry := range entries {
		name := r.action.at("cluster")
		if entry.exists() {
			name = entry.at("name")
		} else if i > 0 && !name.exists() {
			continue // the weighted ones are all there are
		}
		l := &leg{route: r, entry: entry, cluster: c.clusters[name.text()]}
		for _, gate := range r.manager.gates {
			if on, _ := r.isOn(gate, entry); on {
				l.gate = l.gate || roleOf(gate) == protocol.GateResource
				l.alone = l.alone || roleOf(gate) == gateOnly
			}
		}
		if l.cluster == nil && (l.gate || l.alone) {
			c.notLooked("the cluster behind %s, which is not in the file", r.place)
		}
		c.legs = append(c.legs, l)
		r.manager.legs = append(r.manager.legs, l)
	}
}

// isOn says whether a downstream filter is on for a route, or one of its weighted clusters, and where that is said: the
// nearest word counts. Nowhere means that the chain itself says so.
func (r *route) isOn(filter, weighted value) (on bool, where value) {
	names := []string{filter.at("name").text(), roleOf(filter)}
	for _, scope := range []value{weighted, r.value, r.host, r.manager.config} {
		for _, name := range names {
			said := scope.at("typed_per_filter_config").key(name)
			if !said.exists() || name == "" {
				continue
			}
			message, fields := said.anyType()
			return message != typeFilterOn || !fields.at("disabled").isTrue(), scope
		}
	}
	return !filter.at("disabled").isTrue(), value{}
}

// findGroq decides which legs lead to Groq. A gate on a route to some cluster says so only if no other cluster can be meant.
func (c *checker) findGroq() {
	for _, l := range c.legs {
		l.groq = l.cluster != nil && l.cluster.groq || !l.entry.exists() && l.action.at("host_rewrite_literal").text() == groqHost ||
			l.cluster == nil && (l.gate || l.alone)
		l.route.groq = l.route.groq || l.groq
	}
	if slices.ContainsFunc(c.legs, func(l *leg) bool { return l.groq }) {
		return
	}
	for _, l := range c.legs {
		if _, where := l.gateSaid(); (l.gate || l.alone) && where.exists() {
			l.groq, l.route.groq, l.cluster.led = true, true, true
		}
	}
}

// gateSaid says whether any gate is on for the leg, and where that is said.
func (l *leg) gateSaid() (on bool, where value) {
	for _, gate := range l.manager.gates {
		if on, where := l.isOn(gate, l.entry); on {
			return true, where
		}
	}
	return false, value{}
}

// attempts says whether tries of the leg choose a key each. Where a gate is missing, that is what is meant.
func (l *leg) attempts() bool { return !l.alone }
