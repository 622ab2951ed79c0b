package harness

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Stream is an answer that is read event by event.
type Stream struct {
	Answer // status and headers; its Body is empty

	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

// Event is one server-sent event.
type Event struct {
	Name string // empty: "message"
	Data string
}

// Open makes a call and returns once its headers are there.
func (c *Client) Open(t testing.TB, call Call) *Stream {
	t.Helper()
	ctx, cancel := context.WithCancel(Context(t))
	t.Cleanup(cancel)
	req, tag, err := c.request(ctx, call)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &Stream{Answer: answer(res, tag), res: res, lines: bufio.NewReader(res.Body), cancel: cancel}
}

// Next returns the next event; io.EOF at the end of a whole answer.
func (s *Stream) Next() (Event, error) {
	var e Event
	begun := false
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && (begun || line != "") {
				err = io.ErrUnexpectedEOF
			}
			return Event{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && begun:
			return e, nil
		case name == "event":
			e.Name, begun = value, true
		case name == "data":
			if e.Data != "" {
				e.Data += "\n"
			}
			e.Data, begun = e.Data+value, true
		}
	}
}

// ReadUntil reads events up to the first whose data holds this text.
func (s *Stream) ReadUntil(t testing.TB, text string) Event {
	t.Helper()
	for {
		e, err := s.Next()
		if err != nil {
			t.Fatalf("the stream (status %d, key %q) ended before %q: %v", s.Status, s.Key, text, err)
		}
		if strings.Contains(e.Data, text) {
			return e
		}
	}
}

// Read implements io.Reader: the answer's bytes as they come, from where the last event ended.
func (s *Stream) Read(p []byte) (int, error) { return s.lines.Read(p) }

// Abort goes away as a client that lost interest: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
func (s *Stream) Abort() {
	s.cancel()
	_ = s.res.Body.Close()
}

// Begin makes a call in the background and returns what makes the client go away. Whatever is answered until then is
// read and dropped; that there is no answer at all is no failure.
func (c *Client) Begin(t testing.TB, call Call) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(Context(t))
	req, _, err := c.request(ctx, call)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := c.http.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}()
	leave = func() {
		cancel()
		<-gone
	}
	t.Cleanup(leave)
	return leave
}
