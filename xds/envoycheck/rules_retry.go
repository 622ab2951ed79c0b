package envoycheck

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkLeg looks at one way to Groq.
func (c *checker) checkLeg(l *leg) {
	c.checkLegPresence(l)
	if l.attempts() {
		c.checkRetry(l)
		c.checkBreakers(l)
	}
	c.checkCopies(l)
	c.checkTimes(l)
	c.checkBody(l)
	c.checkUpstreamHost(l)
	c.checkPath(l)
	c.checkUpgrades(l)
	c.checkHeaders(l)
}

// retryPolicy is what counts for a leg: the cluster's, else the route's, else the virtual host's.
func (l *leg) retryPolicy() (policy, overridden value) {
	host := l.host.at("retry_policy")
	if l.cluster != nil && l.cluster.options.at("retry_policy").exists() {
		return l.cluster.options.at("retry_policy"), cmpValue(l.action.at("retry_policy"), host)
	}
	if own := l.action.at("retry_policy"); own.exists() {
		return own, host
	}
	return host, value{}
}

// conditions are the conditions under which a policy tries again.
func conditions(policy value) []string {
	return strings.FieldsFunc(policy.at("retry_on").text(), func(r rune) bool { return r == ',' || r == ' ' })
}

// rotates says whether a policy tries again when the filter asks for it.
func rotates(policy value) (header, condition bool) {
	header = slices.ContainsFunc(policy.at("retriable_headers").items(), func(h value) bool {
		return strings.EqualFold(h.at("name").text(), rotateHeader) && !h.at("invert_match").isTrue()
	})
	return header, slices.Contains(conditions(policy), "retriable-headers")
}

// checkRetry looks at whether a refused key is followed by another within the call.
func (c *checker) checkRetry(l *leg) {
	policy, overridden := l.retryPolicy()
	if l.action.at("retry_policy_typed_config").exists() || !policy.exists() && l.host.at("retry_policy_typed_config").exists() {
		c.notLooked("the retry_policy_typed_config of %s", l.place)
		return
	}
	const visible = "a 429 or 401 of one key goes to the client, though another could serve"
	if !policy.exists() {
		c.add(finding{code: "retry-policy-missing", place: l.place, at: l.action,
			wrong: "This route leads to Groq and has no retry_policy: " + visible + ".", write: fragmentRetry})
		return
	}
	header, condition := rotates(policy)
	if hostHeader, hostCondition := rotates(overridden); (!header || !condition) && hostHeader && hostCondition {
		c.add(finding{code: "virtual-host-retry-overridden", place: l.place, at: policy,
			wrong: "The retry_policy here replaces the one above it, which is good for Keywheel; the two are not joined: " + visible + ".", write: fragmentRetry})
		return
	}
	if !header {
		c.add(finding{code: "rotate-header-not-retriable", place: l.place, at: policy,
			wrong: "retriable_headers does not name x-keywheel-rotate, by which the filter asks for a try with another key: " + visible + ".",
			write: "retriable_headers:\n- { name: x-keywheel-rotate, present_match: true }"})
	}
	if !condition {
		c.add(finding{code: "retriable-headers-not-in-retry", place: l.place, at: cmpValue(policy.at("retry_on"), policy),
			wrong: "retry_on lacks retriable-headers, so that the list of headers has no effect: " + visible + ".", write: "retry_on: retriable-headers,reset"})
	}
	c.checkTries(l, policy)
	c.checkRetryConditions(l, policy)
}

