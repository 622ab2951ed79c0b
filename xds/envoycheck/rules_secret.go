package envoycheck

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"keywheel/shared/protocol"
)

// groqKey is what Groq's keys look like.
var groqKey = regexp.MustCompile(`gsk_[0-9A-Za-z]{16,}`)

// checkSecretsInFile looks for keys. What it finds is never shown.
func (c *checker) checkSecretsInFile() {
	c.root.walk(func(_ string, v value) {
		if groqKey.MatchString(v.text()) {
			c.add(finding{code: "key-in-file", place: "file", at: v,
				wrong: "A Groq key stands here: whoever reads the file or Envoy's config_dump has it.",
				write: "# take it out, and replace the key at Groq; Keywheel's own keys come by xDS"})
		}
	})
}

// operator is a command of Envoy's formats that takes a request header; its argument is the group.
var (
	operator   = regexp.MustCompile(`(?i)%(?:REQ|REQ_WITHOUT_QUERY|REQUEST_HEADER)\(([^)%]*)\)`)
	expression = regexp.MustCompile(`(?i)%CEL\([^%]*authorization`)
)

// formats says whether a format string shows Authorization.
func formats(text string) bool {
	for _, m := range operator.FindAllStringSubmatch(text, -1) {
		for header := range strings.SplitSeq(m[1], "?") {
			if strings.EqualFold(strings.TrimSpace(header), "authorization") {
				return true
			}
		}
	}
	return expression.MatchString(text)
}

// shows is the first value in v that shows a request's Authorization: by a format, or by one of the fields that list headers.
func shows(v value, fields ...string) (at value, found bool) {
	v.walk(func(field string, inner value) {
		if !found && (formats(inner.text()) || slices.Contains(fields, field) && strings.EqualFold(inner.text(), "authorization")) {
			at, found = inner, true
		}
	})
	return at, found
}

// checkShown looks for Authorization in what a listener with a route to Groq writes down or answers. Envoy does all of this when
// the call is over, and then the header holds the key.
func (c *checker) checkShown(m *manager) {
	logged := func(at value) {
		c.add(finding{code: "authorization-logged", place: m.place, at: at,
			wrong: "The access log shows Authorization, which holds the Groq key when the line is written.",
			write: "# to know which key served a call\n%RESP(X-KEYWHEEL-KEY)%"})
	}
	logs := []value{m.at("access_log")}
	for _, f := range m.filters {
		_, fields := f.at("typed_config").anyType()
		logs = append(logs, fields.at("upstream_log"))
		if at, found := shows(fields.at("mutations", "response_mutations")); found {
			c.addEchoed(m.place, at)
		}
	}
	for _, log := range logs {
		if at, found := shows(log, "additional_request_headers_to_log"); found {
			logged(at)
		}
	}
	c.checkTraced(m.place, m.at("tracing", "custom_tags"))
	if at, found := shows(m.at("local_reply_config")); found {
		c.addEchoed(m.place, at)
	}
	for _, l := range m.legs {
		if !l.groq {
			c.checkMirrors(l)
			continue
		}
		c.checkTraced(l.place, l.at("tracing", "custom_tags"))
		for _, scope := range l.scopes() {
			if at, found := shows(scope.at("response_headers_to_add")); found {
				c.addEchoed(l.place, at)
			}
		}
	}
}

func (c *checker) checkTraced(place string, tags value) {
	for _, tag := range tags.items() {
		at, found := shows(tag)
		if name := tag.at("request_header", "name"); strings.EqualFold(name.text(), "authorization") {
			at, found = name, true
		}
		if found {
			c.add(finding{code: "authorization-traced", place: place, at: at,
				wrong: "Traces carry Authorization as a tag, which holds the Groq key.", write: "- tag: groq.key\n  value: \"%RESP(X-KEYWHEEL-KEY)%\""})
		}
	}
}

func (c *checker) addEchoed(place string, at value) {
	c.add(finding{code: "authorization-echoed", place: place, at: at,
		wrong: "Answers carry what the request's Authorization was, and that is the Groq key: clients get it wherever the gate does not take it off.",
		write: "# take it out; x-keywheel-key says which key served the call"})
}

// asksClients are filters that can turn clients away. Those that run anybody's code are given the benefit of the doubt.
var asksClients = append([]string{
	"envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.oauth2.v3.OAuth2", "envoy.extensions.filters.http.lua.v3.Lua",
	"envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", "envoy.extensions.filters.http.golang.v3alpha.Config",
	"envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter", typeWasm,
}, readsAuthorization...)

// checkListener looks at who can reach a route to Groq.
func (c *checker) checkListener(m *manager) {
	address := m.listener.at("address", "socket_address", "address")
	if ip, err := netip.ParseAddr(address.text()); err != nil || ip.IsLoopback() {
		return
	}
	asked := false
	for _, f := range m.filters {
		message, _ := f.at("typed_config").anyType()
		known := slices.Contains(asksClients, message) || message == "" && roleOf(f) == ""
		asked = asked || known && c.onForGroq(m, f)
	}
	for _, chain := range append(m.listener.at("filter_chains").items(), m.listener.at("default_filter_chain")) {
		_, tls := chain.at("transport_socket", "typed_config").anyType()
		asked = asked || tls.at("require_client_certificate").isTrue()
		for _, f := range chain.at("filters").items() {
			message, _ := f.at("typed_config").anyType()
			asked = asked || strings.Contains(message, ".filters.network.rbac.") || strings.Contains(message, ".filters.network.ext_authz.")
		}
	}
	if !asked {
		c.add(finding{code: "listener-open", place: m.place, at: address,
			wrong: fmt.Sprintf("The listener is open to the network (%s) and asks clients for nothing: whoever reaches it spends the keys.", address.text()),
			write: "# an address that only yours reach, or a filter before keywheel.gate that asks who it is, such as envoy.filters.http.api_key_auth\naddress:\n" +
				"  socket_address: { address: 127.0.0.1, port_value: 10000 }"})
	}
}

// checkAdmin looks at who can reach Envoy's admin interface.
func (c *checker) checkAdmin() {
	address := c.root.at("admin", "address", "socket_address", "address")
	if ip, err := netip.ParseAddr(address.text()); err != nil || ip.IsLoopback() {
		return
	}
	if c.clusters[protocol.ControlPlaneCluster] == nil && !slices.ContainsFunc(c.clusterList, func(cl *cluster) bool { return cl.groq }) {
		return
	}
	c.add(finding{code: "admin-open", place: "admin", at: address,
		wrong: "Envoy's admin interface is open to the network: whoever reaches it can stop Envoy, or make it log requests with their headers and so the keys.",
		write: "admin:\n  address:\n    socket_address: { address: 127.0.0.1, port_value: 9901 }"})
}
