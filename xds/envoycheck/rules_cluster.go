package envoycheck

import (
	"fmt"
	"net/netip"
	"strings"
)

// checkCluster looks at a cluster that leads to Groq.
func (c *checker) checkCluster(cl *cluster) {
	c.checkUpstreamFilters(cl)
	c.checkTLS(cl)
	c.checkNames(cl)
	if limit := cl.at("per_connection_buffer_limit_bytes"); limit.exists() {
		if n, ok := limit.number(); ok && n < leastAnswer {
			c.add(finding{code: "answer-buffer-small", place: cl.place, at: limit,
				wrong: fmt.Sprintf("The cluster's connections hold at most %.0f bytes: an error of Groq's that the filter reads before it decides (up "+
					"to 64 KiB) becomes a 500.", n),
				write: "per_connection_buffer_limit_bytes: 1048576"})
		}
	}
	outlier := cl.at("outlier_detection")
	most, _ := outlier.at("max_ejection_percent").number()
	panics, set := cl.at("common_lb_config", "healthy_panic_threshold", "value").number()
	if (most >= 100 || outlier.at("always_eject_one_host").isTrue()) && set && panics == 0 {
		c.add(finding{code: "outlier-detection", place: cl.place, at: outlier,
			wrong: "After some errors of Groq's own, outlier_detection takes its only address out of service, and healthy_panic_threshold 0 keeps it " +
				"out: all calls fail for half a minute, whatever key they have.",
			write: "# take outlier_detection out of this cluster"})
	}
}

// leastAnswer is how much of an error answer the filter may hold.
const leastAnswer = 64 << 10

// checkNames looks at how api.groq.com is looked up.
func (c *checker) checkNames(cl *cluster) {
	family, isDNS := cl.at("dns_lookup_family"), cl.at("type").isOneOf("STRICT_DNS", "LOGICAL_DNS", "1", "2")
	if message, fields := cl.at("cluster_type", "typed_config").anyType(); strings.HasSuffix(message, ".DnsCluster") {
		family, isDNS = fields.at("dns_lookup_family"), true
	}
	if isDNS && cl.leadsToGroq() && (!family.exists() || family.isOneOf("AUTO", "V6_ONLY", "UNSPECIFIED")) {
		c.add(finding{code: "dns-one-family", place: cl.place, at: cmpValue(family, cl.value),
			wrong: "dns_lookup_family takes only IPv6 addresses where there are any, and api.groq.com has some: on a host without IPv6 every call fails.",
			write: "dns_lookup_family: ALL"})
	}
}

// checkBreakers looks at how many calls and second tries may go on at a time.
func (c *checker) checkBreakers(l *leg) {
	if l.cluster == nil {
		return
	}
	priority := []string{"DEFAULT", "0", ""}
	if l.action.at("priority").isOneOf("HIGH", "1") {
		priority = []string{"HIGH", "1"}
	}
	limits := value{}
	for _, t := range l.cluster.at("circuit_breakers", "thresholds").items() {
		for _, p := range priority {
			if t.at("priority").text() == p {
				limits = t
			}
		}
	}
	retries := limits.at("max_retries")
	if n, ok := retries.number(); !limits.at("retry_budget").exists() && (!ok || n <= 3) {
		c.add(finding{code: "breaker-retries-default", place: l.cluster.place, at: cmpValue(retries, cmpValue(limits, l.cluster.value)),
			wrong: "The circuit breaker lets only 3 further tries go on at a time (max_retries): when a key runs out under load, most of its 429s go to clients.",
			write: fragmentBreakers})
	}
	for _, name := range []string{"max_connections", "max_pending_requests", "max_requests"} {
		if limits.exists() && !limits.at(name).exists() {
			c.add(finding{code: "breaker-limits-default", place: l.cluster.place, at: limits,
				wrong: fmt.Sprintf("%s is not set, which means 1024: when models answer slowly, further calls are answered 503.", name), write: fragmentBreakers})
			break
		}
	}
}

// maxWrapped is how many transports may stand around a cluster's TLS.
const maxWrapped = 5

// tls is the cluster's UpstreamTlsContext, out of whatever wraps it.
func (cl *cluster) tls() value {
	socket := cl.at("transport_socket")
	for range maxWrapped {
		message, fields := socket.at("typed_config").anyType()
		if strings.HasSuffix(message, ".UpstreamTlsContext") {
			return fields
		}
		if strings.HasSuffix(message, ".QuicUpstreamTransport") {
			return fields.at("upstream_tls_context")
		}
		socket = fields.at("transport_socket")
	}
	return value{}
}