// checkTries looks at how often and how fast another try comes.
func (c *checker) checkTries(l *leg, policy value) {
	tries := policy.at("num_retries")
	switch n, ok := tries.number(); {
	case !tries.exists():
		c.add(finding{code: "num-retries-default", place: l.place, at: policy,
			wrong: "num_retries is not set, which means 1: a call tries two keys at most, however many there are.", write: "num_retries: 5"})
	case ok && n == 0:
		c.add(finding{code: "num-retries-zero", place: l.place, at: tries,
			wrong: "num_retries is 0: no call is ever tried with another key, and a 429 goes to the client.", write: "num_retries: 5"})
	}
	base := policy.at("retry_back_off", "base_interval")
	if d, ok := base.duration(); !ok || d >= 25*time.Millisecond {
		c.add(finding{code: "back-off-default", place: l.place, at: cmpValue(base, policy),
			wrong: "Before another key is tried, Envoy waits (25 ms and more if nothing is said): another key need not be waited for.",
			write: "retry_back_off: { base_interval: 0.001s, max_interval: 0.005s }"})
	}
	if limited := policy.at("rate_limited_retry_back_off"); limited.exists() {
		c.add(finding{code: "rate-limited-back-off", place: l.place, at: limited,
			wrong: "With rate_limited_retry_back_off a try with another key waits as long as the refused key must: the client waits with it.",
			write: "# take rate_limited_retry_back_off out; this is enough\nretry_back_off: { base_interval: 0.001s, max_interval: 0.005s }"})
	}
	for _, name := range []string{"per_try_timeout", "per_try_idle_timeout"} {
		if d, ok := policy.at(name).duration(); ok && d > 0 && d < leastWait {
			c.add(finding{code: "per-try-timeout-short", place: l.place, at: policy.at(name),
				wrong: fmt.Sprintf("%s is %v: a model that thinks longer is cut off, and the call is sent, and billed, again.", name, d),
				write: "# take " + name + " out, or\n" + name + ": 300s"})
		}
	}
}

// checkRetryConditions looks at the other reasons for a try.
func (c *checker) checkRetryConditions(l *leg, policy value) {
	has := func(names ...string) string {
		for _, condition := range conditions(policy) {
			if slices.Contains(names, condition) {
				return condition
			}
		}
		return ""
	}
	if by := has("5xx", "gateway-error", "retriable-4xx", "retriable-status-codes", "envoy-ratelimited"); by != "" {
		c.add(finding{code: "retry-on-statuses", place: l.place, at: policy.at("retry_on"),
			wrong: fmt.Sprintf("retry_on has %s: calls are also sent again where no other key can help, and each try may be billed. The filter knows "+
				"when another one helps.", by),
			write: "retry_on: retriable-headers,reset"})
	} else if has("reset") == "" && (has("connect-failure", "refused-stream", "reset-before-request") == "") {
		c.add(finding{code: "resets-not-retried", place: l.place, at: cmpValue(policy.at("retry_on"), policy),
			wrong: "retry_on has nothing for broken connections: a call that meets one fails, though a second try would serve it.",
			write: "retry_on: retriable-headers,reset"})
	}
}

// checkCopies looks for what sends a call twice, or elsewhere.
func (c *checker) checkCopies(l *leg) {
	for _, scope := range []value{l.action, l.host} {
		if hedge := scope.at("hedge_policy"); hedge.exists() {
			c.add(finding{code: "hedge-policy", place: l.place, at: hedge,
				wrong: "hedge_policy sends the same call with several keys at once: each is billed, and only one answer is counted.",
				write: "# take hedge_policy out of this route to Groq"})
		}
	}
	redirect := l.action.at("internal_redirect_policy")
	if old := l.action.at("internal_redirect_action"); old.isOneOf("HANDLE_INTERNAL_REDIRECT", "1") {
		redirect = old
	}
	if redirect.exists() {
		c.add(finding{code: "internal-redirect", place: l.place, at: redirect,
			wrong: "Envoy follows redirects of Groq's by itself, and takes the Groq key along, to whatever cluster the new address belongs to.",
			write: "# take internal_redirect_policy out of this route to Groq"})
	}
	scopes := []value{l.action, l.host, l.manager.config}
	if l.cluster != nil {
		scopes = append(scopes, l.cluster.options)
	}
	for _, scope := range scopes {
		if mirror := scope.at("request_mirror_policies"); len(mirror.items()) > 0 {
			c.add(finding{code: "mirror-policy", place: l.place, at: mirror,
				wrong: "Calls are mirrored: what clients say to the model goes elsewhere too, and a copy that goes to Groq is refused (503 " +
					"keywheel_gate_missing), as nobody would count it.",
				write: "# take request_mirror_policies out of what this route to Groq goes by"})
		}
	}
}

// checkMirrors looks at routes that are not Groq's for copies that go there.
func (c *checker) checkMirrors(l *leg) {
	for _, scope := range []value{l.action, l.host, l.manager.config} {
		for _, mirror := range scope.at("request_mirror_policies").items() {
			if to := c.clusters[mirror.at("cluster").text()]; to != nil && to.groq {
				c.add(finding{code: "mirror-policy", place: l.place, at: mirror,
					wrong: fmt.Sprintf("Calls are mirrored to %q: such a copy has passed no gate, and is refused (503 keywheel_gate_missing).", to.name),
					write: "# take this mirror out"})
			}
		}
	}
}
