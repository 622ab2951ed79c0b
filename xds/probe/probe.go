// Package probe asks Groq whether a key is good, without spending a token: GET /openai/v1/models.
//
// A Prober takes a key that Groq refused back into service once Groq accepts it again. All runs one pass over all keys
// for `keywheel check --live`.
package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"keywheel/shared/secret"
	"keywheel/xds/config"
)

const (
	modelsPath = "/openai/v1/models"
	timeout    = 10 * time.Second // for one key
	maxBody    = 64 << 10         // of an error answer, in bytes
	atOnce     = 4                // keys asked about at the same time
)

// Verdict is what came of asking about a key.
type Verdict string

// The verdicts.
const (
	Works       Verdict = "ok"          // Groq answered 200
	Refused     Verdict = "refused"     // Groq, or something before it, answered otherwise
	Unreachable Verdict = "unreachable" // no answer at all
)

// Result is the verdict on one key. It never holds a secret.
type Result struct {
	KeyID   string
	Verdict Verdict
	Status  int    // HTTP status; 0: no answer
	Code    string // Groq's error code; empty: none
	Reason  string // why there was no answer; empty: there was one
}

// String says what came of it, without the key: "refused (401 invalid_api_key)".
func (r Result) String() string {
	switch {
	case r.Verdict == Works:
		return string(Works)
	case r.Verdict == Unreachable:
		return string(Unreachable) + " (" + r.Reason + ")"
	case r.Code == "":
		return fmt.Sprintf("%s (%d)", Refused, r.Status)
	}
	return fmt.Sprintf("%s (%d %s)", Refused, r.Status, r.Code)
}

// Client asks one upstream.
type Client struct {
	upstream  config.Upstream
	transport http.RoundTripper
}

// NewClient returns a client of upstream. transport is one with checked certificates, TLS 1.2 or later, and no proxy, as
// Envoy's own way to Groq has none, if nil.
func NewClient(upstream config.Upstream, transport http.RoundTripper) *Client {
	if transport == nil {
		transport = &http.Transport{
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        1,
			IdleConnTimeout:     time.Minute,
			TLSHandshakeTimeout: timeout,
		}
	}
	return &Client{upstream: upstream, transport: transport}
}

// Try asks about one key. Redirects are not followed: they would carry the key elsewhere.
func (c *Client) Try(ctx context.Context, keyID string, key secret.Key) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := Result{KeyID: keyID, Verdict: Unreachable}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.upstream.URL()+modelsPath, nil)
	if err != nil {
		r.Reason = "the upstream's address is no URL"
		return r
	}
	req.Header.Set("Authorization", "Bearer "+key.Reveal())
	req.Header.Set("User-Agent", "keywheel")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		r.Reason = strings.ReplaceAll(err.Error(), key.Reveal(), key.String()) // it may quote a broken answer
		return r
	}
	defer resp.Body.Close()
	r.Status = resp.StatusCode
	if r.Status == http.StatusOK {
		r.Verdict = Works
		return r
	}
	r.Verdict = Refused
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil {
		r.Code = errorCode(body, key)
	}
	return r
}

// codeShape is what an error code looks like; anything else in its place is not repeated.
var codeShape = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// errorCode reads error.code, or else error.type, of Groq's error shape.
func errorCode(body []byte, key secret.Key) string {
	if !gjson.ValidBytes(body) {
		return ""
	}
	for _, path := range []string{"error.code", "error.type"} {
		code := gjson.GetBytes(body, path).String()
		if codeShape.MatchString(code) && !strings.Contains(code, key.Reveal()) {
			return code
		}
	}
	return ""
}

// All asks about every key and returns the results in the order of the keys.
func (c *Client) All(ctx context.Context, keys []config.Key) []Result {
	results := make([]Result, len(keys))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, key := range keys {
		group.Go(func() error {
			results[i] = c.Try(ctx, key.ID, key.Secret)
			return nil
		})
	}
	_ = group.Wait() // no result is an error
	return results
}
