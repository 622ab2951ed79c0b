package config

import (
	"testing"

	"keywheel/e2e/testca"
)

// TestWatchSeesARenewedCertificate has the files changed one after the other, as most tools do: what does not belong
// together is refused once, and what does is told, though nothing else is another.
func TestWatchSeesARenewedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := testca.NewCA("private")
	must(t, err)
	issue := func() testca.Pair {
		pair, err := ca.Issue(testca.Leaf{Hosts: []string{"keywheel.example"}})
		must(t, err)
		return pair
	}
	first, second := issue(), issue()
	put(t, dir+"/cert.pem", string(first.Certificate))
	put(t, dir+"/key.pem", string(first.Key))
	put(t, dir+"/ca.pem", string(ca.PEM))
	put(t, dir+"/keywheel.yaml", key("gsk_one")+"tls: {cert: cert.pem, key: key.pem, ca: ca.pem}\n")
	w := watch(t, dir, nil)

	put(t, dir+"/cert.pem", string(second.Certificate))
	w.wants("tls.key: it is not the key of the certificate; write the path of the key that the certificate was made with (keywheel.yaml:2)")
	w.isLoaded(func() { put(t, dir+"/cert.pem", string(second.Certificate)+"\n") }) // the same mistake
	put(t, dir+"/key.pem", string(second.Key))
	w.wants("gsk_one")
	put(t, dir+"/ca.pem", "nothing")
	w.wants("tls.ca: it holds no certificate (PEM); write the path of a PEM file with the authority's certificate (keywheel.yaml:2)")
	put(t, dir+"/ca.pem", string(ca.PEM))
	w.wants("gsk_one")
}
