package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
	"keywheel/xds/notify/services"
)

// critical is the message of 90 %: more lines than Discord takes as items.
var critical = notify.Message{
	ID: "0199-42", Subject: "🚨 CRITICAL: Groq Key 1 at 90%",
	Text: "CRITICAL: API Key Quota Nearly Exhausted\n\nProvider: Groq\nKey ID: 1\nUsage: 90.0%\nRemaining: 1,440 tokens\nResets at: 2025-11-19T00:00:00Z\n\n" +
		"⚡ Immediate Action Required:\n- Add backup keys for groq\n- Monitor usage closely\n- Consider rate limiting\n\n" +
		"System will auto-switch to next available key when exhausted.",
}

// Each service is told the text, line by line, and the subject as title if it has one; the next message has its own.
func TestServices(t *testing.T) {
	seen := make(map[string]bool)
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			seen[e.name] = true
			w := newWorld(t, says(http.StatusOK, e.answer, nil))
			n, name, err := services.New(secret.New(e.url))
			if err != nil || name != e.name {
				t.Fatalf("%s: %q %v", e.url, name, err)
			}
			if len(w.requests) != 0 {
				t.Fatalf("something is sent at start: %v", w.requests)
			}
			second := notify.Message{ID: "2", Subject: "ℹ️ Second subject", Text: "Second text"}
			for _, m := range []notify.Message{critical, second} {
				w.requests = nil
				if err := n.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				told := w.told()
				if got := strings.Count(told, m.Subject); (got > 0) != e.title {
					t.Errorf("the subject is told %d times: %s", got, told)
				}
				rest := told
				for line := range strings.SplitSeq(m.Text, "\n") {
					_, after, found := strings.Cut(rest, line)
					if !found {
						t.Fatalf("%q is not told, or not in its place: %s", line, told)
					}
					rest = after
				}
			}
			if told := w.told(); strings.Contains(told, critical.Subject) || strings.Contains(told, "CRITICAL") {
				t.Errorf("the second message has something of the first: %s", told)
			}
		})
	}
	for _, name := range services.Names() {
		if !seen[name] && name != "smtp" && name != "pushbullet" { // these want answers of their own
			t.Errorf("no example of %s", name)
		}
	}
}

// told is all that was sent, decoded, as it is seen.
func (w *world) told() string { return strings.ReplaceAll(w.sent(), "\u2060", "") }

// sent is all that was sent, decoded.
func (w *world) sent() string {
	var b strings.Builder
	for _, r := range w.requests {
		b.WriteString(r.header.Get("Title") + "\n" + r.url + "\n")
		if u, err := url.Parse(r.url); err == nil {
			b.WriteString(u.Query().Get("title") + "\n" + u.Query().Get("text") + "\n")
		}
		var decoded any
		if json.Unmarshal([]byte(r.body), &decoded) == nil {
			flatten(&b, decoded)
		} else if form, err := url.ParseQuery(r.body); err == nil && len(form) > 1 {
			b.WriteString(form.Get("title") + "\n" + form.Get("message") + form.Get("content") + "\n")
		} else {
			b.WriteString(r.body)
		}
	}
	return html.UnescapeString(b.String())
}

// flatten writes the texts of a JSON value, titles and the like first.
func flatten(b *strings.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.WriteString(v + "\n")
	case []any:
		for _, item := range v {
			flatten(b, item)
		}
	case map[string]any:
		for _, key := range []string{
			"title", "text", "summary", "message", "body", "content", "description", "value2", "post", "en_us", "embeds", "attachments", "sections", "discord", "payload",
		} {
			flatten(b, v[key])
		}
	}
}

// Pushbullet says back what it was told, or the library takes it for not told.
func TestPushbullet(t *testing.T) {
	w := newWorld(t, nil)
	w.answer = func(req *http.Request) (*http.Response, error) {
		var push map[string]any
		if err := json.Unmarshal([]byte(w.requests[len(w.requests)-1].body), &push); err != nil {
			return nil, err
		}
		push["active"] = true
		body, err := json.Marshal(push)
		if err != nil {
			return nil, err
		}
		return says(http.StatusOK, string(body), nil)(req)
	}
	n := newNotifier(t, "pushbullet://c4n4ry0000000000000000000000000000/device")
	if err := n.Send(t.Context(), critical); err != nil || len(w.requests) != 1 {
		t.Errorf("%v %v", err, w.requests)
	}
	if told := w.told(); !strings.Contains(told, critical.Subject) || !strings.Contains(told, critical.Text) {
		t.Errorf("it is told %s", told)
	}
}

