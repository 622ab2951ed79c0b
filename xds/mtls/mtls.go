// Package mtls is how Envoys and the control plane know each other over a network: by certificates of an authority of the
// user's own.
//
// The rules are:
//   - A peer that shows no certificate of the authority gets nothing.
//   - Nothing that is said of the files repeats what is in them, but names, dates and numbers of certificates.
//   - Time is the host's: peers go by theirs.
//   - A new identity holds for connections that begin after it. Those that stand go on.
package mtls

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Part is one of the files that an identity is made of.
type Part int

// The parts.
const (
	Certificate Part = iota // this side's certificate, and those that it was signed through
	Key                     // the certificate's private key
	Authorities             // whose certificates peers must show
)

// Flaw is something that is wrong with a part. It is an error where the identity cannot be used, else something to tell.
type Flaw struct {
	Part  Part
	Wrong string // what is wrong
	Fix   string // what to do; may be empty
}

// Error implements error.
func (f Flaw) Error() string {
	if f.Fix == "" {
		return f.Wrong
	}
	return f.Wrong + "; " + f.Fix
}

// Identity is a certificate with its key, and the authorities whose certificates peers must show. It never changes. The
// zero value is of no use.
type Identity struct {
	own         tls.Certificate
	leaf        *x509.Certificate
	roots       *x509.CertPool
	authorities []*x509.Certificate
	digest      [sha256.Size]byte
}

// Load makes an identity of the contents of three PEM files. The flaws are why there is none: at most one of each part.
func Load(certificate, key, authorities []byte) (*Identity, []Flaw) {
	var flaws []Flaw
	flaw := func(part Part, wrong, fix string) { flaws = append(flaws, Flaw{part, wrong, fix}) }
	chain, wrong := certificates(certificate)
	if wrong != "" {
		flaw(Certificate, wrong, "write the path of a PEM file: the certificate, and below it those that it was signed through")
	}
	signer, wrong, fix := privateKey(key)
	if wrong != "" {
		flaw(Key, wrong, fix)
	}
	roots, wrong := certificates(authorities)
	switch {
	case wrong != "":
		flaw(Authorities, wrong, "write the path of a PEM file with the authority's certificate")
	case !slices.ContainsFunc(roots, isAuthority):
		flaw(Authorities, "it holds certificates, but none of an authority (CA:TRUE)", "write the path of the certificate of the authority that signs the others")
	}
	if signer != nil && chain != nil && !sameKey(chain[0], signer) {
		flaw(Key, "it is not the key of the certificate", "write the path of the key that the certificate was made with")
	}
	if flaws != nil {
		return nil, flaws
	}
	id := &Identity{leaf: chain[0], authorities: roots, roots: x509.NewCertPool()}
	id.own = tls.Certificate{PrivateKey: signer, Leaf: chain[0]}
	for _, c := range chain {
		id.own.Certificate = append(id.own.Certificate, c.Raw)
	}
	for _, c := range roots {
		id.roots.AddCert(c)
	}
	hash := sha256.New()
	for _, part := range [][]byte{certificate, key, authorities} {
		sum := sha256.Sum256(part)
		_, _ = hash.Write(sum[:]) // never fails
	}
	hash.Sum(id.digest[:0])
	return id, nil
}

// certificates reads all certificates of a PEM file.
func certificates(content []byte) (all []*x509.Certificate, wrong string) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Sprintf("its certificate number %d cannot be read", len(all)+1)
		}
		all = append(all, c)
	}
	if all == nil {
		return nil, "it holds no certificate (PEM)"
	}
	return all, ""
}

// privateKey reads the first private key of a PEM file.
func privateKey(content []byte) (key crypto.Signer, wrong, fix string) {
	const write = "write the path of a PEM file with the certificate's private key"
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, "the key is behind a passphrase, which nobody is there to type",
				"write it without one, by openssl pkey, to a file that only Keywheel's user can read"
		case block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY"):
			continue
		}
		if key = parseKey(block.Bytes); key == nil {
			return nil, "its key cannot be read", write
		}
		return key, "", ""
	}
	return nil, "it holds no private key (PEM)", write
}

// parseKey reads a key in any of the forms that there are; nil: it is in none.
func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer) // of a key that only agrees on secrets it is nil
		return signer
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	return nil
}

// isAuthority says whether others' certificates can be of this one.
func isAuthority(c *x509.Certificate) bool {
	return c.IsCA || c.Version < 3 // which could not say so yet
}

