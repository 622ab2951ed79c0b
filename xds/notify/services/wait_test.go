package services_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keywheel/xds/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow is a server that says nothing until it is told to.
type slow struct {
	host    string
	hits    atomic.Int32
	arrived chan struct{} // a request is there
	left    chan struct{} // and its client has gone
	release chan struct{}
}

func newSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{arrived: make(chan struct{}, 10), left: make(chan struct{}, 10), release: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.hits.Add(1)
		s.arrived <- struct{}{}
		select {
		case <-s.release:
			_, _ = io.WriteString(w, "{}")
		case <-r.Context().Done():
			s.left <- struct{}{}
		}
	}))
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); server.CloseClientConnections(); server.Close() })
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// The library cannot be told to stop: Send returns when it must, and no second message is on its way beside the first.
func TestOneAtATime(t *testing.T) {
	s := newSlow(t)
	n := newNotifier(t, "generic://"+s.host+"/c4n4ry?disabletls=yes")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-s.arrived; cancel() }()
	if f := failure(t, n.Send(ctx, critical)); f.Permanent || f.Error() != "generic: it was broken off" {
		t.Errorf("permanent %v: %v", f.Permanent, f)
	}
	other := notify.Message{ID: "other", Text: "other"}
	for _, m := range []notify.Message{other, critical} {
		gone, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if f := failure(t, n.Send(gone, m)); f.Permanent || !strings.HasSuffix(f.Error(), "still on its way") {
			t.Errorf("permanent %v: %v", f.Permanent, f)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f := failure(t, n.Send(ended, other)); f.Permanent || !strings.HasSuffix(f.Error(), "it was broken off") {
		t.Errorf("permanent %v: %v", f.Permanent, f)
	}
	if hits := s.hits.Load(); hits != 1 {
		t.Errorf("%d messages are on their way", hits)
	}
	close(s.release)
	if err := n.Send(t.Context(), critical); err != nil || s.hits.Load() != 1 {
		t.Errorf("the message that has arrived is sent again: %v, %d", err, s.hits.Load())
	}
	if err := n.Send(t.Context(), other); err != nil || s.hits.Load() != 2 {
		t.Errorf("the next message: %v, %d", err, s.hits.Load())
	}
	if err := n.Send(t.Context(), other); err != nil || s.hits.Load() != 3 {
		t.Errorf("the same, as somebody wants it once more: %v, %d", err, s.hits.Load())
	}
}

// What has arrived late is not taken for another message.
func TestLateIsNotAnother(t *testing.T) {
	s := newSlow(t)
	n := newNotifier(t, "generic://"+s.host+"/c4n4ry?disabletls=yes")
	for hits, next := range []notify.Message{{ID: "other", Text: "other"}, {Text: "without ID"}} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-s.arrived; cancel() }()
		_ = failure(t, n.Send(ctx, notify.Message{Text: "without ID"}))
		s.release <- struct{}{}
		go func() { <-s.arrived; s.release <- struct{}{} }()
		if err := n.Send(t.Context(), next); err != nil || s.hits.Load() != int32(2*hits+2) {
			t.Errorf("%v: %v, %d", next, err, s.hits.Load())
		}
	}
}

func TestNoAnswerInTime(t *testing.T) {
	s := newSlow(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if f := failure(t, newNotifier(t, "generic://"+s.host+"/c4n4ry?disabletls=yes").Send(ctx, critical)); f.Permanent || f.Error() != "generic: no answer in time" {
		t.Errorf("permanent %v: %v", f.Permanent, f)
	}
	close(s.release)
}

// Where the library takes our client, the request itself ends.
func TestRequestsEnd(t *testing.T) {
	for _, form := range []string{
		"ntfy://HOST/c4n4ry?scheme=http", "gotify://HOST/Ac4n4ry00000000?disabletls=yes", "mattermost://HOST/c4n4ry?disabletls=yes",
	} {
		s := newSlow(t)
		n := newNotifier(t, strings.ReplaceAll(form, "HOST", s.host))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-s.arrived; cancel() }()
		if f := failure(t, n.Send(ctx, critical)); f.Permanent || !strings.HasSuffix(f.Error(), "it was broken off") {
			t.Errorf("%s: permanent %v: %v", form, f.Permanent, f)
		}
		<-s.left
		close(s.release)
		if err := n.Send(t.Context(), critical); err != nil || s.hits.Load() != 2 {
			t.Errorf("%s: the next try: %v", form, err)
		}
	}
	if http.DefaultClient.Timeout == 0 {
		t.Error("requests of the others never end")
	}
}
