package harness

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A secret is found in every writing, whatever stands beside it.
func TestLeaksFindsEveryWriting(t *testing.T) {
	secret := "gsk_CANARY/with+signs=and%more"
	for name, data := range map[string]string{
		"plain":   "x" + secret + "y",
		"hex":     hex.EncodeToString([]byte("a" + secret + "b")),
		"HEX":     strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query":   "https://x/?key=" + url.QueryEscape(secret),
		"percent": "%67%73%6B%5F%43%41%4E%41%52%59%2F%77%69%74%68%2B%73%69%67%6E%73%3D%61%6E%64%25%6D%6F%72%65",
	} {
		if len(Leaks(secret, data)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
		for before := range 7 {
			for after := range 4 {
				data := encoding.EncodeToString([]byte(strings.Repeat("<", before) + secret + strings.Repeat(">", after)))
				if len(Leaks(secret, data)) == 0 {
					t.Errorf("base64 with %d bytes before and %d after: not found", before, after)
				}
			}
		}
	}
	if found := Leaks(secret, "gsk_CANARY alone, and "+base64.StdEncoding.EncodeToString([]byte("something else"))); len(found) != 0 {
		t.Errorf("found %v where there is none", found)
	}
}

// Secrets made for tests are different from each other, and look like Groq's.
func TestKeysHaveTheirOwnSecrets(t *testing.T) {
	keys := Keys(3, 600)
	for i, k := range keys {
		if !strings.HasPrefix(k.Secret, "gsk_") || len(k.Secret) < 44 || k.Secret == keys[(i+1)%3].Secret {
			t.Errorf("key %s: a secret of %d bytes", k.ID, len(k.Secret))
		}
	}
}

// Every answer of a stack's clients is looked at, headers, body and trailer.
func TestWatchLooksAtAnswers(t *testing.T) {
	keys := Keys(2, 0)
	w := newWatch(keys)
	w.look(Answer{Header: http.Header{"X-A": {"b"}}, Body: []byte("gsk_CANARY")})
	if len(w.leaks) != 0 {
		t.Fatalf("found %v where there is none", w.leaks)
	}
	w.look(Answer{Header: http.Header{"X-A": {"Bearer " + keys[0].Secret}}})
	w.look(Answer{Body: []byte(hex.EncodeToString([]byte(keys[1].Secret)))})
	w.look(Answer{Trailer: http.Header{"X-T": {base64.StdEncoding.EncodeToString([]byte("x" + keys[0].Secret))}}})
	for _, leak := range []string{"an answer's headers: key 1's secret, plain", "an answer's body: key 2's secret, in hex", "an answer's headers: key 1's secret, in base64"} {
		if w.leaks[leak] != 1 {
			t.Errorf("not found: %s; only %v", leak, w.leaks)
		}
	}
}
