package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"keywheel/shared/secret"
	"keywheel/xds/event"
	"keywheel/xds/notify"
	"keywheel/xds/notify/notifytest"
	"keywheel/xds/notify/webhook"
)

const (
	canary = "CANARY_5f1e9b/0c7d" // in URLs, secrets and answers
	path   = "/hook/CANARY_5f1e9b?token=CANARY_5f1e9b%2F0c7d"
)

var hello = notify.Message{ID: "n-1", Subject: "hello", Text: "hello\nthere", Events: []event.Event{{ID: 1, Kind: event.Test, Level: event.Info}}}

// secrets are what nothing may show: what is secret, and what would come with the URL.
var secrets = notifytest.Secrets{canary, "CANARY", "5f1e9b", "hooks.test/", "127.0.0.1/", "/hook"}

// send sends by a new Notifier and returns its error, which hides the URL as all that was logged does.
func send(t testing.TB, ctx context.Context, c webhook.Config, m notify.Message) error { //nolint:revive // as helpers begin
	t.Helper()
	if c.URL.IsZero() {
		c.URL = secret.New("https://hooks.test" + path)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var err error
	notifytest.Quiet(t, func() {
		var n *webhook.Notifier
		if n, err = webhook.New(c); err != nil {
			t.Fatal(err)
		}
		err = n.Send(ctx, m)
	})
	secrets.NotInError(t, err)
	return err
}

// request is what a receiver got.
type request struct {
	*http.Request
	header http.Header
	body   []byte
}

// serve is a receiver that takes every message; look sees the requests.
func serve(t *testing.T, look func(request)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		look(request{r, r.Header, body})
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// answer is an empty answer.
func answer(status int, header http.Header) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody}
}

// posted returns what a message is sent as.
func posted(t testing.TB, m notify.Message, now time.Time) request {
	t.Helper()
	var got request
	c := webhook.Config{Now: func() time.Time { return now }, Transport: notifytest.RoundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		got = request{r, r.Header, body}
		return answer(http.StatusOK, nil), err
	})}
	if err := send(t, t.Context(), c, m); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSend(t *testing.T) {
	for version, agent := range map[string]string{"1.2.3": "keywheel/1.2.3", "": "keywheel"} {
		now, asked := time.Date(2025, 11, 18, 10, 0, 0, 7, time.UTC), 0
		addr := serve(t, func(r request) {
			asked++
			if r.Method != http.MethodPost || r.RequestURI != path || r.ContentLength != int64(len(r.body)) {
				t.Errorf("asked %s %s", r.Method, r.RequestURI)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "User-Agent": agent, "webhook-id": "n-1", "webhook-timestamp": strconv.FormatInt(now.Unix(), 10),
				"webhook-signature": "", "Authorization": "",
			} {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s is %q; want %q", name, got, want)
				}
			}
		})
		c := webhook.Config{URL: secret.New(addr + path), Version: version, Now: func() time.Time { return now }}
		if err := send(t, t.Context(), c, hello); err != nil || asked != 1 {
			t.Errorf("%v after %d requests", err, asked)
		}
	}
}

func TestUserOfTheURL(t *testing.T) {
	addr := serve(t, func(r request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "CANARY" || password != "5f1e9b@" {
			t.Errorf("%q, %q, %v", user, password, ok)
		}
	})
	c := webhook.Config{URL: secret.New(strings.Replace(addr, "://", "://CANARY:5f1e9b%40@", 1))}
	if err := send(t, t.Context(), c, hello); err != nil {
		t.Error(err)
	}
}

