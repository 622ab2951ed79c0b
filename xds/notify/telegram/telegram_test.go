package telegram_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
	"keywheel/xds/notify/notifytest"
	"keywheel/xds/notify/telegram"
)

const (
	secretPart = "CANARYaH5dq-TcvCH1vGWJxfSeofSAs_K5PALDsaw"
	token      = "110201543:" + secretPart
	taken      = `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":-100,"type":"channel"}}}`
)

// secrets are what nothing may show.
var secrets = notifytest.Secrets{token, secretPart, "CANARY"}

// send sends by a new Notifier and returns its error, which hides the token as all that was logged does.
func send(t testing.TB, ctx context.Context, c telegram.Config, m notify.Message) error { //nolint:revive // as helpers begin
	t.Helper()
	if c.Token.IsZero() {
		c.Token = secret.New(token)
	}
	if c.ChatID == "" {
		c.ChatID = "-1001234567890"
	}
	var err error
	notifytest.Quiet(t, func() {
		var n *telegram.Notifier
		if n, err = telegram.New(c); err != nil {
			t.Fatal(err)
		}
		err = n.Send(ctx, m)
	})
	secrets.NotInError(t, err)
	return err
}

// answering is a transport that answers everything alike, and hands each request to look if that is not nil.
func answering(status int, body string, look func(*http.Request)) notifytest.RoundTrip {
	return func(r *http.Request) (*http.Response, error) {
		if look != nil {
			look(r)
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

// serve is a server that takes every message; look sees the requests.
func serve(t *testing.T, look func(*http.Request)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		look(r)
		fmt.Fprint(w, taken)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestSend(t *testing.T) {
	for _, chat := range []string{"-1001234567890", "42", "@keywheel_alerts"} {
		for _, slash := range []string{"", "/"} {
			asked := 0
			api := serve(t, func(r *http.Request) {
				asked++
				if r.Method != http.MethodPost || r.URL.Path != "/bot"+token+"/sendMessage" || r.Header.Get("X-Keywheel-Notification-Id") != "n-17" {
					t.Errorf("asked %s %s with %v", r.Method, r.URL.Path, r.Header)
				}
				want := map[string][]string{"chat_id": {chat}, "text": {"one\ntwo"}, "link_preview_options": {`{"is_disabled":true}`}}
				if diff := cmp.Diff(want, r.MultipartForm.Value); diff != "" {
					t.Errorf("the form (-want +got):\n%s", diff)
				}
			})
			err := send(t, t.Context(), telegram.Config{ChatID: chat, APIURL: api + slash}, notify.Message{ID: "n-17", Subject: "unsent", Text: "one\ntwo"})
			if err != nil || asked != 1 {
				t.Errorf("%s: %v after %d requests", chat, err, asked)
			}
		}
	}
}

func TestRepeatsCarryTheSameID(t *testing.T) {
	var ids []string
	statuses := []int{500, 429, 200}
	c := telegram.Config{Transport: notifytest.RoundTrip(func(r *http.Request) (*http.Response, error) {
		ids = append(ids, r.Header.Get("X-Keywheel-Notification-Id"))
		return answering(statuses[len(ids)-1], taken, nil)(r)
	})}
	for i := range statuses {
		if err := send(t, t.Context(), c, notify.Message{ID: "n-1", Text: "x"}); (err == nil) != (i == 2) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	if !slices.Equal(ids, []string{"n-1", "n-1", "n-1"}) {
		t.Errorf("IDs %q", ids)
	}
}

// units counts as Telegram does.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

func TestTextArrivesAsItIs(t *testing.T) {
	var got string
	api := serve(t, func(r *http.Request) { got = r.FormValue("text") })
	longest := strings.Repeat("🚨", 2048)
	if units(longest) != 4096 {
		t.Fatalf("%d units", units(longest))
	}
	texts := map[string]string{
		"markup":        `<b>key</b> *bold* _x_ [a](tg://user?id=1) &amp; ` + "`code`" + ` ||s||`,
		"line breaks":   "a\r\nb\rc\n\n  d\t\n",
		"form parts":    "\r\n--boundary--\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n1",
		"right to left": "مفتاح \u202Egsk\u202C 1",
		"quotes":        `"'\u0041%41+&=;` + "\x00\x1b[31m",
		"4096 units":    longest,
		"not UTF-8":     "a\xff\xfeb",
		"empty":         "",
	}
	for name, text := range texts {
		if err := send(t, t.Context(), telegram.Config{APIURL: api}, notify.Message{ID: "1", Text: text}); err != nil || got != text {
			t.Errorf("%s: %v, got %q", name, err, got)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\r\n--", "--\r\n", "\"", "\\"})).Draw(rt, "text")
		if err := send(t, t.Context(), telegram.Config{APIURL: api}, notify.Message{ID: "1", Text: text}); err != nil || got != text {
			rt.Errorf("%v, got %q; want %q", err, got, text)
		}
	})
}

func TestAnswers(t *testing.T) {
	const badChat = `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`
	for name, tc := range map[string]struct {
		status    int
		body      string
		permanent bool
		after     time.Duration
		want      string // part of the error; empty: none
	}{
		"taken":                       {200, taken, false, 0, ""},
		"taken, result unknown":       {200, `{"ok":true,"result":{"chat":{"id":"no number"},"date":"x"}}`, false, 0, ""},
		"taken, no result":            {200, `{"ok":true}`, false, 0, ""},
		"bad chat":                    {400, badChat, true, 0, "(400 Bad Request: chat not found): see that TELEGRAM_CHAT_ID"},
		"code in the body decides":    {200, badChat, true, 0, "chat not found"},
		"unknown token":               {401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`, true, 0, "(401 Unauthorized): set TELEGRAM_BOT_TOKEN"},
		"no such bot":                 {404, `{"ok":false,"error_code":404,"description":"Not Found"}`, true, 0, "(404 Not Found): set TELEGRAM_BOT_TOKEN"},
		"blocked":                     {403, `{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}`, true, 0, "blocked by the user"},
		"too large":                   {413, `{"ok":false,"error_code":413,"description":"Request Entity Too Large"}`, true, 0, "413"},
		"became a supergroup":         {400, `{"ok":false,"error_code":400,"description":"x","parameters":{"migrate_to_chat_id":-1009876543210}}`, true, 0, "set TELEGRAM_CHAT_ID to -1009876543210"},
		"busy":                        {429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}`, false, 7 * time.Second, "429 Too Many Requests"},
		"busy, as text":               {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":"7"}}`, false, 7 * time.Second, "429"},
		"busy, a fraction":            {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":6.2}}`, false, 7 * time.Second, "429"},
		"busy, negative":              {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":-7}}`, false, 0, "429"},
		"busy, huge":                  {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":9223372036854775807}}`, false, 6 * time.Hour, "429"},
		"busy, beyond a float":        {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":1e999}}`, false, 6 * time.Hour, "429"},
		"busy, no number":             {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":"NaN"}}`, false, 0, "429"},
		"busy, words":                 {429, `{"ok":false,"error_code":429,"parameters":{"retry_after":"soon"}}`, false, 0, "429"},
		"busy, null":                  {429, `{"ok":false,"error_code":429,"parameters":null}`, false, 0, "429"},
		"busy, unsaid":                {429, `{"ok":false,"error_code":429,"description":"Too Many Requests"}`, false, 0, "429"},
		"flood":                       {420, `{"ok":false,"error_code":420,"parameters":{"retry_after":3}}`, false, 3 * time.Second, "420"},
		"asked to try again":          {408, `{"ok":false,"error_code":408}`, false, 0, "408"},
		"broken":                      {500, `{"ok":false,"error_code":500,"description":"Internal Server Error: restart"}`, false, 0, "500 Internal"},
		"bad gateway":                 {502, `<html>`, false, 0, "status 502"},
		"sign-in page":                {200, `<html>sign in</html>`, false, 0, "TELEGRAM_API_URL"},
		"a proxy's refusal":           {403, `<html>blocked</html>`, false, 0, "status 403"},
		"redirect":                    {302, ``, false, 0, "status 302"},
		"nothing":                     {200, ``, false, 0, "TELEGRAM_API_URL"},
		"no code":                     {400, `{"ok":false,"description":"x"}`, false, 0, "status 400"},
		"cut":                         {200, taken[:len(taken)-1], false, 0, "not Telegram's"},
		"other JSON":                  {200, `[1]`, false, 0, "not Telegram's"},
		"ok is text":                  {200, `{"ok":"true"}`, false, 0, "not Telegram's"},
		"ok with a status of failure": {500, taken, false, 0, "status 500"},
		"echo in HTML":                {404, `<p>/bot` + token + `/sendMessage</p>`, false, 0, "status 404"},
		"echo":                        {400, `{"ok":false,"error_code":400,"description":"no /bot` + token + `/x"}`, true, 0, "[redacted]"},
		"echo, escaped":               {400, `{"ok":false,"error_code":400,"description":"` + url.QueryEscape(token) + `"}`, true, 0, "[redacted]"},
		"echo, over-escaped":          {400, `{"ok":false,"error_code":400,"description":"` + strings.NewReplacer(":", "%3A", "-", "%2D", "_", "%5F").Replace(token) + `"}`, true, 0, "[redacted]"},
		"echo, in pieces":             {400, `{"ok":false,"error_code":400,"description":"` + strings.Replace(token, "TcvCH1", "Tcv\\u0000CH1", 1) + `"}`, true, 0, "[redacted]"},
		"echo, at the cut":            {400, `{"ok":false,"error_code":400,"description":"` + strings.Repeat("x", 180) + token + `"}`, true, 0, "xx[redacted]"},
		"hostile description":         {400, `{"ok":false,"error_code":400,"description":"a\u001b[31m\r\nb\u202ec"}`, true, 0, "(400 a[31mbc)"},
		"long description":            {400, `{"ok":false,"error_code":400,"description":"` + strings.Repeat("é", 999) + `"}`, true, 0, "(400 " + strings.Repeat("é", 200) + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "elsewhere") {
					t.Error("a redirect was followed")
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}))
			defer srv.Close()
			err := send(t, t.Context(), telegram.Config{APIURL: srv.URL}, notify.Message{ID: "1", Text: "x"})
			notifytest.Outcome(t, err, tc.want, tc.permanent, tc.after)
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(taken))
	f.Add(429, []byte(`{"ok":false,"error_code":429,"description":"x","parameters":{"retry_after":7}}`))
	f.Add(400, []byte(`{"ok":false,"error_code":400,"description":"\u001b`+token+`","parameters":{"migrate_to_chat_id":-1}}`))
	f.Add(502, []byte("<html>"+token))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		c := telegram.Config{Transport: answering(status, string(body), nil)}
		err := send(t, t.Context(), c, notify.Message{ID: "1", Text: "x"})
		if err == nil {
			if status/100 != 2 || !bytes.Contains(body, []byte("true")) {
				t.Errorf("taken by %d %q", status, body)
			}
			return
		}
		notifytest.Sensible(t, err)
		if text := err.Error(); strings.ContainsAny(text, "\r\n\x1b\x00") || len([]rune(text)) > 400 {
			t.Errorf("unfit to be shown: %q", text)
		}
	})
}

func TestNew(t *testing.T) {
	for name, c := range map[string]telegram.Config{
		"no token":             {ChatID: "1"},
		"token with a slash":   {ChatID: "1", Token: secret.New(token + "/../x")},
		"token with a break":   {ChatID: "1", Token: secret.New(token + "\n")},
		"token with an escape": {ChatID: "1", Token: secret.New(token + "%2f")},
		"no chat":              {Token: secret.New(token)},
		"chat is a name":       {Token: secret.New(token), ChatID: "CANARY"},
		"chat is two":          {Token: secret.New(token), ChatID: "1,2"},
		"no URL":               {Token: secret.New(token), ChatID: "1", APIURL: "://CANARY"},
		"no host":              {Token: secret.New(token), ChatID: "1", APIURL: "https://:1/CANARY"},
		"another scheme":       {Token: secret.New(token), ChatID: "1", APIURL: "ftp://CANARY"},
		"user":                 {Token: secret.New(token), ChatID: "1", APIURL: "https://CANARY@x.example"},
		"query":                {Token: secret.New(token), ChatID: "1", APIURL: "https://x.example/?CANARY"},
		"fragment":             {Token: secret.New(token), ChatID: "1", APIURL: "https://x.example/#"},
	} {
		n, err := telegram.New(c)
		if err == nil || n != nil || !strings.Contains(err.Error(), "TELEGRAM_") {
			t.Errorf("%s: %v", name, err)
		}
		secrets.NotInError(t, err)
	}
}

// What holds the token shows nothing of it when it is printed.
func TestPrinting(t *testing.T) {
	c := telegram.Config{Token: secret.New(token), ChatID: "1"}
	n, err := telegram.New(c)
	if err != nil {
		t.Fatal(err)
	}
	secrets.NotPrinted(t, c, &c, n, *n, notify.Receiver{Notifier: n})
}
