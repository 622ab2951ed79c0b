package config

import (
	"path/filepath"
	"slices"
	"strings"
)

const (
	storeFile  = "keywheel.db"
	defaultDir = "keywheel" // in the user's state directory

	defaultListenPort     = 10000
	defaultEnvoyAdminPort = 9901
	defaultAdminPort      = 8080
	defaultXDSPort        = 18000
)

// loadPlaces reads where things listen and lie.
func (l *loader) loadPlaces(c *Config) {
	c.ListenAddr = l.tcpAddress("KEYWHEEL_LISTEN_ADDR", defaultListenPort)
	c.EnvoyAdminAddr = l.tcpAddress("KEYWHEEL_ENVOY_ADMIN_ADDR", defaultEnvoyAdminPort)
	c.AdminAddr = l.tcpAddress("KEYWHEEL_ADMIN_ADDR", defaultAdminPort)
	c.XDSInsecure = l.boolean("KEYWHEEL_XDS_INSECURE")
	c.TLS = l.tls()
	c.XDSAddr = l.xdsAddress(c.XDSInsecure)
	l.checkOverlaps(c)
	l.warnExposed(c)
	c.StorePath = l.store()
	if e, set := l.lookup("KEYWHEEL_WASM"); set {
		c.WasmPath = l.path("KEYWHEEL_WASM", e, e.value, "build/keywheel.wasm")
	}
}

// tcpFix is what to write for an address with a usual port.
func tcpFix(port int) string {
	return "write an IP address and a port, such as " + loopback(port).String()
}

// tcpAddress reads host:port.
func (l *loader) tcpAddress(name string, port int) Address {
	def := loopback(port)
	e, set := l.lookup(name)
	if !set {
		return def
	}
	a, err := parseTCP(e.value)
	if err != nil {
		l.problem(name, e, l.show(e.value)+" is no address to listen on: "+err.Error(), tcpFix(port))
		return def
	}
	return a
}

// xdsAddress reads host:port or unix:/path. Whoever reaches it is given the keys, unless clients prove who they are.
func (l *loader) xdsAddress(insecure bool) Address {
	const name = "KEYWHEEL_XDS_ADDR"
	e, set := l.lookup(name)
	if !set {
		return Address{}
	}
	secured := slices.ContainsFunc(tlsSettings(), l.given)
	if secured && insecure {
		l.warn("KEYWHEEL_XDS_INSECURE", "it has no effect, as "+l.called(certSetting)+" is set")
	}
	if path, ok := strings.CutPrefix(e.value, "unix:"); ok {
		if secured {
			l.warn(certSetting, "it has no effect, as "+l.called(name)+" is a Unix socket, which no other machine reaches")
		}
		a, err := parseUnix(path, l.opts.WorkDir)
		if err != nil {
			l.problem(name, e, l.show(e.value)+" is no socket: "+err.Error(), "write a path such as unix:/run/keywheel/xds.sock")
		}
		return a
	}
	a, err := parseTCP(e.value)
	switch {
	case err != nil:
		l.problem(name, e, l.show(e.value)+" is no address to listen on: "+err.Error(), tcpFix(defaultXDSPort)+" or unix:/run/keywheel/xds.sock")
	case secured:
	case a.Local():
		l.warn(name, "every process of this machine can fetch the keys there; a Unix socket lets only your own")
	case insecure:
		l.warn(name, "everybody who reaches "+a.String()+" can fetch the keys there, and read them on the way")
	default:
		l.problem(name, e, "other machines could fetch the keys at "+a.String(),
			"set "+l.calledLike(certSetting, name)+", "+l.calledLike(keySetting, name)+" and "+l.calledLike(caSetting, name)+
				", write "+loopback(defaultXDSPort).String()+" or unix:/path, or set "+l.calledLike("KEYWHEEL_XDS_INSECURE", name)+" to true if that network is your own")
	}
	return a
}

// checkOverlaps refuses two listeners in one place.
func (l *loader) checkOverlaps(c *Config) {
	places := []struct {
		name string
		addr Address
	}{
		{"KEYWHEEL_LISTEN_ADDR", c.ListenAddr}, {"KEYWHEEL_ENVOY_ADMIN_ADDR", c.EnvoyAdminAddr},
		{"KEYWHEEL_ADMIN_ADDR", c.AdminAddr}, {"KEYWHEEL_XDS_ADDR", c.XDSAddr},
	}
	for i, p := range places {
		for _, other := range places[:i] {
			if !p.addr.IsZero() && p.addr.overlaps(other.addr) {
				e, _ := l.lookup(p.name)
				l.problem(l.calledLike(p.name, other.name), e, p.addr.String()+" is taken by "+l.calledLike(other.name, p.name)+" already", "write another port")
			}
		}
	}
}

// warnExposed tells what others can do at addresses that they can reach.
func (l *loader) warnExposed(c *Config) {
	if !c.ListenAddr.Local() {
		l.warn("KEYWHEEL_LISTEN_ADDR", "everybody who reaches "+c.ListenAddr.String()+" spends your keys")
	}
	if !c.EnvoyAdminAddr.Local() {
		l.warn("KEYWHEEL_ENVOY_ADMIN_ADDR", "everybody who reaches "+c.EnvoyAdminAddr.String()+" can stop Envoy")
	}
	if !c.AdminAddr.Local() {
		l.warn("KEYWHEEL_ADMIN_ADDR", "the admin token travels to "+c.AdminAddr.String()+" in the clear")
	}
}

// store reads where the account is kept.
func (l *loader) store() string {
	const name = "KEYWHEEL_STORE"
	def := filepath.Join(l.opts.StateHome, defaultDir, storeFile)
	e, set := l.lookup(name)
	if set && isRedis(e.value) {
		l.warn(name, "a Redis store has no effect yet; the account is kept in "+def)
		set = false
	}
	if !set {
		if !filepath.IsAbs(def) {
			l.problem(name, entry{}, "there is no home directory to keep the account in", "write file: and a path, such as file:/var/lib/keywheel/keywheel.db")
		}
		return def
	}
	path, ok := strings.CutPrefix(e.value, "file:")
	if !ok {
		l.problem(name, e, l.show(e.value)+" is no store", "write file: and a path, such as file:/var/lib/keywheel/keywheel.db")
		return def
	}
	if strings.HasPrefix(path, "//") { // file:///path is the same as file:/path
		path = "/" + strings.TrimLeft(path, "/")
	}
	return l.path(name, e, path, "file:/var/lib/keywheel/keywheel.db")
}

func isRedis(value string) bool {
	return strings.HasPrefix(value, "redis:") || strings.HasPrefix(value, "rediss:")
}

// path makes a file's path absolute.
func (l *loader) path(name string, e entry, path, example string) string {
	wrong := ""
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		wrong = "it names no file"
	case strings.HasPrefix(path, "~"):
		wrong = "nothing puts your home directory in the place of ~"
	case strings.ContainsRune(path, 0):
		wrong = "its path holds a zero byte"
	}
	if wrong != "" {
		l.problem(name, e, wrong, "write the whole path, such as "+example)
	}
	return l.absolute(path)
}