func TestSignature(t *testing.T) {
	longest := strings.Repeat("🚨", 2048)
	if n := len(utf16.Encode([]rune(longest))); n != 4096 {
		t.Fatalf("%d units", n)
	}
	raw := []byte("CANARY_5f1e9b, 24 to 64 bytes")
	for secretName, s := range map[string]struct {
		setting string
		raw     []byte
	}{
		"base64":                     {"whsec_" + base64.StdEncoding.EncodeToString(raw), raw},
		"plain":                      {string(raw), raw},
		"plain that could be base64": {"CANARY5f1e9b0000", []byte("CANARY5f1e9b0000")},
	} {
		for textName, text := range map[string]string{
			"plain": "hello", "markup": `<script>"a"</script> *b* &amp;`, "lines": "a\r\nb\u2028\tc\x00", "right to left": "\u202Eمفتاح\u202C", "long": longest,
			"not UTF-8": "a\xff",
		} {
			t.Run(secretName+", "+textName, func(t *testing.T) {
				asked := 0
				addr := serve(t, func(r request) {
					asked++
					verifier, err := standardwebhooks.NewWebhookRaw(s.raw)
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(s.setting, "whsec_") {
						if verifier, err = standardwebhooks.NewWebhook(s.setting); err != nil {
							t.Fatal(err)
						}
					}
					if err := verifier.Verify(r.body, r.header); err != nil {
						t.Error(err)
					}
					if err := verifier.Verify(append(r.body, ' '), r.header); err == nil {
						t.Error("another body has the same signature")
					}
					mac := hmac.New(sha256.New, s.raw)
					fmt.Fprintf(mac, "n-1.%s.%s", r.header.Get("webhook-timestamp"), r.body)
					if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.header.Get("webhook-signature") != want {
						t.Errorf("signed %s; want %s", r.header.Get("webhook-signature"), want)
					}
				})
				c := webhook.Config{URL: secret.New(addr), Secret: secret.New(s.setting)}
				if err := send(t, t.Context(), c, notify.Message{ID: "n-1", Text: text}); err != nil || asked != 1 {
					t.Errorf("%v after %d requests", err, asked)
				}
			})
		}
	}
}

func TestRepeatsCarryTheSameID(t *testing.T) {
	var ids, times []string
	now := time.Unix(1000, 0)
	statuses := []int{500, 429, 200}
	c := webhook.Config{Now: func() time.Time { return now }, Transport: notifytest.RoundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		ids = append(ids, r.Header.Get("webhook-id"), decoded(t, body)["id"].(string))
		times = append(times, r.Header.Get("webhook-timestamp"))
		return answer(statuses[len(times)-1], nil), err
	})}
	for i := range statuses {
		if err := send(t, t.Context(), c, hello); (err == nil) != (i == 2) {
			t.Errorf("try %d: %v", i, err)
		}
		now = now.Add(time.Minute)
	}
	if got := strings.Join(append(ids, times...), " "); got != "n-1 n-1 n-1 n-1 n-1 n-1 1000 1060 1120" {
		t.Errorf("got %s", got)
	}
}

