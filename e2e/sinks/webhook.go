package sinks

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// StartWebhook runs a receiver of signed webhooks. A wrong signature fails the test.
func StartWebhook(t testing.TB, secret string) *HTTP {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	s := &HTTP{}
	s.read = func(r *http.Request) (Received, error) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return Received{}, err
		}
		if err := verifier.Verify(raw, r.Header); err != nil {
			return Received{}, err
		}
		var body struct {
			ID   string `json:"id"`
			Text string `json:"text"`
		}
		err = json.Unmarshal(raw, &body)
		return Received{ID: body.ID, Text: body.Text, Raw: raw}, err
	}
	s.start(t)
	return s
}

// StartNtfy runs a server that takes messages as ntfy does.
func StartNtfy(t testing.TB) *HTTP {
	t.Helper()
	s := &HTTP{taken: `{"id":"1","event":"message"}`}
	s.read = func(r *http.Request) (Received, error) {
		raw, err := io.ReadAll(r.Body)
		return Received{To: r.URL.Path, Text: string(raw), Raw: raw}, err
	}
	s.start(t)
	return s
}
