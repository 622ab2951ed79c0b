package envoy

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"keywheel/xds/config"
)

// bundles are where systems keep the certificate authorities that they trust.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Alpine with ca-certificates
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, Red Hat
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Red Hat
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, macOS
	"/opt/homebrew/etc/ca-certificates/cert.pem",        // macOS with Homebrew
	"/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD
}

// FindCABundle returns the file of certificate authorities by which Groq's certificate is checked: what SSL_CERT_FILE
// names, else the system's. readable says whether a file is there and can be read; nil: by trying.
func FindCABundle(getenv func(string) string, readable func(path string) bool) (string, error) {
	if readable == nil {
		readable = canRead
	}
	if path := getenv("SSL_CERT_FILE"); path != "" {
		if !readable(path) {
			return "", fmt.Errorf("SSL_CERT_FILE: %s cannot be read; name a file of certificate authorities (PEM), or unset it", path)
		}
		return path, nil
	}
	for _, path := range bundles {
		if readable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no certificate authorities to check Groq's certificate against: looked for %s; "+
		"install the package ca-certificates, or name a PEM file by SSL_CERT_FILE", strings.Join(bundles, ", "))
}

func canRead(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// adaptTLS sets the certificate authorities, and the name that the upstream's certificate must be for.
func adaptTLS(c *clusterv3.Cluster, s Settings) error {
	found, err := edit(c.GetTransportSocket().GetTypedConfig(), func(m *tlsv3.UpstreamTlsContext) error {
		validation := m.GetCommonTlsContext().GetValidationContext()
		if validation == nil {
			return fmt.Errorf("envoy.yaml: the cluster %s has no validation_context: Groq's certificate would not be checked", c.GetName())
		}
		if s.CABundle != "" {
			validation.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: s.CABundle}}
		}
		if s.Upstream != (config.Upstream{}) {
			expectName(m, validation, s.Upstream.Host)
		}
		return nil
	})
	if err == nil && !found {
		return fmt.Errorf("envoy.yaml: the cluster %s has no TLS transport_socket: take it from the file as delivered", c.GetName())
	}
	return err
}

// expectName makes host the only name that a certificate may be for.
func expectName(m *tlsv3.UpstreamTlsContext, validation *tlsv3.CertificateValidationContext, host string) {
	if _, err := netip.ParseAddr(host); err != nil {
		m.Sni, m.AutoSniSanValidation = host, true
		return
	}
	// An address cannot be sent as SNI.
	m.Sni, m.AutoSniSanValidation = "", false
	validation.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
		SanType: tlsv3.SubjectAltNameMatcher_IP_ADDRESS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}},
	}}
}

// ClientTLS is how Envoy and the control plane know each other. The files are PEM, with absolute paths as Envoy sees them.
type ClientTLS struct {
	CertFile string // what Envoy shows
	KeyFile  string
	CAFile   string // whose certificate the control plane must show
	Name     string // that it must be for: a DNS name or an IP address
}

// slower is the connect timeout of a control plane on another machine, handshake included.
const slower = 5 * time.Second

// secureControlPlane has the control plane's cluster speak TLS.
func secureControlPlane(c *clusterv3.Cluster, t *ClientTLS) error {
	file := func(path string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
	}
	validation := &tlsv3.CertificateValidationContext{TrustedCa: file(t.CAFile)}
	m := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		TlsCertificates:       []*tlsv3.TlsCertificate{{CertificateChain: file(t.CertFile), PrivateKey: file(t.KeyFile)}},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation},
		AlpnProtocols:         []string{"h2"},
	}}
	expectName(m, validation, t.Name)
	config, err := anypb.New(m)
	if err != nil {
		return fmt.Errorf("the cluster %s: %w", c.GetName(), err)
	}
	c.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config},
	}
	c.ConnectTimeout = durationpb.New(slower)
	return nil
}
