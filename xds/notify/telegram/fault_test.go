package telegram_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"keywheel/xds/notify"
	"keywheel/xds/notify/notifytest"
	"keywheel/xds/notify/telegram"
)

var hello = notify.Message{ID: "n-1", Text: "hello"}

// receiver is Telegram, for faults on the way.
var receiver = notifytest.Receiver{
	Name: "Telegram", Host: "telegram.test", URI: "/bot" + token + "/sendMessage", Answer: taken, Now: time.Now,
	Send: func(t testing.TB, ctx context.Context, w notifytest.Way) error {
		t.Helper()
		return send(t, ctx, telegram.Config{APIURL: w.Base, Transport: w.Transport, Timeout: w.Timeout}, hello)
	},
}

func TestFaults(t *testing.T) { receiver.Faults(t) }

// Only the whole body says what came of a message.
func TestBrokenBodies(t *testing.T) {
	receiver.Broken(t, map[string]notifytest.Broken{
		"closed mid-answer":  {Answer: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + taken[:20], Words: "closed too early"},
		"closed mid-chunk":   {Answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\nURI", Words: "closed too early"},
		"broken compression": {Answer: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nURI", Words: "no answer from Telegram"},
	})
}

func TestSlowBodies(t *testing.T) {
	receiver.Slow(t, map[string]notifytest.Answerer{
		"body drips":     notifytest.Drip("HTTP/1.1 200 OK\r\n\r\n"),
		"answered, open": notifytest.Hang("HTTP/1.1 200 OK\r\n\r\n" + taken),
	})
}

// What the system says of an address is shown, and may hold the token if the address is made of it.
func TestTokenInTheSystemsError(t *testing.T) {
	address := "https://api.telegram.org/bot" + token + "/sendMessage"
	c := telegram.Config{Transport: notifytest.RoundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(address)}
	})}
	notifytest.Outcome(t, send(t, t.Context(), c, hello), "dial tcp: https://api.telegram.org/bot[redacted]/sendMessage", false, 0)
}

// endless is a body without an end, which knows how much of it was read.
type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error {
	e.closed = true
	return nil
}

func TestLongAnswersAreNotReadToTheEnd(t *testing.T) {
	body := &endless{}
	c := telegram.Config{Transport: notifytest.RoundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
	})}
	notifytest.Outcome(t, send(t, t.Context(), c, hello), "not Telegram's", false, 0)
	if body.read > 64<<10 || !body.closed {
		t.Errorf("%d bytes were read; closed: %v", body.read, body.closed)
	}
}