// checkTLS looks at whether a key can only ever reach Groq.
func (c *checker) checkTLS(cl *cluster) {
	if cl.at("transport_socket_matches").exists() || cl.at("transport_socket_matcher").exists() {
		c.notLooked("the transport_socket_matches of %s", cl.place)
		return
	}
	tls := cl.tls()
	if !tls.exists() {
		if !cl.local() {
			c.add(finding{code: "tls-missing", place: cl.place, at: cmpValue(cl.at("transport_socket"), cl.value),
				wrong: "Calls leave without TLS: whoever can listen on the way has the keys.", write: fragmentTLS})
		}
		return
	}
	c.checkServerName(cl, tls)
	common := tls.at("common_tls_context")
	if log := common.at("key_log"); log.exists() {
		c.add(finding{code: "tls-key-log", place: cl.place, at: log,
			wrong: "key_log writes down what every connection to Groq can be decrypted with, and the keys with it.", write: "# take key_log out"})
	}
	contexts, known := c.validation(common)
	if !known {
		c.notLooked("how %s checks certificates, which comes by SDS", cl.place)
		return
	}
	c.checkCertificate(cl, tls, contexts)
}

// checkCertificate looks at how Groq's certificate is checked: by a context, or by two that are laid on one another.
func (c *checker) checkCertificate(cl *cluster, tls value, contexts []value) {
	has := func(names ...string) (at value) {
		for _, context := range contexts {
			for _, name := range names {
				at = cmpValue(at, context.at(name))
			}
		}
		return at
	}
	at := cmpValue(append(contexts, value{})[0], tls)
	pinned := has("custom_validator_config", "verify_certificate_hash", "verify_certificate_spki").exists()
	if !pinned && !has("trusted_ca", "ca_certificate_provider_instance", "system_root_certs").exists() {
		c.add(finding{code: "trusted-ca-missing", place: cl.place, at: at,
			wrong: "No trusted_ca: Envoy takes any certificate, and gives the keys to whoever answers in Groq's place.",
			write: "validation_context:\n  trusted_ca:\n    filename: /etc/ssl/certs/ca-certificates.crt"})
		return
	}
	if chain, expired := has("trust_chain_verification"), has("allow_expired_certificate"); chain.isOneOf("ACCEPT_UNTRUSTED", "1") || expired.isTrue() {
		c.add(finding{code: "certificate-untrusted", place: cl.place, at: cmpValue(chain, expired),
			wrong: "Certificates are accepted that nobody vouches for, or no longer: the keys go to whoever answers in Groq's place.",
			write: "# take trust_chain_verification and allow_expired_certificate out"})
	}
	names := has("match_typed_subject_alt_names", "match_subject_alt_names").exists() || tls.at("auto_sni_san_validation").isTrue() ||
		cl.upstreamOptions("auto_san_validation").isTrue()
	if !names && !pinned {
		c.add(finding{code: "name-not-checked", place: cl.place, at: at,
			wrong: "The certificate's name is not checked: any valid certificate, for whatever host, gets the keys.",
			write: "auto_sni_san_validation: true # beside sni: api.groq.com"})
	}
}

// upstreamOptions is a field of the cluster's upstream_http_protocol_options, which may stand in two places.
func (cl *cluster) upstreamOptions(name string) value {
	return cmpValue(cl.options.at("upstream_http_protocol_options", name), cl.at("upstream_http_protocol_options", name))
}

// checkServerName looks at the name that is asked for in TLS.
func (c *checker) checkServerName(cl *cluster, tls value) {
	switch sni := tls.at("sni"); {
	case sni.exists() && sni.text() != groqHost && cl.leadsToGroq():
		c.add(finding{code: "sni-wrong", place: cl.place, at: sni,
			wrong: fmt.Sprintf("sni is %q: Groq's servers do not know it, and the handshake fails or another name is checked.", sni.text()),
			write: "sni: api.groq.com"})
	case !sni.exists() && !tls.at("auto_host_sni").isTrue() && !cl.upstreamOptions("auto_sni").isTrue() && !cl.local():
		c.add(finding{code: "sni-missing", place: cl.place, at: tls,
			wrong: "There is no sni: Groq's servers refuse the connection, as they do not know which certificate is wanted.",
			write: "sni: api.groq.com\nauto_sni_san_validation: true"})
	}
}

// validation is how certificates are checked. known is false if some of it comes from elsewhere.
func (c *checker) validation(common value) (contexts []value, known bool) {
	combined := common.at("combined_validation_context")
	for _, v := range []value{common.at("validation_context"), combined.at("default_validation_context")} {
		if v.exists() {
			contexts = append(contexts, v)
		}
	}
	sds := cmpValue(common.at("validation_context_sds_secret_config"), combined.at("validation_context_sds_secret_config"))
	if !sds.exists() {
		return contexts, true
	}
	for _, s := range c.root.at("static_resources", "secrets").items() {
		if !sds.at("sds_config").exists() && s.at("name").text() == sds.at("name").text() && s.at("validation_context").exists() {
			return append(contexts, s.at("validation_context")), true
		}
	}
	return nil, false
}

// local says whether all of a cluster's addresses are of this machine.
func (cl *cluster) local() bool {
	for _, address := range cl.addresses() {
		if ip, err := netip.ParseAddr(address); address != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return !cl.leadsToGroq()
}
