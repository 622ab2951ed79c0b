package e2e

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// transcription is a call whose model stands in a form.
func transcription(t *testing.T, model string) harness.Call {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := form.WriteField("model", model); err != nil {
		t.Fatal(err)
	}
	file, err := form.CreateFormFile("file", "speech.wav")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, "RIFF"); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return harness.Call{Path: "/openai/v1/audio/transcriptions", Body: &body, Header: http.Header{"Content-Type": {form.FormDataContentType()}}}
}

// A key that is kept for certain models serves those alone, in rank order, and rescues go by the same lists. What cannot
// be seen here may be any model.
func TestKeysKeptForModels(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"GROQ_KEY_1_MODELS": "small", "GROQ_KEY_2_MODELS": "small,large"},
	})
	limited := fakegroq.Rule{Fault: fakegroq.RateTPD, Wait: fakegroq.Duration(time.Hour)}
	for name, c := range s.Clients() {
		t.Run(name, func(t *testing.T) {
			defer s.Recover(t)
			small, large := harness.Call{Model: "small"}, harness.Call{Model: "large", Stream: true}
			tried(t, s, c, small, 200, "", "1")
			tried(t, s, c, large, 200, "", "2")
			tried(t, s, c, harness.Call{Model: "other"}, 200, "", "3")
			tried(t, s, c, harness.Call{Model: "small", Pad: 600 << 10}, 200, "", "3")
			tried(t, s, c, transcription(t, "small"), 200, "", "3")
			tried(t, s, c, harness.Call{Method: "GET", Path: "/v1/models"}, 200, "", "1")

			broken := small
			broken.Script = fakegroq.Rule{Fault: fakegroq.Internal, Only: "1"}
			tried(t, s, c, broken, 200, "", "1 2")
			s.Script(t, "1", limited)
			s.Script(t, "2", limited)
			tried(t, s, c, large, 200, "", "2 3")
			tried(t, s, c, small, 200, "", "1 2 3")
			tried(t, s, c, small, 200, "", "3")
		})
	}
	s.AssertOracle(t)
}

// Where every key is kept for other models the answer says so, at once, and nobody is alarmed: no key is missing. Where
// those that may serve are out, it says when they come back.
func TestModelsThatNoKeyMayServe(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Groq:     fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"GROQ_KEY_1_MODELS": "small", "GROQ_KEY_2_MODELS": "large", "GROQ_KEY_3_MODELS": "large"},
		Args:     onStoryDay,
	})
	calls := int64(0)
	for name, c := range s.Clients() {
		for what, call := range map[string]harness.Call{
			"model other.": {Model: "other"},
			"a model that cannot be seen here. It is named too late in a large body, or in one that is not JSON;" +
				" keys that are kept for certain models do not take it.": transcription(t, "small"),
		} {
			a := tried(t, s, c, call, 403, "model_not_allowed", "")
			if want := "No Groq key may serve " + what; a.ErrorMessage() != want || a.Header.Get("retry-after") != "" || a.Header.Get("x-keywheel-refused") != "" {
				t.Errorf("%s: %s, want %s; %v", name, a.ErrorMessage(), want, a.Header)
			}
			calls++
		}
	}
	limited := fakegroq.Rule{Fault: fakegroq.RateTPD, Wait: fakegroq.Duration(time.Hour)}
	a := tried(t, s, s.H1, harness.Call{Model: "large", Script: limited}, 429, "rate_limit_exceeded", "2 3")
	if got := a.Header.Get("retry-after"); got != "3600" {
		t.Errorf("Groq's 429 says to come back in %s s", got)
	}
	a = tried(t, s, s.H2, harness.Call{Model: "large"}, 429, "all_keys_exhausted", "")
	const until = "cooling until 2025-11-18T15:00:00Z"
	if want := "All 2 Groq keys for model large are out: key 2 " + until + ", key 3 " + until + ". Try again in 1h0m."; a.ErrorMessage() != want {
		t.Errorf("%s\nwant %s", a.ErrorMessage(), want)
	}
	tried(t, s, s.H2, harness.Call{Model: "small"}, 200, "", "1")
	s.AssertOracle(t)
	s.Keywheel.WaitPool(t, "it is no outage", func(p harness.PoolState) error {
		if p.Requests != calls+3 || p.Refused != 1 || p.Succeeded != 1 {
			return fmt.Errorf("pool %+v", p)
		}
		return nil
	})
	var events []struct{ Kind string }
	s.Keywheel.API(t, "/api/v1/events", &events)
	for _, e := range events {
		if e.Kind == "all_out" {
			t.Errorf("it was said that all keys are out: %+v", events)
		}
	}
}
