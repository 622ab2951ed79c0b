package fakegroq

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	one = "gsk_test_one"
	two = "gsk_test_two"
)

// start runs a simulated Groq with two keys until the test ends.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.Keys == nil {
		opts.Keys = []Key{{Secret: one, Name: "1"}, {Secret: two, Name: "2"}}
	}
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// client speaks HTTP/1.1, or HTTP/2 where h2 says so.
func client(t *testing.T, h2 bool, config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	protocols.SetHTTP2(h2)
	tr := &http.Transport{Protocols: protocols, TLSClientConfig: config, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

type reply struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// post asks for a completion; script goes into the header.
func post(t *testing.T, c *http.Client, s *Server, secret, path, body, script string) (reply, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(deadline(t), http.MethodPost, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	if script != "" {
		req.Header.Set(ScriptHeader, script)
	}
	res, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return reply{res, data, err}, nil
}

const chat = "/openai/v1/chat/completions"

func hello(stream bool) string {
	return `{"messages":[{"role":"user","content":"hi"}],"model":"m-1","stream":` + map[bool]string{true: "true", false: "false"}[stream] + `}`
}

// both runs a test over HTTP/1.1 and over HTTP/2.
func both(t *testing.T, test func(t *testing.T, c *http.Client)) {
	t.Run("h1", func(t *testing.T) { test(t, client(t, false, nil)) })
	t.Run("h2", func(t *testing.T) { test(t, client(t, true, nil)) })
}

// A completion is charged to the key that asked, and the truth knows the bytes that were sent.
func TestCompletionIsChargedAndHashed(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(30, 12)})
		r, err := post(t, c, s, one, chat, hello(false), "")
		if err != nil || r.err != nil || r.StatusCode != 200 {
			t.Fatal(r.Response, err)
		}
		var body struct {
			Usage  struct{ Total_tokens int64 }
			X_groq struct{ ID string }
		}
		if err := json.Unmarshal(r.body, &body); err != nil {
			t.Fatalf("%v in %s", err, r.body)
		}
		id := r.Header.Get("x-request-id")
		if body.Usage.Total_tokens != 42 || body.X_groq.ID != id {
			t.Errorf("usage %d, x_groq.id %s, want 42, %s", body.Usage.Total_tokens, body.X_groq.ID, id)
		}
		if r.Header.Get("retry-after") != "" || !strings.Contains(r.Header.Get("set-cookie"), "__cf_bm=") {
			t.Errorf("headers %v", r.Header)
		}
		got, err := s.WaitRequest(deadline(t), id)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(r.body)
		if got.AnswerSHA256 != hex.EncodeToString(sum[:]) || got.AnswerBytes != int64(len(r.body)) || !got.Complete || !got.Told {
			t.Errorf("recorded %+v", got)
		}
		if got.Model != "m-1" || got.Key != "1" || got.BodyBytes != int64(len(hello(false))) {
			t.Errorf("recorded %+v", got)
		}
		a := s.Ledger()[one]
		if a.Tokens.Total() != 42 || a.Requests != 1 || a.Statuses[200] != 1 || a.ByRequest[id] != 42 {
			t.Errorf("account %+v", a)
		}
	})
}

// A stream names its usage in x_groq, and with include_usage thrice; it ends with [DONE].
func TestStreamShapes(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		s := start(t, Options{TokensFor: FixedTokens(5, 6)})
		for body, want := range map[string]int{
			hello(true): 1,
			strings.Replace(hello(true), "{", `{"stream_options":{"include_usage":true},`, 1): 3,
		} {
			r, err := post(t, c, s, one, chat, body, "")
			if err != nil || r.err != nil {
				t.Fatal(err, r.err)
			}
			if n := bytes.Count(r.body, []byte(`"total_tokens":11`)); n != want {
				t.Errorf("usage stands %d times, want %d, in\n%s", n, want, r.body)
			}
			if !bytes.HasSuffix(r.body, []byte("\n\ndata: [DONE]\n\n")) {
				t.Errorf("no [DONE] at the end of\n%s", r.body)
			}
			for line := range strings.Lines(string(r.body)) {
				data, isData := strings.CutPrefix(strings.TrimSpace(line), "data: ")
				if isData && data != "[DONE]" && !json.Valid([]byte(data)) {
					t.Errorf("no JSON: %s", data)
				}
			}
		}
	})
}

