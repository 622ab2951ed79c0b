package istio

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"istio.io/istio/security/pkg/pki/util"
)

// meshCA signs the identities of a mesh's workloads, as istiod does.
type meshCA struct {
	pem  []byte
	cert *x509.Certificate
	key  any
}

func newMeshCA(t *testing.T) *meshCA {
	t.Helper()
	cert, key, err := util.GenCertKeyFromOptions(util.CertOptions{
		TTL: time.Hour, Org: "cluster.local", IsCA: true, IsSelfSigned: true, ECSigAlg: util.EcdsaSigAlg,
	})
	if err != nil {
		t.Fatal(err)
	}
	ca := &meshCA{pem: cert}
	if ca.cert, err = util.ParsePemEncodedCertificate(cert); err != nil {
		t.Fatal(err)
	}
	if ca.key, err = util.ParsePemEncodedKey(key); err != nil {
		t.Fatal(err)
	}
	return ca
}

// issue makes the certificate and key of a service account.
func (ca *meshCA) issue(t *testing.T, namespace, account string) (cert, key []byte) {
	t.Helper()
	cert, key, err := util.GenCertKeyFromOptions(util.CertOptions{
		Host: "spiffe://cluster.local/ns/" + namespace + "/sa/" + account, TTL: time.Hour, SignerCert: ca.cert, SignerPriv: ca.key,
		ECSigAlg: util.EcdsaSigAlg, IsClient: true, IsServer: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// client is the TLS configuration of a workload that calls another.
func (ca *meshCA) client(t *testing.T, namespace, account, sni string, alpn ...string) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(ca.issue(t, namespace, account))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ServerName: sni, NextProtos: alpn,
		InsecureSkipVerify: true, // names in a mesh are URIs, which the caller would have to compare itself
	}
}