func TestAnswers(t *testing.T) {
	now := time.Date(2025, 11, 18, 10, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		status    int
		after     string // the header
		permanent bool
		want      time.Duration
		words     string // part of the error; empty: none
	}{
		"ok":                        {200, "", false, 0, ""},
		"accepted":                  {202, "", false, 0, ""},
		"no content":                {204, "9", false, 0, ""},
		"moved":                     {301, "9", true, 0, "set KEYWHEEL_WEBHOOK_URL to the final address"},
		"found":                     {302, "", true, 0, "302 Found"},
		"see other":                 {303, "", true, 0, "303"},
		"not modified":              {304, "", true, 0, "304"},
		"moved, with the same body": {307, "", true, 0, "307"},
		"moved for ever":            {308, "", true, 0, "308"},
		"bad request":               {400, "", true, 0, "400 Bad Request"},
		"unauthorized":              {401, "", true, 0, "_SECRET"},
		"not found":                 {404, "9", true, 0, "404"},
		"gone":                      {410, "", true, 0, "410 Gone"},
		"unknown refusal":           {499, "", true, 0, "(499)"},
		"request timeout":           {408, "", false, 0, "408"},
		"too early":                 {425, "", false, 0, "425"},
		"busy":                      {429, "", false, 0, "429 Too Many Requests"},
		"busy, seconds":             {429, "7", false, 7 * time.Second, "429"},
		"busy, none":                {429, "0", false, 0, "429"},
		"busy, negative":            {429, "-7", false, 0, "429"},
		"busy, fraction":            {429, "7.5", false, 0, "429"},
		"busy, huge":                {429, "86400000", false, 6 * time.Hour, "429"},
		"busy, beyond numbers":      {429, strings.Repeat("9", 99), false, 6 * time.Hour, "429"},
		"busy, words":               {429, canary, false, 0, "429"},
		"busy, date":                {429, "Tue, 18 Nov 2025 10:01:30 GMT", false, 90 * time.Second, "429"},
		"busy, date of old form":    {429, "Tuesday, 18-Nov-25 10:01:30 GMT", false, 90 * time.Second, "429"},
		"busy, past date":           {429, "Tue, 18 Nov 2025 09:00:00 GMT", false, 0, "429"},
		"busy, far date":            {429, "Tue, 18 Nov 2225 10:00:00 GMT", false, 6 * time.Hour, "429"},
		"broken":                    {500, "", false, 0, "500"},
		"bad gateway":               {502, "", false, 0, "502"},
		"unavailable":               {503, "60", false, time.Minute, "503"},
		"unknown failure":           {599, "", false, 0, "599"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Location", "/"+canary)
				w.Header().Set("Retry-After", tc.after)
				w.WriteHeader(tc.status)
				fmt.Fprint(w, canary)
			}))
			defer srv.Close()
			c := webhook.Config{URL: secret.New(srv.URL + path), Secret: secret.New(canary), Now: func() time.Time { return now }}
			err := send(t, t.Context(), c, hello)
			if asked != 1 {
				t.Errorf("%d requests", asked)
			}
			notifytest.Outcome(t, err, tc.words, tc.permanent, tc.want)
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"7", "-1", "99999999999999999999", "Tue, 18 Nov 2025 10:01:30 GMT", "Tue Nov 18 10:01:30 2225", canary, "0x1p9"} {
		f.Add(429, value)
	}
	f.Fuzz(func(t *testing.T, status int, value string) {
		c := webhook.Config{Transport: notifytest.RoundTrip(func(*http.Request) (*http.Response, error) {
			return answer(status, http.Header{"Retry-After": {value}}), nil
		})}
		err := send(t, t.Context(), c, hello)
		if (err == nil) != (status >= 200 && status < 300) {
			t.Errorf("%d: %v", status, err)
		}
		notifytest.Sensible(t, err)
	})
}

func TestNew(t *testing.T) {
	for name, c := range map[string]webhook.Config{
		"no URL":         {},
		"no URL at all":  {URL: secret.New("%" + canary)},
		"no scheme":      {URL: secret.New("hooks.test/" + canary)},
		"another scheme": {URL: secret.New("ftp://hooks.test/" + canary)},
		"no host":        {URL: secret.New("https:///" + canary)},
		"line break":     {URL: secret.New("https://hooks.test/" + canary + "\n")},
		"no base64":      {URL: secret.New("https://hooks.test"), Secret: secret.New("whsec_" + canary)},
		"no secret":      {URL: secret.New("https://hooks.test"), Secret: secret.New("whsec_")},
	} {
		n, err := webhook.New(c)
		if err == nil || n != nil || !strings.Contains(err.Error(), "KEYWHEEL_WEBHOOK_") {
			t.Errorf("%s: %v", name, err)
		}
		secrets.NotInError(t, err)
	}
}

func TestMessageThatIsNoJSON(t *testing.T) {
	m := notify.Message{ID: "n-1", Events: []event.Event{{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	notifytest.Outcome(t, send(t, t.Context(), webhook.Config{}, m), "cannot be written as JSON", true, 0)
}

// What holds the URL and the secret shows nothing of them when it is printed.
func TestPrinting(t *testing.T) {
	c := webhook.Config{URL: secret.New("https://hooks.test" + path), Secret: secret.New("whsec_" + base64.StdEncoding.EncodeToString([]byte(canary))), Now: time.Now}
	n, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	secrets.NotPrinted(t, c, &c, n, *n, notify.Receiver{Notifier: n})
}
