// Package sinks has real servers that receive what Keywheel tells people: one in the shape of Telegram's Bot API, one for
// webhooks, one for mail. A test says how each one answers, and reads what it got.
package sinks

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Received is one message as a sink got it. A message that was sent again is there again.
type Received struct {
	ID   string // by which a receiver tells a repeat
	To   string // chat, or addresses
	Text string
	Raw  []byte // the whole body
}

// Reply is how an HTTP sink answers. The zero value takes the message.
type Reply struct {
	Status int               // 0: as the service does when it takes a message
	Header map[string]string // beside its own
	Body   string
	Hang   bool   // no answer until the client goes away
	Before func() // called when the message is there and nothing is answered yet; it may kill the sender
	After  func() // called when the answer is on its way
}

// HTTP is a sink over HTTP.
type HTTP struct {
	URL string

	read    func(*http.Request) (Received, error)
	taken   string // body of an answer that takes a message
	server  *httptest.Server
	release chan struct{}

	mu    sync.Mutex
	reply func(n int) Reply
	got   []Received
	bad   []error
}

// StartTelegram runs a server in the shape of the Bot API for one bot.
func StartTelegram(t testing.TB, token string) *HTTP {
	t.Helper()
	s := &HTTP{taken: `{"ok":true,"result":{"message_id":1,"date":1,"chat":{"id":1,"type":"private"}}}`}
	s.read = func(r *http.Request) (Received, error) {
		if want := "/bot" + token + "/sendMessage"; r.Method != http.MethodPost || r.URL.Path != want {
			return Received{}, fmt.Errorf("%s of %d characters, want another path", r.Method, len(r.URL.Path))
		}
		if mode := r.FormValue("parse_mode"); mode != "" {
			return Received{}, fmt.Errorf("parse mode %q: markup in a text would count", mode)
		}
		return Received{ID: r.Header.Get("X-Keywheel-Notification-Id"), To: r.FormValue("chat_id"), Text: r.FormValue("text")}, nil
	}
	s.start(t)
	return s
}

// start listens until the test ends. What the sink could not read fails the test.
func (s *HTTP) start(t testing.TB) {
	t.Helper()
	s.release = make(chan struct{})
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.server.URL
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, err := range s.bad {
			t.Errorf("a sink got %v", err)
		}
	})
}

// Answer has f say how each further request is answered; n counts them from 1. Nil: all are taken.
func (s *HTTP) Answer(f func(n int) Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = f
}

// Got is every message that came, taken or not.
func (s *HTTP) Got() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.got...)
}

func (s *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	m, err := s.read(r)
	s.mu.Lock()
	var reply Reply
	if err != nil {
		s.bad = append(s.bad, err)
	} else {
		s.got = append(s.got, m)
		if s.reply != nil {
			reply = s.reply(len(s.got))
		}
	}
	s.mu.Unlock()
	if reply.Before != nil {
		reply.Before()
	}
	if reply.Hang {
		select {
		case <-r.Context().Done():
			return
		case <-s.release:
			reply = Reply{}
		}
	}
	if reply.Status == 0 {
		reply.Status, reply.Body = http.StatusOK, s.taken
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range reply.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(reply.Status)
	_, _ = io.WriteString(w, reply.Body)
	if reply.After != nil {
		_ = http.NewResponseController(w).Flush()
		reply.After()
	}
}

// Release has all that hang answered, as messages that are taken. It can be called once.
func (s *HTTP) Release() { close(s.release) }