func sameKey(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// Expires is when the certificate ends.
func (id *Identity) Expires() time.Time { return id.leaf.NotAfter }

// Names are those that the certificate is for: DNS names, then IP addresses.
func (id *Identity) Names() []string {
	names := slices.Clone(id.leaf.DNSNames)
	for _, ip := range id.leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// CanConnect says whether the certificate may be shown by who opens a connection, too.
func (id *Identity) CanConnect() bool { return id.usable(x509.ExtKeyUsageClientAuth) }

func (id *Identity) usable(as x509.ExtKeyUsage) bool {
	usages := id.leaf.ExtKeyUsage
	return len(usages) == 0 && len(id.leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(usages, as) || slices.Contains(usages, x509.ExtKeyUsageAny)
}

// Digest tells identities apart; all bytes of a nil one's are 0.
func (id *Identity) Digest() [sha256.Size]byte {
	if id == nil {
		return [sha256.Size]byte{}
	}
	return id.digest
}

const (
	soon = 14 * 24 * time.Hour // before its end a certificate is to be renewed
	many = 10                  // authorities: more are no private ones
)

// Concerns are what is wrong with an identity that can be used all the same.
func (id *Identity) Concerns(now time.Time) []Flaw {
	var flaws []Flaw
	tell := func(part Part, wrong, fix string) { flaws = append(flaws, Flaw{part, wrong, fix}) }
	const renew = "renew it, and the new one is taken over while Keywheel runs"
	switch {
	case now.Before(id.leaf.NotBefore):
		tell(Certificate, "it is not valid before "+date(id.leaf.NotBefore)+", and until then every Envoy refuses it", "")
	case now.After(id.leaf.NotAfter):
		tell(Certificate, "it expired at "+date(id.leaf.NotAfter)+", and every Envoy refuses it", renew)
	case id.leaf.NotAfter.Sub(now) < soon:
		tell(Certificate, "it expires at "+date(id.leaf.NotAfter), renew)
	}
	if len(id.Names()) == 0 {
		tell(Certificate, "it is for no host (subjectAltName), so no Envoy can tell whose it is", "make one for the name by which Envoys connect")
	}
	if !id.usable(x509.ExtKeyUsageServerAuth) {
		tell(Certificate, "it is not for servers (extendedKeyUsage), and every Envoy refuses it", "make one with serverAuth")
	}
	if !id.ofAuthorities() {
		tell(Authorities, "the certificate is of another authority: an Envoy that is given the same file refuses it", "")
	}
	if !slices.ContainsFunc(id.authorities, func(c *x509.Certificate) bool { return !now.After(c.NotAfter) }) {
		tell(Authorities, "what it holds has expired, and no Envoy is let in", "renew it")
	}
	if len(id.authorities) > many {
		tell(Authorities, fmt.Sprintf("it holds %d authorities, and whoever has a certificate of any of them is given the keys", len(id.authorities)),
			"name a private one that signs for Envoys only")
	}
	return flaws
}

// ofAuthorities says whether the certificate is of one of the authorities, at any time: whether something has expired is
// another matter.
func (id *Identity) ofAuthorities() bool {
	between := x509.NewCertPool()
	for _, der := range id.own.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	return slices.ContainsFunc(append([]*x509.Certificate{id.leaf}, id.authorities...), func(c *x509.Certificate) bool {
		_, err := id.leaf.Verify(x509.VerifyOptions{
			Roots: id.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: c.NotBefore,
		})
		return err == nil
	})
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Keeper holds the identity in force. Its methods may be called from several goroutines at once.
type Keeper struct{ current atomic.Pointer[Identity] }

// NewKeeper returns a Keeper of an identity.
func NewKeeper(id *Identity) *Keeper {
	k := &Keeper{}
	k.Set(id)
	return k
}

// Identity is the one in force.
func (k *Keeper) Identity() *Identity { return k.current.Load() }

// Set puts an identity in force.
func (k *Keeper) Set(id *Identity) { k.current.Store(id) }

// Server is how a server speaks TLS: each new connection by the identity that is then in force, only with a client that
// shows a certificate of the authorities, and only HTTP/2.
func (k *Keeper) Server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.Identity().server(), nil },
	}
}

func (id *Identity) server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{id.own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    id.roots,
		NextProtos:   []string{"h2"},
		// A ticket would let a client in again by what was once true of it. Connections live long: nothing is lost.
		SessionTicketsDisabled: true,
	}
}