// The other endpoints answer in their shapes; only those that state a usage are charged.
func TestOtherEndpoints(t *testing.T) {
	s := start(t, Options{TokensFor: FixedTokens(5, 6)})
	c := client(t, false, nil)
	for _, e := range []struct {
		path, body, want string
		told             int64
	}{
		{"/openai/v1/responses", `{"model":"m","input":"x"}`, `"output_tokens":6`, 11},
		{"/openai/v1/responses", `{"model":"m","input":"x","stream":true}`, "event: response.completed\n", 11},
		{"/openai/v1/embeddings", `{"model":"m","input":"x"}`, `"usage":{"prompt_tokens":5,"total_tokens":5}`, 5},
		{"/openai/v1/audio/transcriptions", "xx", `"text":`, 0},
		{"/openai/v1/nowhere", "{}", "unknown_url", 0},
	} {
		before := s.Truth().Told()
		r, err := post(t, c, s, one, e.path, e.body, "")
		if err != nil || r.err != nil {
			t.Fatal(err, r.err)
		}
		if !strings.Contains(string(r.body), e.want) {
			t.Errorf("%s: no %s in %s", e.path, e.want, r.body)
		}
		if got := s.Truth().Told() - before; got != e.told {
			t.Errorf("%s: %d tokens told, want %d", e.path, got, e.told)
		}
	}
}

// Every fault that is an answer has its status, a body that parses, and a retry-after only where Groq has one.
func TestFaultsAnswerInGroqsShapes(t *testing.T) {
	s := start(t, Options{})
	c := client(t, false, nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for name, f := range faults {
		r, err := post(t, c, s, one, chat, hello(false), "fault="+string(name))
		if err != nil || r.err != nil {
			t.Fatal(err, r.err)
		}
		if r.StatusCode != f.status {
			t.Errorf("%s: status %d, want %d", name, r.StatusCode, f.status)
		}
		if f.message == nil {
			if len(r.body) != 0 {
				t.Errorf("%s: %s", name, r.body)
			}
			continue
		}
		var body struct {
			Error struct{ Message, Type, Code string }
		}
		err = json.Unmarshal(r.body, &body)
		if f.html != (err != nil) || !f.html && (body.Error.Code != f.code || body.Error.Type != f.kind || body.Error.Message == "") {
			t.Errorf("%s: %s", name, r.body)
		}
		timed := name == RateTPM || name == RateTPD || name == RateRPM || name == RateRPD
		if (r.Header.Get("retry-after") != "") != timed {
			t.Errorf("%s: retry-after %q", name, r.Header.Get("retry-after"))
		}
	}
	if told := s.Truth().Told(); told != 0 {
		t.Errorf("%d tokens told by errors", told)
	}
}

// A limit's wait stands in the body to the millisecond, and rounded up in retry-after, unless the rule says otherwise.
func TestLimitNamesItsWait(t *testing.T) {
	s := start(t, Options{})
	c := client(t, false, nil)
	for script, want := range map[string][2]string{
		"fault=429-tpd,wait=10m39.36s":             {"Please try again in 10m39.36s.", "640"},
		"fault=429-tpm":                            {"(TPM): Limit 6000, ", "8"},
		"fault=429-rpm,retry_after=none":           {"Please try again in 2s.", ""},
		`{"fault":"429-rpd","retry_after":"soon"}`: {"Please try again in 1m26.4s.", "soon"},
		"fault=429-vague":                          {"Requested", ""},
	} {
		r, err := post(t, c, s, one, chat, hello(false), script)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(r.body), want[0]) || r.Header.Get("retry-after") != want[1] {
			t.Errorf("%s: retry-after %q, %s", script, r.Header.Get("retry-after"), r.body)
		}
	}
}

// Rules of a key hold for that key, so many times, and a header's rule goes first but not for another key.
func TestRulesHoldForTheirRequests(t *testing.T) {
	s := start(t, Options{})
	c := client(t, false, nil)
	if err := s.Script(one, Rule{Fault: Internal, Count: 2}, Rule{Fault: OverCapacity, Model: "m-2"}); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		secret, model, script string
		want                  int
	}{
		{two, "m-1", "", 200},
		{one, "m-1", "fault=422,only=2", 500},
		{two, "m-1", "fault=422,only=2", 422},
		{one, "m-1", "", 500},
		{one, "m-1", "", 200},
		{one, "m-2", "", 503},
		{one, "m-2", "", 503},
		{"gsk_nobody", "m-1", "", 401},
		{one, "m-1", "nonsense", 501},
	} {
		r, err := post(t, c, s, step.secret, chat, strings.Replace(hello(false), "m-1", step.model, 1), step.script)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != step.want {
			t.Errorf("step %d: %d, want %d", i, r.StatusCode, step.want)
		}
	}
	s.ClearScript(one)
	if r, err := post(t, c, s, one, chat, strings.Replace(hello(false), "m-1", "m-2", 1), ""); err != nil || r.StatusCode != 200 {
		t.Errorf("after clearing: %v, %v", r.Response, err)
	}
	if err := s.Script(one, Rule{Fault: "no such"}); err == nil {
		t.Error("an unknown fault was taken")
	}
}
