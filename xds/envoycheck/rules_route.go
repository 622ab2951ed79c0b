package envoycheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// leastWait is how long a model may think before a time-out that ends the call is called short.
	leastWait = time.Minute
	// leastBody is how large a request may be before a limit is called small: images travel inside JSON.
	leastBody = 4 << 20
	// defaultBuffer is Envoy's own limit of a connection's buffer.
	defaultBuffer = 1 << 20
)

// checkTimes looks at what would cut a long answer.
func (c *checker) checkTimes(l *leg) {
	timeout := l.action.at("timeout")
	switch d, ok := timeout.duration(); {
	case !ok:
		c.add(finding{code: "route-timeout-short", place: l.place, at: cmpValue(timeout, l.action),
			wrong: "The route has no timeout, which means 15 s for the whole answer: longer ones are cut.", write: "timeout: 0s\nidle_timeout: 300s"})
	case d > 0 && d < leastWait:
		c.add(finding{code: "route-timeout-short", place: l.place, at: timeout,
			wrong: fmt.Sprintf("The route's timeout of %v counts until the whole answer is there: longer ones are cut.", d), write: "timeout: 0s\nidle_timeout: 300s"})
	}
	idle, name := l.action.at("idle_timeout"), "idle_timeout"
	if !idle.exists() {
		idle, name = l.manager.at("stream_idle_timeout"), "stream_idle_timeout"
	}
	if d, ok := idle.duration(); ok && d > 0 && d < leastWait {
		c.add(finding{code: "idle-timeout-short", place: l.place, at: idle,
			wrong: fmt.Sprintf("%s is %v: a call in which nothing moves for so long is cut, and a model may think for minutes before it says a word.", name, d),
			write: name + ": 300s"})
	}
	longest := []value{l.action.at("max_stream_duration", "max_stream_duration"), l.manager.at("common_http_protocol_options", "max_stream_duration")}
	if l.cluster != nil {
		longest = append(longest, l.cluster.options.at("common_http_protocol_options", "max_stream_duration"))
	}
	for _, v := range longest {
		if d, ok := v.duration(); ok && d > 0 && d < leastWait {
			c.add(finding{code: "stream-duration-short", place: l.place, at: v,
				wrong: fmt.Sprintf("max_stream_duration is %v: longer answers are cut.", d), write: "max_stream_duration: 0s"})
		}
	}
}

// checkBody looks at how large a request may be that is held for a second try and for its model's name.
func (c *checker) checkBody(l *leg) {
	connection := l.manager.listener.at("per_connection_buffer_limit_bytes")
	limit, at := float64(defaultBuffer), l.route.value
	if n, ok := connection.number(); ok {
		limit, at = n, connection
	}
	for _, scope := range []value{l.route.value, l.host} {
		if n, ok := scope.at("request_body_buffer_limit").number(); ok {
			limit, at = n, scope.at("request_body_buffer_limit")
			break
		}
		if n, ok := scope.at("per_request_buffer_limit_bytes").number(); ok && n < limit {
			limit, at = n, scope.at("per_request_buffer_limit_bytes")
			break
		}
	}
	if limit < leastBody {
		c.add(finding{code: "body-buffer-small", place: l.place, at: at,
			wrong: fmt.Sprintf("Envoy holds at most %.0f bytes of a request here (1 MiB if nothing is said): larger ones, with images or audio, are "+
				"answered 413 or not tried with another key.", limit),
			write: "request_body_buffer_limit: 33554432 # in the route, beside `route:`"})
	}
}

// checkUpstreamHost looks at the Host of calls.
func (c *checker) checkUpstreamHost(l *leg) {
	if l.cluster == nil || !l.cluster.leadsToGroq() {
		return
	}
	literal := l.action.at("host_rewrite_literal")
	switch {
	case literal.text() == groqHost, l.action.at("auto_host_rewrite").isTrue():
	case literal.exists():
		c.add(finding{code: "host-not-rewritten", place: l.place, at: literal,
			wrong: fmt.Sprintf("Calls go to api.groq.com with the Host %q, which Groq does not know.", literal.text()), write: "host_rewrite_literal: api.groq.com"})
	case l.action.at("host_rewrite_header").exists() || l.action.at("host_rewrite_path_regex").exists() || l.action.at("host_rewrite").exists():
		c.notLooked("the Host that %s makes of a call", l.place)
	default:
		c.add(finding{code: "host-not-rewritten", place: l.place, at: l.action,
			wrong: "Calls go to api.groq.com with the Host that the client wrote, such as localhost: Groq does not know it.",
			write: "host_rewrite_literal: api.groq.com"})
	}
}

// endpoints are what clients call, below /v1/ or /openai/v1/.
var endpoints = []string{
	"chat/completions", "responses", "embeddings", "audio/transcriptions", "audio/translations", "audio/speech", "models", "models/x",
}

