package e2e

import (
	"fmt"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// Requests of 5 and 30 MiB whose model stands last are served; and when key 1 refuses, after or before it has read them,
// key 2 gets the same bytes in the same call.
func TestLargeRequests(t *testing.T) {
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	scripts := map[string]fakegroq.Rule{
		"served":          {},
		"refused":         {Fault: fakegroq.RateTPM, Only: "1"},
		"refused at once": {Fault: fakegroq.RateTPM, Only: "1", Early: true},
	}
	for version, c := range s.Clients() {
		for _, size := range []int64{5 << 20, 30 << 20} {
			for what, script := range scripts {
				t.Run(fmt.Sprintf("%s/%dMiB/%s", version, size>>20, what), func(t *testing.T) {
					defer s.Recover(t)
					a := c.Do(t, harness.Call{Pad: size, Script: script})
					want := "1"
					if script.Fault != "" {
						want = "1 2"
					}
					attempts := s.Attempts(t, a.Tag)
					if got := harness.KeysOf(attempts); a.Status != 200 || a.Err != nil || got != want {
						t.Fatalf("tried keys %q, want %q: %s", got, want, a)
					}
					last := attempts[len(attempts)-1]
					if last.Model != harness.Model || last.BodyBytes < size || last.BodySHA256 != harness.SHA256(t, harness.Call{Pad: size}) {
						t.Errorf("Groq got %d bytes for model %q, not what was sent", last.BodyBytes, last.Model)
					}
				})
			}
		}
	}
	s.AssertOracle(t)
}

// Giant answers reach the client byte for byte, and the usage behind their giant part is found.
func TestGiantAnswers(t *testing.T) {
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	calls := map[string]harness.Call{
		"64 MiB of JSON":             {Script: fakegroq.Rule{ContentBytes: 64 << 20}},
		"1 MiB in one SSE line":      {Stream: true, Script: fakegroq.Rule{ContentBytes: 1 << 20}},
		"1 MiB before the usage":     {Stream: true, Path: "/openai/v1/responses", Script: fakegroq.Rule{ContentBytes: 1 << 20}},
		"64 MiB of a response":       {Path: "/openai/v1/responses", Script: fakegroq.Rule{ContentBytes: 64 << 20}},
		"an SSE stream byte by byte": {Stream: true, IncludeUsage: true, Script: fakegroq.Rule{Piece: 1}},
		"JSON byte by byte":          {Script: fakegroq.Rule{Piece: 1}},
	}
	for version, c := range s.Clients() {
		for what, call := range calls {
			t.Run(version+"/"+what, func(t *testing.T) {
				call.HashOnly = true
				a := c.Do(t, call)
				attempts := s.Attempts(t, a.Tag)
				if a.Status != 200 || a.Err != nil || len(attempts) != 1 {
					t.Fatalf("%s, tried keys %q", a, harness.KeysOf(attempts))
				}
				if got := attempts[0]; got.AnswerSHA256 != a.SHA256 || got.AnswerBytes != a.Bytes || a.Bytes < call.Script.ContentBytes {
					t.Errorf("Groq sent %d bytes (%s), the client got %d (%s)", got.AnswerBytes, got.AnswerSHA256, a.Bytes, a.SHA256)
				}
				s.AssertOracle(t)
			})
		}
	}
}

// Every allowed endpoint is served, in both spellings, and charged what its answer states.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	for version, c := range s.Clients() {
		for _, base := range []string{"/v1/", "/openai/v1/"} {
			for _, e := range []harness.Call{
				{Path: "chat/completions"}, {Path: "chat/completions", Stream: true, IncludeUsage: true}, {Path: "chat/completions?x=y"},
				{Path: "responses"}, {Path: "responses", Stream: true}, {Path: "embeddings"},
				{Path: "audio/transcriptions"}, {Path: "models", Method: "GET"},
			} {
				path := e.Path
				e.Path = base + path
				a := c.Do(t, e)
				if a.Status != 200 || a.Err != nil || a.Key != "1" {
					t.Errorf("%s %s: %s", version, e.Path, a)
				}
				if got := s.Attempts(t, a.Tag); len(got) != 1 || got[0].Path != "/openai/v1/"+path || got[0].AnswerSHA256 != a.SHA256 {
					t.Errorf("%s %s: Groq saw %+v", version, e.Path, got)
				}
			}
		}
	}
	s.AssertOracle(t)
}

// An answer that Groq would compress if it were let is metered: compression is not asked for on the client's behalf.
func TestCompressionIsNotAskedFor(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	for version, c := range s.Clients() {
		a := c.Do(t, harness.Call{Header: map[string][]string{"Accept-Encoding": {"gzip, br"}}})
		if got := s.Attempts(t, a.Tag); a.Status != 200 || len(got) != 1 || got[0].Header.Get("Accept-Encoding") != "" {
			t.Errorf("%s: %s, Groq saw %+v", version, a, got)
		}
	}
	s.AssertOracle(t)
}
