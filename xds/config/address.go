package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where something listens: an IP address and port, or a Unix socket. The zero value is none.
type Address struct {
	Unix string // absolute path; empty: TCP
	Host netip.Addr
	Port int // 0: the system picks one
}

// IsZero says whether there is no address.
func (a Address) IsZero() bool { return a == Address{} }

// Network is the address's network as package net names it.
func (a Address) Network() string {
	if a.Unix != "" {
		return "unix"
	}
	return "tcp"
}

// Listen is the address as net.Listen takes it beside Network.
func (a Address) Listen() string {
	if a.Unix != "" {
		return a.Unix
	}
	return net.JoinHostPort(a.Host.String(), strconv.Itoa(a.Port))
}

// Dial is where a client on this machine reaches the address, as net.Dial takes it beside Network.
func (a Address) Dial() string {
	if a.Unix == "" && a.Host.IsUnspecified() {
		if a.Host.Is4() {
			a.Host = loopback(0).Host
		} else {
			a.Host = netip.IPv6Loopback()
		}
	}
	return a.Listen()
}

// Local says whether only this machine can reach the address.
func (a Address) Local() bool { return a.Unix != "" || a.Host.IsLoopback() }

// String is the address as a setting is written: host:port or unix:/path.
func (a Address) String() string {
	switch {
	case a.IsZero():
		return ""
	case a.Unix != "":
		return "unix:" + a.Unix
	}
	return a.Listen()
}

// overlaps says whether both cannot be listened on at once.
func (a Address) overlaps(b Address) bool {
	if a.Unix != "" || b.Unix != "" {
		return a.Unix == b.Unix
	}
	return a.Port == b.Port && a.Port != 0 && (a.Host == b.Host || a.Host.IsUnspecified() || b.Host.IsUnspecified())
}

// parseTCP reads host:port. The host is an IP address, "localhost", or nothing for all IPv4 addresses: Envoy listens on
// no other name. The error is what is wrong with it, without the value.
func parseTCP(s string) (Address, error) {
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("it is not host:port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("its port is not a number up to 65535")
	}
	a := Address{Port: int(port)}
	switch host {
	case "":
		a.Host = netip.IPv4Unspecified()
	case "localhost":
		a.Host = loopback(0).Host
	default:
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" {
			return Address{}, fmt.Errorf("its host is not an IP address")
		}
		a.Host = ip.Unmap()
	}
	return a, nil
}

// parseUnix reads the path behind "unix:", relative to dir.
func parseUnix(path, dir string) (Address, error) {
	path = strings.TrimPrefix(path, "//") // unix:///path is the same
	switch {
	case path == "":
		return Address{}, fmt.Errorf("it has no path")
	case strings.HasPrefix(path, "@"):
		return Address{}, fmt.Errorf("an abstract socket cannot be kept from other users")
	case strings.ContainsRune(path, 0):
		return Address{}, fmt.Errorf("its path holds a zero byte")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if len(path) > maxSocketPath {
		return Address{}, fmt.Errorf("its path has more than %d bytes", maxSocketPath)
	}
	return Address{Unix: filepath.Clean(path)}, nil
}

// loopback is a port that only this machine reaches.
func loopback(port int) Address {
	return Address{Host: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: port}
}
