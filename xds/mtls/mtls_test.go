package mtls_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/testca"
	"keywheel/xds/mtls"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newCA(t *testing.T) *testca.CA {
	t.Helper()
	ca, err := testca.NewCA("private")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *testca.CA, leaf testca.Leaf) testca.Pair {
	t.Helper()
	pair, err := ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func load(t *testing.T, pair testca.Pair, authorities []byte) *mtls.Identity {
	t.Helper()
	id, flaws := mtls.Load(pair.Certificate, pair.Key, authorities)
	if flaws != nil {
		t.Fatal(flaws)
	}
	return id
}

func TestWhatCannotBeUsed(t *testing.T) {
	ca := newCA(t)
	pair, other := issue(t, ca, testca.Leaf{Hosts: []string{"a.example"}}), issue(t, ca, testca.Leaf{})
	block := func(kind string, headers map[string]string, content []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: content})
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cannotSign, err := x509.MarshalPKCS8PrivateKey(agreement)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		certificate, key, ca []byte
		part                 mtls.Part
		want                 string
	}{
		"empty certificate":  {nil, pair.Key, ca.PEM, mtls.Certificate, "it holds no certificate"},
		"key as certificate": {pair.Key, pair.Key, ca.PEM, mtls.Certificate, "it holds no certificate"},
		"second is broken": {slices.Concat(pair.Certificate, block("CERTIFICATE", nil, []byte("x"))), pair.Key, ca.PEM,
			mtls.Certificate, "certificate number 2 cannot be read"},
		"certificate as key": {pair.Certificate, pair.Certificate, ca.PEM, mtls.Key, "it holds no private key"},
		"broken key":         {pair.Certificate, block("PRIVATE KEY", nil, []byte("CANARY")), ca.PEM, mtls.Key, "its key cannot be read"},
		"key of another":     {pair.Certificate, other.Key, ca.PEM, mtls.Key, "it is not the key of the certificate"},
		"key for agreement":  {pair.Certificate, block("PRIVATE KEY", nil, cannotSign), ca.PEM, mtls.Key, "its key cannot be read"},
		"passphrase":         {pair.Certificate, block("ENCRYPTED PRIVATE KEY", nil, []byte("x")), ca.PEM, mtls.Key, "passphrase"},
		"old passphrase": {pair.Certificate, block("EC PRIVATE KEY", map[string]string{"Proc-Type": "4,ENCRYPTED"}, []byte("x")), ca.PEM,
			mtls.Key, "passphrase"},
		"no authority":      {pair.Certificate, pair.Key, []byte("x"), mtls.Authorities, "it holds no certificate"},
		"leaf as authority": {pair.Certificate, pair.Key, pair.Certificate, mtls.Authorities, "none of an authority"},
	} {
		t.Run(name, func(t *testing.T) {
			id, flaws := mtls.Load(v.certificate, v.key, v.ca)
			if id != nil || len(flaws) != 1 || flaws[0].Part != v.part || !strings.Contains(flaws[0].Wrong, v.want) || flaws[0].Fix == "" {
				t.Errorf("%v, %q; want %q", id, flaws, v.want)
			}
			for _, f := range flaws {
				if strings.Contains(f.Error(), "CANARY") || strings.Contains(f.Error(), "BEGIN") {
					t.Errorf("it shows what the file holds: %s", f.Error())
				}
			}
		})
	}
	if _, flaws := mtls.Load(nil, nil, nil); len(flaws) != 3 {
		t.Errorf("not all is said at once: %v", flaws)
	}
}

func TestKeysInEveryForm(t *testing.T) {
	ca := newCA(t)
	pair := issue(t, ca, testca.Leaf{Hosts: []string{"a.example"}})
	block, _ := pem.Decode(pair.Key)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	load(t, testca.Pair{Certificate: pair.Certificate, Key: slices.Concat(parameters, old)}, ca.PEM) // as openssl ecparam writes it
	both := slices.Concat(pair.Key, pair.Certificate)
	load(t, testca.Pair{Certificate: both, Key: both}, ca.PEM) // one file with everything
	bag := slices.Concat([]byte("Bag Attributes\n"), pair.Certificate, newCA(t).PEM)
	load(t, testca.Pair{Certificate: bag, Key: pair.Key}, slices.Concat([]byte("# ours\n"), ca.PEM, newCA(t).PEM))

	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})
	if _, flaws := mtls.Load(pair.Certificate, pkcs1, ca.PEM); len(flaws) != 1 || !strings.Contains(flaws[0].Wrong, "not the key of") {
		t.Errorf("an RSA key of another: %v", flaws)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	if _, flaws := mtls.Load(pair.Certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), ca.PEM); len(flaws) != 1 {
		t.Errorf("a key of another curve: %v", flaws)
	}
}

