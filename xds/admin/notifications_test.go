package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/event"
	"keywheel/xds/notify"
)

func TestNotifications(t *testing.T) {
	f := newFixture(t)
	wantJSON(t, f.call(t, "GET", "/api/v1/notifications", readToken, "", 200), `[]`)
	f.account.notifications = []event.Notification{
		{Seq: 3, ID: "0198-c", Message: "0198-b", Receiver: "email", Event: crossing(), State: event.Waiting},
		{
			Seq: 2, ID: "0198-b", Message: "0198-b", Receiver: "email", Event: crossing(), State: event.Waiting, Attempts: 2, Error: "451 try later",
			TriedAt: afternoon.Add(time.Second), NextAt: afternoon.Add(time.Minute),
		},
		{
			Seq: 1, ID: "0198-a", Message: "0198-a", Receiver: "telegram", Event: crossing(), State: event.Sent, Attempts: 1,
			TriedAt: afternoon.Add(time.Second), SettledAt: afternoon.Add(time.Second),
		},
	}
	const about = `"event_id": "7", "title": "⚠️ WARNING: Groq Key 1 at 75%", "at": "2025-11-18T13:00:00.123Z"`
	wantJSON(t, f.call(t, "GET", "/api/v1/notifications", readToken, "", 200), `[
		{"id": "0198-c", "message_id": "0198-b", "receiver": "email", `+about+`, "state": "waiting", "attempts": 0, "error": null,
		 "tried_at": null, "next_at": null, "settled_at": null},
		{"id": "0198-b", "message_id": "0198-b", "receiver": "email", `+about+`, "state": "waiting", "attempts": 2, "error": "451 try later",
		 "tried_at": "2025-11-18T13:00:01.123Z", "next_at": "2025-11-18T13:01:00.123Z", "settled_at": null},
		{"id": "0198-a", "message_id": "0198-a", "receiver": "telegram", `+about+`, "state": "sent", "attempts": 1, "error": null,
		 "tried_at": "2025-11-18T13:00:01.123Z", "next_at": null, "settled_at": "2025-11-18T13:00:01.123Z"}]`)
}

func TestWhichNotifications(t *testing.T) {
	f := newFixture(t)
	for i := range 300 {
		state := []event.State{event.Waiting, event.Sent, event.Failed}[i%3]
		f.account.notifications = append(f.account.notifications, event.Notification{ID: string(state), Event: crossing(), State: state})
	}
	for query, want := range map[string]map[string]int{
		"":                        {"waiting": 34, "sent": 33, "failed": 33},
		"?state=&limit=3":         {"waiting": 1, "sent": 1, "failed": 1},
		"?state=waiting":          {"waiting": 100},
		"?state=sent&limit=5":     {"sent": 5},
		"?state=failed&limit=999": {"failed": 100},
		"?limit=1000":             {"waiting": 100, "sent": 100, "failed": 100},
	} {
		var told []admin.Notification
		if err := json.Unmarshal(f.call(t, "GET", "/api/v1/notifications"+query, readToken, "", 200), &told); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, n := range told {
			got[n.State]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", query, diff)
		}
	}
}

func TestTestMessages(t *testing.T) {
	const path = "/api/v1/notifications/test"
	f := newFixture(t)
	wantJSON(t, f.call(t, "POST", path, adminToken, "", 200), `[]`)
	f.notifier.outcome = []notify.Tried{
		{Receiver: "telegram"}, {Receiver: "email", Failure: "the server refuses the recipient (550)"}, {Receiver: "slack-2", Failure: "it did not answer in time"},
	}
	wantJSON(t, f.call(t, "POST", path, adminToken, "", 200), `[
		{"receiver": "telegram", "ok": true, "error": null},
		{"receiver": "email", "ok": false, "error": "the server refuses the recipient (550)"},
		{"receiver": "slack-2", "ok": false, "error": "it did not answer in time"}]`)
	f.call(t, "POST", path, readToken, "", 403)
	f.call(t, "POST", path, "", "", 401)
	if w := f.do("GET", path, adminToken, ""); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if f.notifier.tests != 2 {
		t.Errorf("%d tests, want 2", f.notifier.tests)
	}

	f.handler = admin.New(admin.Options{Ledger: f.account, Token: secret.New(adminToken)})
	wantJSON(t, f.call(t, "POST", path, adminToken, "", 200), `[]`)
}

// slow is a notifier whose receiver takes the message after 20 s, the longest that a test may take.
type slow struct{}

func (slow) Try(ctx context.Context) []notify.Tried {
	select {
	case <-ctx.Done():
		return []notify.Tried{{Receiver: "email", Failure: ctx.Err().Error()}}
	case <-time.After(20 * time.Second):
		return []notify.Tried{{Receiver: "email"}}
	}
}

// pipe is a listener whose one connection is a pipe, so that its time-outs go by the test's time.
type pipe struct {
	conns chan net.Conn
	ended chan struct{}
}

func (p pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p pipe) Close() error {
	close(p.ended)
	return nil
}

func (pipe) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// TestSlowTestMessages lets a test take its time under the time-outs of the real server.
func TestSlowTestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := pipe{conns: make(chan net.Conn, 1), ended: make(chan struct{})}
		conn, served := net.Pipe()
		listener.conns <- served
		srv := admin.NewServer(admin.New(admin.Options{Ledger: &account{}, Notifier: slow{}, Token: secret.New(adminToken)}), nil)
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(listener) }()
		defer func() {
			if err := errors.Join(conn.Close(), srv.Close()); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()

		request := "POST /api/v1/notifications/test HTTP/1.1\r\nHost: keywheel\r\nContent-Length: 0\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n"
		if _, err := io.Copy(conn, strings.NewReader(request)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		wantJSON(t, body, `[{"receiver": "email", "ok": true, "error": null}]`)
	})
}
