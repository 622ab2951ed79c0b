package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Upstream is where Groq is reached. Paths are Keywheel's matter.
type Upstream struct {
	Host string // DNS name or IP address, without brackets
	Port int
	TLS  bool
}

// groq is the upstream unless another is set.
var groq = Upstream{Host: "api.groq.com", Port: 443, TLS: true}

// URL is the upstream without a path: https://api.groq.com.
func (u Upstream) URL() string {
	scheme, usual := "http", 80
	if u.TLS {
		scheme, usual = "https", 443
	}
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port != usual {
		host += ":" + strconv.Itoa(u.Port)
	}
	return scheme + "://" + host
}

// Addr is the upstream as net.Dial takes it.
func (u Upstream) Addr() string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

// Loopback says whether the upstream is on this machine.
func (u Upstream) Loopback() bool { return isLoopback(u.Host) }

// isLoopback says whether a host, a name in small letters or an IP address, is this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// knownPaths are the paths of base URLs as clients write them; others are told of.
var knownPaths = []string{"", "/openai", "/openai/v1", "/v1"}

// loadUpstream reads where Groq is.
func (l *loader) loadUpstream(c *Config) {
	c.Upstream = groq
	name := "KEYWHEEL_UPSTREAM_URL"
	e, set := l.lookup(name)
	if !set {
		name = "GROQ_BASE_URL"
		if e, set = l.lookup(name); !set {
			return
		}
	}
	const fix = "write an address such as https://api.groq.com"
	u, path, wrong := parseUpstream(e.value)
	if wrong != "" {
		l.problem(name, e, wrong, fix)
		return
	}
	if own := ownListener(c, u); own != "" {
		l.problem(name, e, u.URL()+" is Keywheel's own listener ("+l.calledLike(own, name)+")", "set KEYWHEEL_UPSTREAM_URL to where Groq is, https://api.groq.com")
		return
	}
	if !u.TLS && !u.Loopback() {
		l.problem(name, e, "the keys would travel in the clear", "write https:// (http:// is only for this machine)")
		return
	}
	if !u.TLS {
		l.warn(name, u.URL()+" is plain http: keys travel in the clear on this machine")
	}
	if !slices.Contains(knownPaths, path) {
		l.warn(name, "its path is not used: requests keep Groq's own paths")
	}
	c.Upstream = u
}

// parseUpstream reads a base URL and gives its path apart, as it is written but without a slash at its end. wrong says
// what is wrong with it, without the value: a URL may hold a password.
func parseUpstream(s string) (u Upstream, path, wrong string) {
	parsed, u, wrong := parseHTTP(s)
	switch {
	case wrong != "":
		return Upstream{}, "", wrong
	case parsed.User != nil:
		return Upstream{}, "", "it holds a user name or password"
	case parsed.RawQuery != "":
		return Upstream{}, "", "it has a query"
	}
	return u, strings.TrimRight(parsed.EscapedPath(), "/"), ""
}

// parseHTTP reads any address of the web and says where it leads. wrong is as parseUpstream's.
func parseHTTP(s string) (parsed *url.URL, u Upstream, wrong string) {
	parsed, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, u, "it is not a URL"
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return nil, u, "it does not begin with https://"
	case parsed.Fragment != "":
		return nil, u, "it has a fragment"
	case !validHost(parsed.Hostname()):
		return nil, u, "it has no valid host name"
	}
	u = Upstream{Host: strings.ToLower(parsed.Hostname()), TLS: parsed.Scheme == "https", Port: 80}
	if u.TLS {
		u.Port = 443
	}
	if u.Port, wrong = portOf(parsed, u.Port); wrong != "" {
		return nil, Upstream{}, wrong
	}
	return parsed, u, ""
}

// portOf returns the port of a URL, usual if it has none.
func portOf(u *url.URL, usual int) (port int, wrong string) {
	if u.Port() == "" {
		return usual, ""
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, "its port is not a number from 1 to 65535"
	}
	return int(n), ""
}

// validHost says whether host is an IP address or can be a DNS name.
func validHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && !ip.IsUnspecified()
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.ContainsFunc(label, func(r rune) bool {
				return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
			}) {
			return false
		}
	}
	return true
}

// ownListener returns the setting whose address u leads back to; empty: none.
func ownListener(c *Config, u Upstream) string {
	own := []struct {
		name string
		addr Address
	}{
		{"KEYWHEEL_LISTEN_ADDR", c.ListenAddr}, {"KEYWHEEL_ENVOY_ADMIN_ADDR", c.EnvoyAdminAddr},
		{"KEYWHEEL_ADMIN_ADDR", c.AdminAddr}, {"KEYWHEEL_XDS_ADDR", c.XDSAddr},
	}
	ip, err := netip.ParseAddr(u.Host)
	for _, o := range own {
		if o.addr.Unix != "" || o.addr.Port != u.Port || o.addr.IsZero() {
			continue
		}
		everywhere := o.addr.Host.IsUnspecified() && u.Loopback()
		same := err == nil && ip.Unmap() == o.addr.Host
		byName := u.Host == "localhost" && o.addr.Host.IsLoopback()
		if everywhere || same || byName {
			return o.name
		}
	}
	return ""
}
