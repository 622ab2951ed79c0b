package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keywheel/xds/admin"
	"keywheel/xds/event"
)

// checkMessage wants a message to be as the document describes it.
func (d openAPI) checkMessage(t *testing.T, m message) {
	t.Helper()
	items := openAPI(d.at("paths", streamPath, "get", "responses", "200", "content", "text/event-stream", "schema", "items"))
	kinds, _ := items["oneOf"].([]any)
	for _, k := range kinds {
		schema, _ := k.(map[string]any)
		if openAPI(schema).at("properties", "event")["const"] != m.kind {
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(m.data), &v); err != nil {
			t.Fatal(err)
		}
		for _, problem := range d.problems(openAPI(schema).at("properties", "data"), v, m.kind) {
			t.Error(problem)
		}
		return
	}
	t.Errorf("the document has no message %q", m.kind)
}

const moment = 10 * time.Millisecond

// TestStream has a state at once, then only what changes, and a state every 15 s that says that all is well.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t)
		defer s.close()
		s.account.change(func(a *account) { a.events = []event.Event{crossing()} })
		w := s.watch(t)
		defer w.leave()
		if kind := w.header.Get("Content-Type"); w.status != 200 || kind != "text/event-stream" || w.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d, %v", w.status, w.header)
		}
		synctest.Wait()
		all, _ := w.take()
		if len(all) != 1 {
			t.Fatalf("got %d messages at once", len(all))
		}
		s.doc.checkMessage(t, all[0])
		wantJSON(t, []byte(all[0].data), `{"pool": `+string(s.fixture.call(t, "GET", "/api/v1/pool", readToken, "", 200))+
			`, "keys": `+string(s.fixture.call(t, "GET", "/api/v1/keys", readToken, "", 200))+`, "proxies": `+string(s.fixture.call(t, "GET", "/api/v1/proxies", readToken, "", 200))+`}`)
		w.want(t, 14*time.Second, "")
		w.want(t, 2*time.Second, "state")

		s.account.change(func(a *account) { a.view.Pool.Used++ })
		w.want(t, 600*time.Millisecond, "state")
		s.account.change(func(a *account) { a.view.Keys[1].Disabled = true })
		w.want(t, 600*time.Millisecond, "state")
		s.account.change(func(a *account) { a.view.Proxies[0].Connected = false })
		w.want(t, 600*time.Millisecond, "state")
		s.account.change(func(a *account) { // an Envoy reports, and nothing happened
			a.view.Proxies[0].LastReport, a.view.Proxies[0].SkewMS = afternoon.Add(time.Second), 7
			a.view.Proxies[0].Reports++
			a.view.Now = a.view.Now.Add(time.Second)
		})
		w.want(t, 3*time.Second, "")
		if _, _, err := s.keys.Add(t.Context(), "", patchOf("gsk_CANARYadded5vLq0Zb7dW1nRk8s"), byTest); err != nil {
			t.Fatal(err)
		}
		if _, err := s.keys.Change(t.Context(), "2", patchOf("gsk_CANARYother5vLq0Zb7dW1nRk8s"), byTest); err != nil {
			t.Fatal(err)
		}
		w.want(t, 600*time.Millisecond, "state") // key 2 is marked as changed

		for range 20 { // ten changes a second
			s.account.change(func(a *account) { a.view.Pool.Used++ })
			<-time.After(100 * time.Millisecond)
		}
		if n := len(strings.Split(w.after(t, moment), ", ")); n > 4 {
			t.Errorf("%d states in two seconds", n)
		}
		w.want(t, 5*time.Minute, strings.TrimSuffix(strings.Repeat("state, ", 20), ", "))
	})
}

// TestStreamTellsEvents once each, in order, but none of before.
func TestStreamTellsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t)
		defer s.close()
		happens := func(ids ...int64) {
			s.account.change(func(a *account) {
				for _, id := range ids {
					e := crossing()
					e.ID = id
					a.events = append(a.events, e)
				}
			})
		}
		first := s.watch(t)
		defer first.leave()
		first.want(t, moment, "state")
		happens(7, 8)
		synctest.Wait()
		<-time.After(600 * time.Millisecond)
		synctest.Wait()
		all, _ := first.take()
		if len(all) != 2 {
			t.Fatalf("got %v", all)
		}
		s.doc.checkMessage(t, all[0])
		var e admin.Event
		if err := json.Unmarshal([]byte(all[0].data), &e); err != nil || e.ID != "7" || !strings.Contains(e.Title, "Groq Key 1 at 75%") {
			t.Errorf("got %+v, %v", e, err)
		}
		second := s.watch(t)
		defer second.leave()
		second.want(t, moment, "state")
		happens(9)
		first.want(t, 600*time.Millisecond, "event 9")
		second.want(t, moment, "event 9")
	})
}

func TestStreamEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(t *testing.T, s *theatre, r *rights, page func(*http.Request))
		within time.Duration
	}{
		"when Keywheel stops": {func(_ *testing.T, s *theatre, _ *rights, _ func(*http.Request)) { close(s.closing) }, moment},
		"when the page signs out": {func(t *testing.T, s *theatre, _ *rights, page func(*http.Request)) {
			s.ask(t, "DELETE", sessionPath, page)
		}, 16 * time.Second},
		"when the token is another": {func(_ *testing.T, _ *theatre, r *rights, _ func(*http.Request)) {
			r.set(func() { r.admin = "another" })
		}, 16 * time.Second},
		"when the session is 12 hours old": {func(_ *testing.T, _ *theatre, r *rights, _ func(*http.Request)) {
			r.set(func() { r.ahead = 12 * time.Hour })
		}, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rights{admin: adminToken, read: readToken}
				s := newTheatre(t, r.use)
				defer s.close()
				cookie := s.signIn(t, adminToken).cookie
				page := func(r *http.Request) {
					r.Header.Del("Authorization")
					r.AddCookie(cookie)
					r.Header.Set("X-Keywheel-Page", "1")
				}
				other, w := s.watch(t), s.watch(t, page)
				defer other.leave()
				defer w.leave()
				w.want(t, 16*time.Second, "state, state")
				c.end(t, s, r, page)
				if got := w.after(t, c.within); !strings.HasSuffix(got, "end") {
					t.Errorf("after %v: got %q, and no end", c.within, got)
				}
				if got := other.after(t, time.Minute); strings.HasSuffix(got, "end") != (name == "when Keywheel stops") {
					t.Errorf("the stream of another token: %q", got)
				}
			})
		})
	}
}

// TestStreamsKeepSessions shows that a page that only listens stays signed in, longer than an idle session lasts.
func TestStreamsKeepSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rights{admin: adminToken, read: readToken}
		s := newTheatre(t, r.use)
		defer s.close()
		b := s.signIn(t, readToken)
		w := s.watch(t, func(r *http.Request) { r.Header.Del("Authorization"); r.AddCookie(b.cookie) })
		defer w.leave()
		for range 5 {
			r.set(func() { r.ahead += time.Hour })
			if got := w.after(t, 16*time.Second); strings.HasSuffix(got, "end") {
				t.Error("the stream has ended")
			}
		}
		b.want(t, "after five hours", 200, "GET", "/api/v1/pool", "")
	})
}

// TestStreamsAreBounded refuses one more than 64, and takes it when another has ended.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t)
		defer s.close()
		var open []*spectator
		for range 64 {
			open = append(open, s.watch(t))
		}
		for _, w := range open {
			w.want(t, 0, "state")
		}
		w := s.do("GET", streamPath, readToken, "")
		s.doc.check(t, "GET", streamPath, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("one more: got %d %s", w.Code, w.Body)
		}
		if w := s.do("HEAD", streamPath, readToken, ""); w.Code != 200 {
			t.Errorf("its headers: got %d", w.Code)
		}
		open[0].leave()
		synctest.Wait()
		last := s.watch(t)
		last.want(t, moment, "state")
		last.leave()
		for _, w := range open {
			w.leave()
		}
	})
}

// TestStreamOfHeadersAlone ends at once: it takes no place.
func TestStreamOfHeadersAlone(t *testing.T) {
	f := newFixture(t)
	for range 100 {
		w := f.do("HEAD", streamPath, readToken, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Fatalf("got %d %v", w.Code, w.Header())
		}
	}
}

// TestDeafClients do not read: their streams end, and their places are free, within seconds.
func TestDeafClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t)
		defer s.close()
		for range 64 {
			conn, err := s.client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET "+streamPath+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+readToken+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if w := s.do("GET", streamPath, readToken, ""); w.Code != http.StatusServiceUnavailable {
			t.Errorf("one more: got %d", w.Code)
		}
		<-time.After(10 * time.Second)
		w := s.watch(t)
		w.want(t, moment, "state")
		w.leave()
	})
}
