package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"keywheel/e2e/fakegroq"
)

// Model is the model that calls name unless they say otherwise.
const Model = "llama-3.1-8b-instant"

// ClientSecret is what clients send as their own key. It must never go further than Envoy.
const ClientSecret = "gsk_the_clients_own_5vLq0Zb7dW1nRk8sYt3mXc6pJf9hGa2e"

// ChatPath is where calls go unless they say otherwise.
const ChatPath = "/openai/v1/chat/completions"

// Client speaks one HTTP version to one listener.
type Client struct {
	base  string
	http  *http.Client
	watch *watch // what must stand in no answer; nil: nothing
}

// NewClient makes a client of a listener, host:port. h2 is HTTP/2 with prior knowledge, else it is HTTP/1.1.
// It has no time-out of its own, follows no redirect, and asks for no compression.
func NewClient(t testing.TB, addr string, h2 bool) *Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	tr := &http.Transport{Protocols: protocols, MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &Client{base: "http://" + addr, http: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// HTTP is the client as it is, for what Do does not do.
func (c *Client) HTTP() *http.Client { return c.http }

// URL is the base address, without a path.
func (c *Client) URL() string { return c.base }

// Call is one call. The zero value is a short chat that is not streamed.
type Call struct {
	Method  string // empty: POST
	Path    string // empty: ChatPath
	Host    string // empty: the listener's address
	Header  http.Header
	Trailer http.Header // sent after the body, whose length is not stated then

	// Body is what is sent as it is; nil: a chat made of the fields below.
	Body         io.Reader
	Model        string // empty: Model
	Stream       bool
	IncludeUsage bool
	MaxTokens    int64
	Pad          int64 // bytes of message text that stand before the model's name

	Script   fakegroq.Rule // how the simulated Groq treats each attempt of this call
	Tag      string        // by which the truth knows this call's attempts; empty: made up
	HashOnly bool          // do not keep the answer's body, only its hash
}

// Answer is what the client got. Where the answer broke off, Err says how, and Body holds what came before.
type Answer struct {
	Status  int
	Proto   string
	Header  http.Header
	Trailer http.Header
	Body    []byte
	Bytes   int64
	SHA256  string // hex, of the body
	Err     error

	Key string // x-keywheel-key
	ID  string // x-request-id: names the request in the truth
	Tag string
}

var tags atomic.Int64

// Do makes a call and reads its answer to the end. A call without any answer fails the test.
func (c *Client) Do(t testing.TB, call Call) Answer {
	t.Helper()
	a, err := c.Try(Context(t), call)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return a
}

// Try is Do for other goroutines than the test's, and for calls that may get no answer.
func (c *Client) Try(ctx context.Context, call Call) (Answer, error) {
	req, tag, err := c.request(ctx, call)
	if err != nil {
		return Answer{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Answer{Tag: tag}, err
	}
	defer res.Body.Close()
	a := answer(res, tag)
	hash := sha256.New()
	var body bytes.Buffer
	to := io.Writer(hash)
	if !call.HashOnly {
		to = io.MultiWriter(hash, &body)
	}
	a.Bytes, a.Err = io.Copy(to, res.Body)
	a.Trailer = res.Trailer
	a.Body, a.SHA256 = body.Bytes(), hex.EncodeToString(hash.Sum(nil))
	c.watch.look(a)
	return a, nil
}

func answer(res *http.Response, tag string) Answer {
	return Answer{
		Status: res.StatusCode, Proto: res.Proto, Header: res.Header, Tag: tag,
		Key: res.Header.Get("x-keywheel-key"), ID: res.Header.Get("x-request-id"),
	}
}

// request builds the HTTP request of a call.
func (c *Client) request(ctx context.Context, call Call) (*http.Request, string, error) {
	method, path, body := call.Method, call.Path, call.Body
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = ChatPath
	}
	if body == nil && method == http.MethodPost {
		body = call.chat()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, "", err
	}
	if sized, ok := body.(*sizedReader); ok {
		req.ContentLength = sized.size
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(call.chat()), nil }
	}
	if len(call.Trailer) > 0 {
		req.Trailer, req.ContentLength = call.Trailer, -1
	}
	tag := call.Tag
	if tag == "" {
		tag = fmt.Sprintf("call-%d", tags.Add(1))
	}
	req.Host = call.Host // empty: as the URL says
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+ClientSecret)
	req.Header.Set(fakegroq.TagHeader, tag)
	if call.Script != (fakegroq.Rule{}) {
		req.Header.Set(fakegroq.ScriptHeader, call.Script.String())
	}
	maps.Copy(req.Header, call.Header)
	return req, tag, nil
}

// sizedReader is a body whose length is known though it is never held in memory.
type sizedReader struct {
	io.Reader
	size int64
}

// chat writes the body of a chat as the official clients do: messages first, the model after them.
func (call Call) chat() *sizedReader {
	model := call.Model
	if model == "" {
		model = Model
	}
	const pad = "All work and no play makes a long prompt. "
	head := `{"messages":[{"role":"user","content":"Say hello. `
	end := fmt.Sprintf(`"}],"model":%s`, quoted(model))
	if call.MaxTokens > 0 {
		end += fmt.Sprintf(`,"max_tokens":%d`, call.MaxTokens)
	}
	if call.Stream {
		end += `,"stream":true`
	}
	if call.IncludeUsage {
		end += `,"stream_options":{"include_usage":true}`
	}
	end += "}"
	parts := []io.Reader{strings.NewReader(head)}
	if call.Pad > 0 {
		parts = append(parts, io.LimitReader(&repeated{text: pad}, call.Pad))
	}
	parts = append(parts, strings.NewReader(end))
	return &sizedReader{io.MultiReader(parts...), int64(len(head)) + call.Pad + int64(len(end))}
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""` // not reached: every text can be written
	}
	return string(text)
}

// repeated reads as one text over and over.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		copied := copy(p[n:], r.text[r.at:])
		n += copied
		r.at = (r.at + copied) % len(r.text)
	}
	return n, nil
}

// ErrorCode is error.code of an answer in Groq's error shape; empty if it is none.
func (a Answer) ErrorCode() string { return a.errorField().Code }

// ErrorMessage is error.message of an answer in Groq's error shape.
func (a Answer) ErrorMessage() string { return a.errorField().Message }

func (a Answer) errorField() (e struct{ Message, Type, Code string }) {
	var body struct {
		Error *struct{ Message, Type, Code string } `json:"error"`
	}
	if json.Unmarshal(a.Body, &body) == nil && body.Error != nil {
		e = *body.Error
	}
	return e
}

// String says what the answer was, shortly.
func (a Answer) String() string {
	return fmt.Sprintf("%s %d, key %q, %d bytes, error %v: %.300s", a.Proto, a.Status, a.Key, a.Bytes, a.Err, a.Body)
}

// SHA256 is the hash of the body that a call sends, in hex. The call must not have a Body of its own.
func SHA256(t testing.TB, call Call) string {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, call.chat()); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
