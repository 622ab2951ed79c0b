package groq

import (
	"bytes"
	"encoding/json"
	"testing"
)

// encodedError is what encoding/json makes of an error, which is how Groq's own look.
func encodedError(t *testing.T, message, kind, code string) []byte {
	t.Helper()
	type inner struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    string `json:"code,omitempty"`
	}
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(struct {
		Error inner `json:"error"`
	}{inner{message, kind, code}}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestAppendError(t *testing.T) {
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	for _, message := range []string{
		"All 3 Groq keys are out: key 1 exhausted until 2025-11-19T00:00:00Z. Try again in 9h59m.", "", `"quoted" \ <b>&</b>`,
		string(every), "e\u2028\u2029 🔑 \ud7ff \x7f", "\xf0\x9f\x94", "cut \xe2\x80",
	} {
		for _, code := range []string{"all_keys_exhausted", "", message} {
			got := AppendError([]byte("x"), message, "tokens", code)
			if want := append([]byte("x"), encodedError(t, message, "tokens", code)...); !bytes.Equal(got, want) {
				t.Errorf("%q, code %q:\n got %q\nwant %q", message, code, got, want)
			}
		}
	}
}

func TestAppendErrorCanBeClassified(t *testing.T) {
	body := AppendError(nil, "Please try again in 7.5s.", "requests", "all_keys_exhausted")
	got := Classify(429, ResponseHeaders{}, body)
	if got.Class != ClassLimited || got.Code != "all_keys_exhausted" || got.Wait.Milliseconds() != 7500 {
		t.Errorf("%+v", got)
	}
}
