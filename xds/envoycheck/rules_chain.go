package envoycheck

import (
	"fmt"
	"slices"
	"strings"

	"keywheel/shared/protocol"
)

// checkPresence says if nothing leads to Groq. more is false if there is then nothing else to look at.
func (c *checker) checkPresence() (more bool) {
	if slices.ContainsFunc(c.legs, func(l *leg) bool { return l.groq }) {
		return true
	}
	parts := slices.ContainsFunc(c.managers, func(m *manager) bool { return len(m.gates) > 0 }) ||
		slices.ContainsFunc(c.clusterList, func(cl *cluster) bool { return cl.groq })
	f := finding{code: "no-groq-route", place: "file",
		wrong: "No route leads to a cluster at api.groq.com or with the filter keywheel.attempt, and none switches keywheel.gate on: no call gets a key.",
		write: "# in a virtual host's routes, and the cluster \"groq\" as in envoy.yaml:\n- name: groq\n  match: { safe_regex: { regex: " +
			"\"/(openai/)?v1/.*\" } }\n" +
			"  route: { cluster: groq }\n" + indent(2, fragmentGateOn)}
	if len(c.unseen) > 0 { // it may be there
		c.addAs(Warning, f)
	} else {
		c.add(f)
	}
	return parts
}

// indent moves a fragment to the right.
func indent(n int, fragment string) string {
	lines := strings.SplitAfter(fragment, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", n) + line
		}
	}
	return strings.Join(lines, "")
}

// checkChain looks at a listener's HTTP filters, and at routes that are not Groq's.
func (c *checker) checkChain(m *manager) {
	router := -1
	for i, f := range m.filters {
		message, fields := f.at("typed_config").anyType()
		role := roleOf(f)
		switch {
		case message == typeRouter:
			router = i
			c.checkRouterFilters(m, fields)
		case (role == protocol.GateResource || role == gateOnly) && router >= 0:
			c.add(finding{code: "gate-after-router", place: m.place, at: f,
				wrong: fmt.Sprintf("%s stands after the router, which must be the last filter: Envoy does not take the file.", role),
				write: "# http_filters, in this order:\n- name: keywheel.gate\n- name: envoy.filters.http.router"})
		}
	}
	for _, gate := range m.gates {
		c.checkOtherRoutes(m, gate)
	}
	if slices.ContainsFunc(m.legs, func(l *leg) bool { return l.groq }) {
		c.checkAroundGate(m)
		c.checkListener(m)
		c.checkShown(m)
	}
}

// checkRouterFilters looks for the attempt among the upstream filters that a router gives to every cluster.
func (c *checker) checkRouterFilters(m *manager, router value) {
	for _, f := range router.at("upstream_http_filters").items() {
		if roleOf(f) == protocol.AttemptResource {
			c.add(finding{code: "attempt-in-router", place: m.place, at: f,
				wrong: "keywheel.attempt stands among the router's upstream filters, so it runs for every cluster without filters of its own: routes " +
					"that are not Groq's " +
					"are answered 503 keywheel_gate_missing.",
				write: "# in the cluster groq: typed_extension_protocol_options › " + httpOptions + " › http_filters\n- name: keywheel.attempt"})
		}
	}
}

// checkOtherRoutes finds routes that lead elsewhere and pass a gate.
func (c *checker) checkOtherRoutes(m *manager, gate value) {
	role := roleOf(gate)
	if owned(gate) { // it lets calls to other clusters pass
		return
	}
	if !gate.at("disabled").isTrue() {
		severity := Warning
		if slices.ContainsFunc(c.routes, func(r *route) bool {
			on, where := r.isOn(gate, value{})
			return r.manager == m && !r.groq && on && !where.exists()
		}) {
			severity = Error
		}
		c.addAs(severity, finding{code: "gate-not-disabled", place: m.place, at: gate,
			wrong: fmt.Sprintf("%s is on for every route of this listener that does not switch it off: there it answers 403 endpoint_not_allowed to "+
				"all that is not Groq's API.", role),
			write: fmt.Sprintf("- name: %s\n  disabled: true # and on the route to Groq:\n%s", role, strings.ReplaceAll(fragmentGateOn, protocol.GateResource, role))})
	}
	for _, r := range c.routes {
		if r.manager != m {
			continue
		}
		on, where := r.isOn(gate, value{})
		direct := !r.action.exists()
		switch {
		case !on || direct && (where == r.value || !where.exists()): // refusing by the gate is a use of it
		case direct, !r.groq && where.exists():
			c.add(finding{code: "gate-on-other-route", place: r.place, at: where.at("typed_per_filter_config"),
				wrong: fmt.Sprintf("%s is on here, though this route does not lead to Groq: it answers 403 endpoint_not_allowed to all that is not "+
					"Groq's API, and counts the rest as Groq's.", role),
				write: fmt.Sprintf("# in this route; or take %s out of what stands above it\ntyped_per_filter_config:\n  %s:\n    \"@type\": "+
					"type.googleapis.com/%s\n    disabled: true", role, role, typeFilterOn)})
		}
	}
	for _, l := range m.legs {
		if !l.entry.exists() || l.groq || !l.route.groq {
			continue
		}
		if on, where := l.isOn(gate, l.entry); on && where.exists() {
			c.add(finding{code: "gate-on-other-route", place: l.place, at: l.entry,
				wrong: fmt.Sprintf("A part of this route's calls goes to the cluster %q, which is not Groq, and passes %s: such calls get no key and "+
					"are counted as Groq's.", l.entry.at("name").text(), role),
				write: "# a route that leads to Groq alone\nroute: { cluster: groq }"})
		}
	}
}