// Discord gets one message, not one per line: the library mixes more than ten lines up.
func TestDiscord(t *testing.T) {
	w := newWorld(t, says(http.StatusNoContent, "", nil))
	n := newNotifier(t, "discord://c4n4ry@123?splitlines=yes")
	if err := n.Send(t.Context(), critical); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Embeds []struct{ Title, Description string }
	}
	if err := json.Unmarshal([]byte(w.requests[0].body), &got); err != nil || len(w.requests) != 1 || len(got.Embeds) != 1 {
		t.Fatalf("%v: %v", err, w.requests)
	}
	if got.Embeds[0].Title != critical.Subject || got.Embeds[0].Description != critical.Text {
		t.Errorf("it is told %q", got.Embeds[0])
	}
}

// received is what a server of ours got.
type received struct{ Method, Path, Title, Body string }

// serve starts a web server that answers as it is told.
func serve(t *testing.T, status int, answer string, header http.Header) (host string, got func() []received) {
	t.Helper()
	var (
		mu  sync.Mutex
		all []received
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		all = append(all, received{r.Method, r.URL.Path, r.Header.Get("Title"), string(body)})
		mu.Unlock()
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(func() { http.DefaultClient.CloseIdleConnections(); s.Close() })
	return strings.TrimPrefix(s.URL, "http://"), func() []received {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestOverTheWire(t *testing.T) {
	for _, test := range []struct {
		url  string // with HOST
		want []received
	}{
		{"generic://HOST/hook?disabletls=yes", []received{{"POST", "/hook", "", critical.Text}}},
		{"generic+http://HOST/hook", []received{{"POST", "/hook", "", critical.Text}}},
		{"ntfy://HOST/topic?scheme=http", []received{{"POST", "/topic", critical.Subject, critical.Text}}},
		{"ntfy://HOST/topic?scheme=http&disabletlsverification=yes", []received{{"POST", "/topic", critical.Subject, critical.Text}}},
	} {
		host, got := serve(t, http.StatusOK, "{}", nil)
		if err := newNotifier(t, strings.ReplaceAll(test.url, "HOST", host)).Send(t.Context(), critical); err != nil {
			t.Errorf("%s: %v", test.url, err)
		}
		if diff := cmp.Diff(test.want, got()); diff != "" {
			t.Errorf("%s: %s", test.url, diff)
		}
	}
}

func TestRefusedOverTheWire(t *testing.T) {
	for _, form := range []string{
		"generic://HOST/c4n4ry?disabletls=yes", "ntfy://c4n4ry:c4n4ry@HOST/c4n4ry?scheme=http", "gotify://HOST/Ac4n4ry00000000?disabletls=yes",
		"mattermost://HOST/c4n4ry?disabletls=yes", "matrix://:c4n4ry@HOST/?disabletls=yes&rooms=c4n4ry", "bark://:c4n4ry@HOST/?scheme=http",
		"signal://HOST/+15550000/+15550001?disabletls=yes&token=c4n4ry",
	} {
		name, _, _ := strings.Cut(form, ":")
		for status, permanent := range map[int]bool{400: true, 401: true, 404: true, 408: false, 413: true, 425: false, 429: false, 500: false, 503: false} {
			host, _ := serve(t, status, "", http.Header{"Retry-After": {"7"}})
			f := failure(t, newNotifier(t, strings.ReplaceAll(form, "HOST", host)).Send(t.Context(), critical))
			if want := name + ": it answered with HTTP status "; f.Permanent != permanent || !strings.HasPrefix(f.Error(), want) {
				t.Errorf("%s, %d: permanent %v: %v", name, status, f.Permanent, f)
			}
			if ours := name == "ntfy" || name == "gotify" || name == "mattermost"; ours && f.RetryAfter != 7*time.Second {
				t.Errorf("%s: try again after %v", name, f.RetryAfter)
			}
		}
	}
}

// Whatever a service answers, and whatever becomes of the connection, no error has anything of the URL.
func TestErrors(t *testing.T) {
	echo := func(req *http.Request) string {
		return `{"error":"c4n4ry","message":"c4n4ry ` + req.URL.String() + `"}`
	}
	for what, world := range map[string]struct {
		answer    func(*http.Request) (*http.Response, error)
		permanent bool
		says      string
	}{
		"401": {says(401, "", nil), true, "HTTP status 401 (Unauthorized)"},
		"429": {says(429, "", http.Header{"Retry-After": {"0.5"}}), false, "HTTP status 429 (Too Many Requests)"},
		"500": {says(500, "", nil), false, "HTTP status 500 (Internal Server Error)"},
		"refused": {func(*http.Request) (*http.Response, error) {
			return nil, errors.New("dial tcp 192.0.2.1:443: connect: connection refused")
		}, false, "connection refused"},
		"not found": {func(*http.Request) (*http.Response, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "c4n4ry", IsNotFound: true}
		}, false, "cannot be looked up"},
		"slow": {func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, false, "no answer in time"},
		"cut":  {func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, false, "the connection was cut"},
		"not trusted": {func(*http.Request) (*http.Response, error) {
			return nil, errors.New("tls: failed to verify certificate: x509: certificate is valid for c4n4ry")
		}, false, "certificate is not trusted"},
		"echo of 403": {func(r *http.Request) (*http.Response, error) { return says(403, echo(r), nil)(r) }, true, ""},
		"echo of 502": {func(r *http.Request) (*http.Response, error) { return says(502, "<html>"+echo(r), nil)(r) }, false, ""},
	} {
		for _, e := range examples {
			w := newWorld(t, world.answer)
			f := failure(t, newNotifier(t, e.url).Send(t.Context(), critical))
			if len(w.requests) == 0 {
				t.Errorf("%s, %s: nothing is sent: %v", e.name, what, f)
			}
			if e.name == "zulip" && world.says != "" && !strings.Contains(world.says, "HTTP") { // the library panics
				world.says = "cannot be reached"
			}
			// Some answers are repeated by the library without their status; they are then not known to be permanent.
			if !strings.HasPrefix(f.Error(), e.name+": ") || !strings.Contains(f.Error(), world.says) || f.Permanent && !world.permanent ||
				!f.Permanent && world.permanent && world.says != "" {
				t.Errorf("%s, %s: permanent %v: %v", e.name, what, f.Permanent, f)
			}
		}
	}
}

// Slack answers with words of its own.
func TestSlackWords(t *testing.T) {
	for body, permanent := range map[string]bool{"no_service": true, "invalid_token": true, "rollup_error": false, "no_service c4n4ry": false} {
		newWorld(t, says(http.StatusForbidden, body, nil))
		f := failure(t, newNotifier(t, "slack://hook:AAAAAAAAA-BBBBBBBBB-c4n4ry123456789123456789@webhook").Send(t.Context(), critical))
		if f.Permanent != permanent || permanent && !strings.HasSuffix(f.Error(), body) {
			t.Errorf("%s: permanent %v: %v", body, f.Permanent, f)
		}
	}
}

// Bark says its code in the body.
func TestBarkCode(t *testing.T) {
	for body, permanent := range map[string]bool{`{"code":400,"message":"c4n4ry"}`: true, `{"code":500,"message":"c4n4ry"}`: false, `{"message":"c4n4ry"}`: false} {
		newWorld(t, says(http.StatusOK, body, nil))
		if f := failure(t, newNotifier(t, "bark://:c4n4ry@h").Send(t.Context(), critical)); f.Permanent != permanent {
			t.Errorf("%s: permanent %v: %v", body, f.Permanent, f)
		}
	}
}

// Text is text, also where the URL asks for mark-up, of which ours has none.
func TestTelegramText(t *testing.T) {
	for _, mode := range []string{"None", "HTML", "MarkdownV2"} {
		w := newWorld(t, says(http.StatusOK, `{"ok":true,"result":{}}`, nil))
		n := newNotifier(t, "telegram://123456789:c4n4ry_c4n4ry_c4n4ry_c4n4ry_c4n4ry1@telegram?chats=1&parsemode="+mode)
		if err := n.Send(t.Context(), notify.Message{ID: "1", Subject: "1 < 2", Text: "<b> & _c_"}); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Text string
			Mode string `json:"parse_mode"`
		}
		if err := json.Unmarshal([]byte(w.requests[0].body), &got); err != nil || got.Mode != "HTML" ||
			got.Text != "<b>1 &lt;\u2060 2</b>\n&lt;\u2060b&gt; &amp; _c_" {
			t.Errorf("%s: %v %q", mode, err, got)
		}
	}
}

// The library takes a Telegram that cannot be reached for one that took the message.
func TestTelegramIsNotLost(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"no network":     func(*http.Request) (*http.Response, error) { return nil, io.EOF },
		"somebody else":  says(http.StatusOK, "<html>Welcome to our Wi-Fi</html>", nil),
		"another's JSON": says(http.StatusOK, `{"result":{}}`, nil),
		"no":             says(http.StatusOK, `{"ok":false}`, nil),
	} {
		newWorld(t, answer)
		if f := failure(t, newNotifier(t, "telegram://123456789:c4n4ry_c4n4ry_c4n4ry_c4n4ry_c4n4ry1@telegram?chats=1").Send(t.Context(), critical)); f.Permanent {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// A mail server's code is known as such.
func TestMailServer(t *testing.T) {
	for code, permanent := range map[string]bool{"451": false, "554": true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			if conn, err := listener.Accept(); err == nil {
				_, _ = conn.Write([]byte(code + " c4n4ry\r\n"))
				_ = conn.Close()
			}
		}()
		n := newNotifier(t, "smtp://c4n4ry:c4n4ry@"+listener.Addr().String()+"/?from=a@example.org&to=b@example.org")
		if f := failure(t, n.Send(t.Context(), critical)); f.Permanent != permanent || !strings.HasSuffix(f.Error(), "code "+code) {
			t.Errorf("%s: permanent %v: %v", code, f.Permanent, f)
		}
	}
}
