package envoy

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

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