// Filters that read who the client is from Authorization, which the gate takes off.
var readsAuthorization = []string{
	"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
	"envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
	"envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
}

const typeBuffer = "envoy.extensions.filters.http.buffer.v3.Buffer"

// checkAroundGate looks at what stands before and after a listener's gate.
func (c *checker) checkAroundGate(m *manager) {
	after, set := false, false
	for _, f := range m.filters {
		message, fields := f.at("typed_config").anyType()
		if slices.Contains(m.gates, f) {
			after, set = true, set || roleOf(f) == gateOnly
			continue
		}
		if !c.onForGroq(m, f) {
			continue
		}
		name := f.at("name").text()
		if after && slices.Contains(readsAuthorization, message) {
			c.add(finding{code: "auth-after-gate", place: m.place, at: f,
				wrong: fmt.Sprintf("%s stands after the gate, which takes the client's Authorization off: it finds no credential and refuses, or asks "+
					"about nobody.", name),
				write: fmt.Sprintf("# http_filters, in this order:\n- name: %s\n- name: keywheel.gate", name)})
		}
		if most, ok := fields.at("max_request_bytes").number(); message == typeBuffer && ok && most < leastBody {
			c.add(finding{code: "buffer-filter-small", place: m.place, at: fields.at("max_request_bytes"),
				wrong: fmt.Sprintf("%s answers 413 to requests of more than %.0f bytes; those with images and audio are larger.", name, most),
				write: "max_request_bytes: 33554432"})
		}
		if message == typeTap {
			c.add(finding{code: "tap", place: m.place, at: f,
				wrong: fmt.Sprintf("%s writes requests down when they are over, with their headers, the key among them.", name),
				write: "# take it out of what leads to Groq"})
		}
		for _, rule := range fields.at("request_rules").items() {
			if set && message == typeToMetadata && strings.EqualFold(rule.at("header").text(), "authorization") {
				c.add(finding{code: "authorization-in-metadata", place: m.place, at: rule,
					wrong: fmt.Sprintf("%s stands after keywheel.gate_only and copies Authorization, with the key, to where logs and other filters show it.", name),
					write: "# take this rule out"})
			}
		}
	}
}

// onForGroq says whether a filter runs for any route to Groq.
func (c *checker) onForGroq(m *manager, filter value) bool {
	return slices.ContainsFunc(m.legs, func(l *leg) bool {
		on, _ := l.isOn(filter, l.entry)
		return on && l.groq
	})
}

// checkLegPresence says which of the two roles a way to Groq lacks.
func (c *checker) checkLegPresence(l *leg) {
	hasAttempt := l.cluster != nil && l.cluster.attempt.exists()
	without := "calls go to Groq without a key of Keywheel's, and nobody counts them"
	if hasAttempt {
		without = "every call is answered 503 keywheel_gate_missing"
	}
	switch {
	case len(l.manager.gates) == 0:
		c.add(finding{code: "gate-missing", place: l.manager.place, at: l.manager.at("http_filters"),
			wrong: fmt.Sprintf("The HTTP filters of this listener have no keywheel.gate, though %s leads to Groq: %s.", l.place, without),
			write: "# in http_filters, before the router, and on the route typed_per_filter_config as in envoy.yaml\n" + fragmentGate})
	case !l.gate && !l.alone:
		c.add(finding{code: "gate-not-enabled", place: l.place, at: l.route.value,
			wrong: fmt.Sprintf("This route leads to Groq, and keywheel.gate is not on for it: %s.", without), write: fragmentGateOn})
	case l.gate && l.alone:
		c.add(finding{code: "gate-twice", place: l.place, at: l.route.value,
			wrong: "Both keywheel.gate and keywheel.gate_only are on for this route: two filters choose a key for each call, and count it twice.",
			write: "# keep keywheel.gate where the cluster has keywheel.attempt, keywheel.gate_only elsewhere\n" + fragmentGateOn})
	case l.alone:
		c.add(finding{code: "gate-only", place: l.place, at: l.route.value,
			wrong: "keywheel.gate_only chooses one key for a call: a 429 of that key goes to the client, and only the next call has another key.",
			write: "# where Envoy can have upstream filters: keywheel.gate here and, in the cluster, keywheel.attempt, as in envoy.yaml"})
	}
	if l.alone || l.cluster == nil || hasAttempt {
		return
	}
	c.add(finding{code: "attempt-missing", place: l.cluster.place, at: l.cluster.value,
		wrong: fmt.Sprintf("%s leads here, and the cluster's http_filters have no keywheel.attempt: no key is put on a call.", l.place),
		write: "typed_extension_protocol_options:\n  " + httpOptions + ":\n    \"@type\": type.googleapis.com/" + httpOptions +
			"\n    auto_config: {}\n    http_filters:\n" + indent(4, fragmentAttempt+fragmentCodec)})
}
