// Package testca makes certificates for tests, and for a simulated Groq that speaks TLS.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"
)

// Validity of certificates that say nothing else of it: they are good in every test.
var (
	from  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	until = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
)

// CA is a certificate authority that lives in memory only.
type CA struct {
	PEM []byte // its certificate

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Leaf is what a certificate says. Its zero value is for no host, for servers and clients, and good for long.
type Leaf struct {
	Hosts  []string // DNS names and IP addresses
	Usages []x509.ExtKeyUsage
	From   time.Time
	Until  time.Time
}

// Pair is a certificate and its key, as files hold them.
type Pair struct{ Certificate, Key []byte }

var serials atomic.Int64

// NewCA makes an authority.
func NewCA(name string) (*CA, error) {
	template := base(name, from, until)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), certificate: c, key: key}, nil
}

// Pool is a pool that holds this authority only.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// Serve returns a certificate for these hosts, as a server of a test's shows it.
func (ca *CA) Serve(hosts ...string) (tls.Certificate, error) {
	pair, err := ca.Issue(Leaf{Hosts: hosts})
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(pair.Certificate, pair.Key)
}

// Issue signs a certificate.
func (ca *CA) Issue(leaf Leaf) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	if leaf.From.IsZero() {
		leaf.From = from
	}
	if leaf.Until.IsZero() {
		leaf.Until = until
	}
	if leaf.Usages == nil {
		leaf.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	template := base(fmt.Sprint("certificate ", serials.Load()+1), leaf.From, leaf.Until)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, leaf.Usages
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, &key.PublicKey, ca.key)
	if err != nil {
		return Pair{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

func base(name string, from, until time.Time) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until}
}
