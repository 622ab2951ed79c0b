// Package client speaks to a running control plane's admin API, for the command line.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
)

const (
	timeout     = 10 * time.Second // of a call
	testTimeout = 40 * time.Second // of a test of the notifications, which the control plane ends before that
	maxBody     = 8 << 20          // bytes of an answer
)

// Errors that callers tell apart.
var (
	ErrUnreachable  = errors.New("no control plane answers")
	ErrUnauthorized = errors.New("the control plane does not accept the token")
	ErrNotKeywheel  = errors.New("what answers is not Keywheel's admin API")
)

// Client speaks to one control plane.
type Client struct {
	addr  string
	token secret.Key
	http  *http.Client
}

// New returns a client of the admin API at addr, host:port.
func New(addr string, token secret.Key) *Client {
	return &Client{addr: addr, token: token, http: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: the token is for this address alone
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Pool returns all keys together.
func (c *Client) Pool(ctx context.Context) (admin.Pool, error) {
	return call[admin.Pool](ctx, c, http.MethodGet, "/api/v1/pool")
}

// Keys returns every key, by rank.
func (c *Client) Keys(ctx context.Context) ([]admin.Key, error) {
	return call[[]admin.Key](ctx, c, http.MethodGet, "/api/v1/keys")
}

// Proxies returns the Envoys that report.
func (c *Client) Proxies(ctx context.Context) ([]admin.Proxy, error) {
	return call[[]admin.Proxy](ctx, c, http.MethodGet, "/api/v1/proxies")
}

// Events returns the newest events, or those after the one with an ID, oldest first, at most limit of them.
func (c *Client) Events(ctx context.Context, after string, limit int) ([]admin.Event, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		query.Set("after", after)
	}
	return call[[]admin.Event](ctx, c, http.MethodGet, "/api/v1/events?"+query.Encode())
}

// Summary returns what a day came to.
func (c *Client) Summary(ctx context.Context, date string) (admin.Summary, error) {
	return call[admin.Summary](ctx, c, http.MethodGet, "/api/v1/summaries/"+url.PathEscape(date))
}

// Notifications returns who was told of what, newest first, at most limit of them; with a state only those in it.
func (c *Client) Notifications(ctx context.Context, state string, limit int) ([]admin.Notification, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if state != "" {
		query.Set("state", state)
	}
	return call[[]admin.Notification](ctx, c, http.MethodGet, "/api/v1/notifications?"+query.Encode())
}

// TestNotifications sends a test message to every receiver and returns what came of it.
func (c *Client) TestNotifications(ctx context.Context) ([]admin.Tried, error) {
	return callWithin[[]admin.Tried](ctx, c, testTimeout, http.MethodPost, "/api/v1/notifications/test", nil)
}

// Clear forgets what was learned of a key's organization. It returns the generation with which Envoys know it.
func (c *Client) Clear(ctx context.Context, keyID string) (generation int64, err error) {
	cleared, err := call[admin.Cleared](ctx, c, http.MethodPost, "/api/v1/keys/"+url.PathEscape(keyID)+"/clear")
	return cleared.Generation, err
}

// call asks once and reads the answer as a T.
func call[T any](ctx context.Context, c *Client, method, path string) (T, error) {
	return callWithin[T](ctx, c, timeout, method, path, nil)
}

// callWithin is call for what takes another time.
func callWithin[T any](ctx context.Context, c *Client, within time.Duration, method, path string, sent []byte) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no whole answer came within %s", within))
	defer cancel()
	var answer T
	body, err := c.do(ctx, method, path, sent)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return *new(T), ErrNotKeywheel
	}
	return answer, nil
}

// send is call with a body.
func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return *new(T), err
	}
	return callWithin[T](ctx, c, timeout, method, path, sent)
}

// Ready returns what keeps the control plane from serving Envoys, in a few words each; none if it is ready. It takes no
// token.
func (c *Client) Ready(ctx context.Context) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.exchange(ctx, http.MethodGet, "/readyz", http.NoBody, "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := read(resp)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Ready   *bool    `json:"ready"`
		Missing []string `json:"missing"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Ready == nil || *answer.Ready == (len(answer.Missing) > 0) {
		return nil, ErrNotKeywheel
	}
	return answer.Missing, nil
}

// do asks once. What is not answered by 2xx is an error.
func (c *Client) do(ctx context.Context, method, path string, sent []byte) ([]byte, error) {
	kind := ""
	if len(sent) > 0 {
		kind = "application/json"
	}
	resp, err := c.ask(ctx, method, path, bytes.NewReader(sent), kind)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return read(resp)
}

// ask sends a request; kind is the type of its body, if it has one. An answer that is no success is an error.
func (c *Client) ask(ctx context.Context, method, path string, sent io.Reader, kind string) (*http.Response, error) {
	resp, err := c.exchange(ctx, method, path, sent, kind)
	if err != nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return nil, ErrUnauthorized
	case http.StatusForbidden:
		return nil, fmt.Errorf("%w: the read-only one is not enough for this", ErrUnauthorized)
	}
	body, err := read(resp)
	if err != nil {
		return nil, err
	}
	return nil, refusal(resp.StatusCode, body)
}

// exchange sends a request, whatever it is answered.
func (c *Client) exchange(ctx context.Context, method, path string, sent io.Reader, kind string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, sent)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no address", ErrUnreachable, c.addr)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, withoutURL(err))
	}
	return resp, nil
}

func read(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return body, nil
}

// refusal is the answer's own words, if it is a problem of ours: what is wrong, and of bad values where and why, one a
// line.
func refusal(status int, body []byte) error {
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Location string `json:"location"`
			Message  string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		return fmt.Errorf("%w: it answers %d", ErrNotKeywheel, status)
	}
	text := problem.Detail
	for _, e := range problem.Errors {
		text += "\n" + e.Location + ": " + e.Message
	}
	return errors.New(text)
}

// withoutURL takes off what a message about addr says anyway.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
