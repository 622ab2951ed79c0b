package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"keywheel/shared/secret"
	"keywheel/xds/notify/notifytest"
	"keywheel/xds/notify/webhook"
)

func TestFaults(t *testing.T) {
	r := notifytest.Receiver{
		Name: "the webhook's receiver", Host: "hooks.test", URI: path, Now: time.Now,
		Send: func(t testing.TB, ctx context.Context, w notifytest.Way) error {
			t.Helper()
			return send(t, ctx, webhook.Config{URL: secret.New(w.Base + path), Transport: w.Transport, Timeout: w.Timeout}, hello)
		},
	}
	r.Faults(t)
}

// The status says all: what comes after it is neither waited for nor read.
func TestBodiesAreNotRead(t *testing.T) {
	for name, answer := range map[string]notifytest.Answerer{
		"closed mid-answer": func(conn net.Conn, _ string) { fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") },
		"drips":             notifytest.Drip("HTTP/1.1 200 OK\r\n\r\n"),
		"hangs":             notifytest.Hang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
		"is no gzip": func(conn net.Conn, uri string) {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(uri), uri)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				c := webhook.Config{URL: secret.New("http://hooks.test" + path), Transport: notifytest.Speaking(answer)}
				if err := send(t, t.Context(), c, hello); err != nil || time.Since(began) != 0 {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// unread is a body that knows what was done with it.
type unread struct{ read, closed bool }

func (u *unread) Read([]byte) (int, error) {
	u.read = true
	return 0, io.EOF
}

func (u *unread) Close() error {
	u.closed = true
	return nil
}

func TestBodiesAreClosed(t *testing.T) {
	for _, status := range []int{200, 302, 404, 503} {
		body := &unread{}
		c := webhook.Config{Transport: notifytest.RoundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: body}, nil
		})}
		if err := send(t, t.Context(), c, hello); (err == nil) != (status == 200) || body.read || !body.closed {
			t.Errorf("%d: %v, %+v", status, err, *body)
		}
	}
}