// checkPath looks at what Groq gets of the paths that the gate lets through.
func (c *checker) checkPath(l *leg) {
	reached, ours, wrong := false, false, false
	for i := range 2 * len(endpoints) {
		path, want := "/openai/v1/"+endpoints[i/2], "/openai/v1/"+endpoints[i/2]
		if i%2 == 0 {
			path = "/v1/" + endpoints[i/2]
		}
		if matches(l.at("match"), path) == no {
			continue
		}
		ours = true
		if earlier(l.route, path) {
			continue
		}
		reached = true
		if got, known := rewritten(l.route, path); known && got != want && !wrong {
			wrong = true
			c.add(finding{code: "path-not-rewritten", place: l.place, at: l.action,
				wrong: fmt.Sprintf("A call of %s reaches Groq as %s, and should as %s: it is answered 404.", path, got, want), write: fragmentRewrite})
		}
	}
	if !ours {
		c.add(finding{code: "path-not-served", place: l.place, at: cmpValue(l.at("match"), l.route.value),
			wrong: "No path that matches here begins with /v1/ or /openai/v1/ and is one of Groq's: the gate goes by the client's path, and answers " +
				"403 endpoint_not_allowed.",
			write: "match: { safe_regex: { regex: \"/(openai/)?v1/.*\" } }"})
	}
	if normalize := l.manager.at("normalize_path"); reached && !normalize.isTrue() {
		c.add(finding{code: "path-not-normalized", place: l.manager.place, at: cmpValue(normalize, l.manager.value),
			wrong: "normalize_path is not true: one path can be written in many ways, and the filters before Groq may read another than Groq does.",
			write: "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: REJECT_REQUEST"})
	}
}

// answer is yes, no, or that it cannot be told from the file.
type answer int

const (
	no answer = iota
	yes
	maybe
)

// matches says whether a route's match takes a path. Conditions on headers and the like are left aside.
func matches(match value, path string) answer {
	for _, e := range match.entries() {
		fold := match.at("case_sensitive").text() == "false"
		want, got := e.text(), path
		if fold {
			want, got = strings.ToLower(want), strings.ToLower(path)
		}
		switch snake(e.key) {
		case "prefix":
			return told(strings.HasPrefix(got, want))
		case "path":
			return told(got == want)
		case "path_separated_prefix":
			return told(got == want || strings.HasPrefix(got, want+"/"))
		case "safe_regex":
			if re, err := regexp.Compile("^(?:" + e.at("regex").text() + ")$"); err == nil {
				return told(re.MatchString(path))
			}
			return maybe
		case "path_match_policy":
			return maybe
		}
	}
	return no
}

func told(is bool) answer {
	if is {
		return yes
	}
	return no
}

// conditionsOfMatch are what a match can ask beside the path.
var conditionsOfMatch = []string{"headers", "query_parameters", "cookies", "runtime_fraction", "grpc", "tls_context", "dynamic_metadata", "filter_state"}

// earlier says whether another route of the virtual host takes a path before r does, whatever else the request says.
func earlier(r *route, path string) bool {
	for _, other := range r.host.at("routes").items() {
		if other == r.value {
			return false
		}
		match := other.at("match")
		conditional := slices.ContainsFunc(conditionsOfMatch, func(name string) bool { return match.at(name).exists() })
		if matches(match, path) == yes && !conditional {
			return true
		}
	}
	return false
}

var backReference = regexp.MustCompile(`\\(\d)`)

// rewritten is the path that goes upstream. known is false where the file does not tell.
func rewritten(r *route, path string) (result string, known bool) {
	match, a := r.at("match"), r.action
	switch {
	case a.at("path_rewrite_policy").exists() || a.at("path_rewrite").exists():
		return "", false
	case a.at("regex_rewrite").exists():
		re, err := regexp.Compile(a.at("regex_rewrite", "pattern", "regex").text())
		if err != nil {
			return "", false
		}
		return re.ReplaceAllString(path, backReference.ReplaceAllString(strings.ReplaceAll(a.at("regex_rewrite", "substitution").text(), "$", "$$"), "$${$1}")), true
	case a.at("prefix_rewrite").exists():
		matched := path // a path or regex that matches is replaced as a whole
		for _, name := range []string{"prefix", "path_separated_prefix"} {
			if v := match.at(name); v.exists() && len(v.text()) <= len(path) {
				matched = path[:len(v.text())]
			}
		}
		return a.at("prefix_rewrite").text() + strings.TrimPrefix(path, matched), true
	}
	return path, true
}

// checkUpgrades looks for WebSockets, which nobody counts.
func (c *checker) checkUpgrades(l *leg) {
	enabled := map[string]value{}
	for _, scope := range []value{l.manager.value, l.action} {
		for _, u := range scope.at("upgrade_configs").items() {
			kind := strings.ToLower(u.at("upgrade_type").text())
			delete(enabled, kind)
			if u.at("enabled").text() != "false" {
				enabled[kind] = u
			}
		}
	}
	for _, kind := range []string{"websocket", "connect"} {
		if u, on := enabled[kind]; on {
			c.add(finding{code: "websocket-allowed", place: l.place, at: u,
				wrong: fmt.Sprintf("Upgrades to %s are on for this route: Groq has none, and nobody would count what passes by one.", kind),
				write: fmt.Sprintf("# in this route's action\nupgrade_configs:\n- { upgrade_type: %s, enabled: false }", kind)})
		}
	}
}
