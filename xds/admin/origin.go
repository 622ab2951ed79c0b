package admin

import (
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// pageHeader is what the page's own requests carry. Another site's page cannot set it without asking first (CORS), and
// that is never granted.
const pageHeader = "X-Keywheel-Page"

// hosts are the names under which browsers may reach the page, lower case, without port. Nil: any.
type hosts map[string]bool

// hostsOf returns the names for an API that listens on addr (host:port). On loopback they are few, so a name in the DNS
// that an attacker lets point to 127.0.0.1 (DNS rebinding) is none of them. Elsewhere Keywheel does not know its names.
func hostsOf(addr string) hosts {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil
	}
	return hosts{"localhost": true, "127.0.0.1": true, "::1": true, host: true}
}

// allow says whether a Host header names this API. The port does not matter: it may be forwarded (ssh -L).
func (h hosts) allow(header string) bool {
	if h == nil {
		return true
	}
	host, _, err := net.SplitHostPort(header)
	if err != nil { // no port
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return h[strings.ToLower(host)]
}

// foreign says, if a browser's request does not come from the page that this API serves, why not.
//
// It is stricter than http.CrossOriginProtection: that lets every GET pass, and an Origin that does not agree if
// Sec-Fetch-Site does. Cookies know no ports, so another server on this machine is the same site, but not our page.
func (h hosts) foreign(r *http.Request) string {
	if !h.allow(r.Host) {
		return "The page is served on this machine only: open it as http://localhost or http://127.0.0.1, with the port."
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return "This request came from another site's page."
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return "This request came from another site's page."
		}
	}
	if !reads(r.Method) && r.ContentLength != 0 { // -1 is a length not told
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return "A session sends JSON only: Content-Type: application/json." // a form of another site cannot
		}
	}
	return ""
}

// overTLS says whether the browser reached the page by https: here, or at a proxy before this.
func overTLS(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://")
}
