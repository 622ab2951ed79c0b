package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keywheel/shared/secret"
)

// silent dials a control plane that takes a request, says no more than answer to it, and waits for the caller to leave.
func silent(answer string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r := bufio.NewReader(theirs)
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
			_, _ = r.ReadByte() // fails once the caller has hung up
		}()
		return ours, nil
	}
}

// TestTimeouts waits long for a test of the notifications alone.
func TestTimeouts(t *testing.T) {
	for name, tc := range map[string]struct {
		call func(context.Context, *Client) error
		want time.Duration
	}{
		"pool":  {func(ctx context.Context, c *Client) error { _, err := c.Pool(ctx); return err }, 10 * time.Second},
		"clear": {func(ctx context.Context, c *Client) error { _, err := c.Clear(ctx, "1"); return err }, 10 * time.Second},
		"test":  {func(ctx context.Context, c *Client) error { _, err := c.TestNotifications(ctx); return err }, 40 * time.Second},
	} {
		for what, answer := range map[string]string{"nothing": "", "half an answer": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]"} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := New("127.0.0.1:8080", secret.New("a-token-that-nobody-guesses"))
					c.http.Transport = &http.Transport{DialContext: silent(answer), DisableKeepAlives: true}
					began := time.Now()
					err := tc.call(t.Context(), c)
					if took := time.Since(began); took != tc.want {
						t.Errorf("took %s, want %s", took, tc.want)
					}
					if !errors.Is(err, ErrUnreachable) || !strings.HasSuffix(err.Error(), ": no whole answer came within "+tc.want.String()) {
						t.Errorf("got %v", err)
					}
				})
			})
		}
	}
}