func TestConcerns(t *testing.T) {
	ca := newCA(t)
	hosts := []string{"keywheel.example", "192.0.2.1"}
	for name, v := range map[string]struct {
		leaf testca.Leaf
		ca   []byte
		at   time.Time // zero: now
		want string    // empty: nothing
	}{
		"good":                 {leaf: testca.Leaf{Hosts: hosts}},
		"two weeks and a bit":  {leaf: testca.Leaf{Hosts: hosts, Until: now.Add(14*24*time.Hour + time.Second)}},
		"less than two weeks":  {leaf: testca.Leaf{Hosts: hosts, Until: now.Add(14*24*time.Hour - time.Second)}, want: "it expires at 2026-06-15T11:59:59Z"},
		"expired":              {leaf: testca.Leaf{Hosts: hosts, Until: now.Add(-time.Hour)}, want: "it expired at 2026-06-01T11:00:00Z"},
		"not yet":              {leaf: testca.Leaf{Hosts: hosts, From: now.Add(time.Hour)}, want: "it is not valid before 2026-06-01T13:00:00Z"},
		"no host":              {leaf: testca.Leaf{}, want: "it is for no host"},
		"for clients only":     {leaf: testca.Leaf{Hosts: hosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, want: "it is not for servers"},
		"another authority":    {leaf: testca.Leaf{Hosts: hosts}, ca: newCA(t).PEM, want: "the certificate is of another authority"},
		"two authorities":      {leaf: testca.Leaf{Hosts: hosts}, ca: slices.Concat(newCA(t).PEM, ca.PEM)},
		"a public bundle":      {leaf: testca.Leaf{Hosts: hosts}, ca: slices.Concat(ca.PEM, bytes.Repeat(newCA(t).PEM, 10)), want: "it holds 11 authorities"},
		"an expired authority": {leaf: testca.Leaf{Hosts: hosts, Until: now.AddDate(200, 0, 0)}, at: now.AddDate(100, 0, 0), want: "what it holds has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			authorities, at := v.ca, v.at
			if authorities == nil {
				authorities = ca.PEM
			}
			if at.IsZero() {
				at = now
			}
			flaws := load(t, issue(t, ca, v.leaf), authorities).Concerns(at)
			switch {
			case v.want == "" && len(flaws) > 0, v.want != "" && len(flaws) != 1:
				t.Errorf("%q, want %q", flaws, v.want)
			case v.want != "" && !strings.Contains(flaws[0].Error(), v.want):
				t.Errorf("%q, want %q", flaws[0].Error(), v.want)
			}
		})
	}
}

func TestWhatAnIdentitySays(t *testing.T) {
	ca := newCA(t)
	end := now.Add(time.Hour)
	pair := issue(t, ca, testca.Leaf{Hosts: []string{"192.0.2.1", "b.example", "a.example"}, Until: end, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	id := load(t, pair, ca.PEM)
	if got := id.Names(); !slices.Equal(got, []string{"b.example", "a.example", "192.0.2.1"}) {
		t.Errorf("names %q", got)
	}
	if !id.Expires().Equal(end) || id.CanConnect() {
		t.Errorf("expires %v, can connect %v", id.Expires(), id.CanConnect())
	}
	if !load(t, issue(t, ca, testca.Leaf{Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}), ca.PEM).CanConnect() {
		t.Error("a certificate for everything cannot be shown by a client")
	}
	if load(t, pair, ca.PEM).Digest() != id.Digest() || load(t, pair, append(ca.PEM, '\n')).Digest() == id.Digest() || (*mtls.Identity)(nil).Digest() != [32]byte{} {
		t.Error("digests do not tell identities apart")
	}
}

// FuzzLoad has files of anything: what is refused says why, and no more of what is in them than that.
func FuzzLoad(f *testing.F) {
	ca, err := testca.NewCA("private")
	if err != nil {
		f.Fatal(err)
	}
	pair, err := ca.Issue(testca.Leaf{Hosts: []string{"a.example"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pair.Certificate, pair.Key, ca.PEM)
	f.Add(pair.Key, pair.Certificate, []byte("-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, certificate, key, authorities []byte) {
		id, flaws := mtls.Load(certificate, key, authorities)
		if (id == nil) != (len(flaws) > 0) {
			t.Fatalf("%v with %v", id, flaws)
		}
		for _, flaw := range flaws {
			if len(flaw.Error()) > 300 || strings.Contains(flaw.Error(), "-----") {
				t.Errorf("it says %q", flaw.Error())
			}
		}
		if id != nil {
			_, _, _ = id.Concerns(now), id.Names(), id.CanConnect()
		}
	})
}
