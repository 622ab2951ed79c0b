package harness

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// Blob is something in which no secret may stand.
type Blob struct {
	Name string
	Data string
}

// AssertNoSecret fails the test for every blob that holds a secret, as it is or in another writing. It names the
// secret by its place in the list, never by its bytes. An empty blob fails too: it would prove nothing.
func AssertNoSecret(t testing.TB, secrets []string, blobs ...Blob) {
	t.Helper()
	if len(secrets) == 0 || len(blobs) == 0 {
		t.Error("nothing to look for, or nowhere to look")
	}
	for _, b := range blobs {
		if b.Data == "" {
			t.Errorf("%s is empty: nothing was looked at", b.Name)
		}
		for i, s := range secrets {
			for _, form := range Leaks(s, b.Data) {
				t.Errorf("%s holds secret %d, %s", b.Name, i+1, form)
			}
		}
	}
}

// Leaks names the writings of a secret that stand in data.
func Leaks(secret, data string) []string {
	var found []string
	for _, w := range writings(secret) {
		if strings.Contains(data, w.text) {
			found = append(found, w.name)
		}
	}
	return found
}

type writing struct{ name, text string }

// writings are the ways in which a secret may be written.
func writings(secret string) []writing {
	all := []writing{
		{"plain", secret},
		{"in hex", hex.EncodeToString([]byte(secret))},
		{"in upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		{"with escapes of a URL", url.QueryEscape(secret)},
	}
	var percent, unicode strings.Builder
	for _, c := range []byte(secret) {
		fmt.Fprintf(&percent, "%%%02X", c)
		fmt.Fprintf(&unicode, `\u%04x`, c)
	}
	all = append(all, writing{"all in escapes of a URL", percent.String()}, writing{"all in escapes of JSON", unicode.String()})
	for _, e := range []struct {
		name     string
		encoding *base64.Encoding
	}{{"in base64", base64.RawStdEncoding}, {"in base64 for URLs", base64.RawURLEncoding}} {
		for before := range 3 {
			all = append(all, writing{e.name, base64Core(e.encoding, secret, before)})
		}
	}
	return all
}

// base64Core is the part of a secret's base64 that does not depend on its neighbours, if so many bytes, modulo three,
// stand before it in what was encoded.
func base64Core(e *base64.Encoding, secret string, before int) string {
	encoded := e.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
	first := (before*8 + 5) / 6             // characters that hold bits of what stands before
	whole := (before + len(secret)) * 8 / 6 // characters all of whose bits are known
	return encoded[first:min(whole, len(encoded))]
}
