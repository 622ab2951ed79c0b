package email

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"

	"keywheel/shared/secret"
)

// Server is a mail server and how it is spoken to.
type Server struct {
	Host        string // DNS name in small letters or IP address, without brackets
	Port        int
	ImplicitTLS bool       // the connection begins with TLS, and is never without
	TLS         string     // whether STARTTLS is asked for: TLSNone, TLSOpportunistic or TLSRequired; ImplicitTLS: TLSRequired
	User        string     // empty: nobody signs in
	Password    secret.Key // zero exactly if User is empty
}

// What Server.TLS may be.
const (
	TLSNone          = "none"          // in the clear
	TLSOpportunistic = "opportunistic" // if the server offers it, whatever its certificate: the choice is between that and the clear
	TLSRequired      = "required"      // with a trusted certificate, else nothing is sent
)

// What can be wrong with a server.
var (
	errHost    = errors.New("the mail server has no valid host name: write smtps://user:password@smtp.example.org")
	errPort    = errors.New("the mail server's port is not a number from 1 to 65535: write smtps://user:password@smtp.example.org:465")
	errSignIn  = errors.New("the mail server has only one of user and password: write user:password@ or neither")
	errTLS     = errors.New("the tls of the mail server is not known: write tls=required, tls=opportunistic or tls=none, or leave it out")
	errSMTPS   = errors.New("smtps:// is TLS from the start, and tls= says otherwise: write smtp://, or leave tls= out")
	errInClear = errors.New("the password would travel to the mail server in the clear: write tls=required or smtps://, or leave the user and password out")
)

// check says what is wrong with a server.
func (s *Server) check() error {
	switch {
	case !validHost(s.Host):
		return errHost
	case s.Port < 1 || s.Port > 65535:
		return errPort
	case (s.User == "") != s.Password.IsZero():
		return errSignIn
	case s.TLS != TLSNone && s.TLS != TLSOpportunistic && s.TLS != TLSRequired:
		return errTLS
	case s.ImplicitTLS && s.TLS != TLSRequired:
		return errSMTPS
	case s.User != "" && s.TLS != TLSRequired && !s.loopback():
		return errInClear
	}
	return nil
}

// addr is the server as net.Dial takes it. It holds no secret.
func (s *Server) addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// loopback says whether the server is on this machine.
func (s *Server) loopback() bool {
	ip, err := netip.ParseAddr(s.Host)
	return s.Host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// dnsName is what a host name looks like. Its length is checked apart.
var dnsName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)

// validHost says whether host is an IP address or can be a DNS name.
func validHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && !ip.IsUnspecified()
	}
	return len(host) <= 253 && dnsName.MatchString(host)
}
