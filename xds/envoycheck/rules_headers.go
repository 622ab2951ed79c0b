package envoycheck

import (
	"fmt"
	"slices"
	"strings"
)

// scopes are where headers of a leg are changed by its route, from the nearest to the farthest.
func (l *leg) scopes() []value { return []value{l.entry, l.route.value, l.host, l.manager.config} }

// lists says whether a list has a header's name, and where.
func lists(list value, header string) (at value, found bool) {
	for _, item := range list.items() {
		if strings.EqualFold(item.text(), header) {
			return item, true
		}
	}
	return value{}, false
}

// checkHeaders looks at what a route does to headers that Keywheel needs, or that must not show.
func (c *checker) checkHeaders(l *leg) {
	for _, scope := range l.scopes() {
		if at, found := lists(scope.at("response_headers_to_remove"), keyHeader); found {
			c.add(finding{code: "key-header-removed", place: l.place, at: at,
				wrong: "The route takes x-keywheel-key off before the gate sees the answer, which then counts as none: usage is estimated, and refusals " +
					"are not learned from.",
				write: "# take x-keywheel-key out of response_headers_to_remove"})
		}
		for _, add := range scope.at("request_headers_to_add").items() {
			c.checkAddedHeader(l, add)
		}
		if at, found := lists(scope.at("request_headers_to_remove"), "authorization"); found && l.alone {
			c.add(finding{code: "authorization-overwritten", place: l.place, at: at,
				wrong: "The route takes Authorization off after keywheel.gate_only has set it: calls go to Groq without a key.",
				write: "# take authorization out of request_headers_to_remove"})
		}
	}
}

func (c *checker) checkAddedHeader(l *leg, add value) {
	switch name := strings.ToLower(add.at("header", "key").text()); {
	case name == "authorization" && l.alone:
		c.add(finding{code: "authorization-overwritten", place: l.place, at: add,
			wrong: "request_headers_to_add sets Authorization after keywheel.gate_only has: calls go to Groq with what stands here.", write: "# take this header out"})
	case name == "authorization":
		c.add(finding{code: "authorization-set", place: l.place, at: add,
			wrong: "request_headers_to_add sets Authorization, which the filter then replaces: it has no effect, and shows a credential in the file " +
				"and in config_dump.",
			write: "# take this header out"})
	case name == "accept-encoding":
		c.add(finding{code: "accept-encoding-set", place: l.place, at: add,
			wrong: "request_headers_to_add asks Groq for a compressed answer: the gate cannot read the usage in it, and estimates.", write: "# take this header out"})
	}
}

const (
	typeMutation   = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
	typeInjector   = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
	typeToMetadata = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
	typeTap        = "envoy.extensions.filters.http.tap.v3.Tap"
)

// harmless are upstream filters that do nothing with the headers of a request that could show a key.
var harmless = []string{
	typeCodec, typeMutation, typeBuffer,
	"envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
	"envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
	"envoy.extensions.filters.http.compressor.v3.Compressor",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor",
	"envoy.extensions.filters.http.fault.v3.HTTPFault",
	"envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
}

// checkUpstreamFilters looks at a Groq cluster's filters: their order, and what the others do.
func (c *checker) checkUpstreamFilters(cl *cluster) {
	codec, attempt := -1, -1
	for i, f := range cl.filters {
		if message, _ := f.at("typed_config").anyType(); message == typeCodec {
			codec = i
		}
		if f == cl.attempt {
			attempt = i
		}
	}
	if attempt < 0 {
		return
	}
	switch {
	case codec >= 0 && codec < attempt:
		c.add(finding{code: "attempt-after-codec", place: cl.place, at: cl.attempt,
			wrong: "keywheel.attempt stands after upstream_codec, which must be the last filter: Envoy does not take the file, as no key could be " +
				"put on a call that has left.",
			write: "http_filters: # in this order\n- name: keywheel.attempt\n" + fragmentCodec})
	case codec != len(cl.filters)-1:
		c.add(finding{code: "upstream-codec-last", place: cl.place, at: cl.options.at("http_filters"),
			wrong: "The cluster's http_filters do not end with upstream_codec: Envoy does not take the file.", write: fragmentCodec})
	}
	if disabled := cl.attempt.at("disabled"); disabled.isTrue() {
		c.add(finding{code: "attempt-disabled", place: cl.place, at: disabled,
			wrong: "keywheel.attempt is disabled: calls go to Groq without a key.", write: "# take `disabled: true` out of keywheel.attempt"})
	}
	for i, f := range cl.filters {
		if message, fields := f.at("typed_config").anyType(); i != attempt {
			c.checkUpstreamFilter(cl, f, message, fields, i < attempt)
		}
	}
}

// checkUpstreamFilter looks at one that is not Keywheel's. Answers pass those that stand before the attempt after it.
func (c *checker) checkUpstreamFilter(cl *cluster, f value, message string, fields value, before bool) {
	name := f.at("name").text()
	switch {
	case message == typeMutation:
		for _, mutation := range fields.at("mutations", "response_mutations").items() {
			remove := mutation.at("remove")
			if before && (strings.EqualFold(remove.text(), rotateHeader) || strings.EqualFold(remove.text(), keyHeader)) {
				c.add(finding{code: "keywheel-header-removed-upstream", place: cl.place, at: remove,
					wrong: fmt.Sprintf("%s takes %s off before Envoy's router and the gate see it: no call is tried with another key, or nothing is "+
						"counted.", name, remove.text()),
					write: "# take this mutation out; the gate takes x-keywheel-rotate off"})
			}
		}
		for _, mutation := range fields.at("mutations", "request_mutations").items() {
			changed := cmpValue(mutation.at("append", "header", "key"), mutation.at("remove")).text()
			if !before && strings.EqualFold(changed, "authorization") {
				c.addOverwritten(cl, f)
			}
		}
	case message == typeInjector && !before:
		c.addOverwritten(cl, f)
	case !before && !slices.Contains(harmless, message):
		c.add(finding{code: "filter-sees-key", place: cl.place, at: f,
			wrong: fmt.Sprintf("%s stands after keywheel.attempt: it sees Authorization with the key on every call.", name),
			write: fmt.Sprintf("http_filters: # in this order\n- name: %s\n- name: keywheel.attempt\n- name: envoy.filters.http.upstream_codec", name)})
	}
}

func (c *checker) addOverwritten(cl *cluster, f value) {
	c.add(finding{code: "authorization-overwritten", place: cl.place, at: f,
		wrong: fmt.Sprintf("%s stands after keywheel.attempt and changes Authorization: calls go to Groq without the key that was chosen.", f.at("name").text()),
		write: "# take it out of this cluster"})
}
