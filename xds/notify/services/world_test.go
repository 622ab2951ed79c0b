package services_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
	"keywheel/xds/notify/services"
)

// canary is in each secret part of the URLs below. None of it may be repeated.
const canary = "c4n4ry"

// example is a service's URL, what the service answers when it takes a message, and whether it shows a title.
type example struct {
	name, url, answer string
	title             bool
}

const (
	hex     = "0123456789abcdef0123456789abcdef"
	hexUUID = "01234567-89ab-4cde-8f01-23456789abcd"
)

// examples are URLs of all services but e-mail, with as much as they can hold.
var examples = []example{
	{"bark", "bark://:c4n4rykey@bark.example.org/c4n4rypath?group=c4n4rygroup", `{"code":200}`, true},
	{"discord", "discord://c4n4rytoken@c4n4ryid?thread_id=c4n4rythread", "", true},
	{"discord", "discord://c4n4rytoken@c4n4ryid?splitlines=yes&username=c4n4ry", "", true},
	{"generic", "generic://c4n4ry:c4n4rypass@hooks.example.org/c4n4rypath?template=json&@authorization=c4n4ryauth&c4n4ryq=c4n4ry", "", true},
	{"generic", "generic+https://hooks.example.org/c4n4rypath?template=json&c4n4ry=c4n4ry", "", true},
	{"gotify", "gotify://gotify.example.org/c4n4rypath/Ac4n4ry00000000", `{"id":1}`, true},
	{"gotify", "gotify://gotify.example.org/Ac4n4ry00000000?useheader=yes&insecureskipverify=no", `{"id":1}`, true},
	{"googlechat", "googlechat://chat.googleapis.com/v1/spaces/c4n4ry/messages?key=c4n4rykey&token=c4n4rytoken", "", false},
	{"hangouts", "hangouts://chat.googleapis.com/v1/spaces/c4n4ry/messages?key=c4n4rykey&token=c4n4rytoken", "", false},
	{"ifttt", "ifttt://c4n4ryhook/?events=c4n4ryevent", "", false},
	{"join", "join://shoutrrr:c4n4rykey@join/?devices=c4n4rydevice", "", true},
	{"lark", "lark://open.larksuite.com/c4n4rypath?secret=c4n4rysecret", `{"code":0}`, true},
	{"matrix", "matrix://:c4n4rytoken@matrix.example.org/?rooms=!c4n4ry:example.org", `{"room_id":"!c4n4ry:example.org","event_id":"$1"}`, false},
	{"matrix", "matrix://c4n4ry:c4n4rypass@matrix.example.org/?rooms=c4n4ry:example.org", `{"flows":[{"type":"m.login.password"}],"access_token":"c4n4rygot","room_id":"!c4n4ry:example.org","event_id":"$1"}`, false},
	{"mattermost", "mattermost://c4n4ryuser@chat.example.org/c4n4rytoken/c4n4rychannel", "ok", false},
	{"notifiarr", "notifiarr://c4n4rykey?channel=1234567890", "", true},
	{"ntfy", "ntfy://c4n4ryuser:c4n4rypass@ntfy.example.org/c4n4rytopic?click=https://c4n4ry.example.org", `{"id":"1"}`, true},
	{"opsgenie", "opsgenie://api.opsgenie.com/c4n4rykey?tags=c4n4ry", "", true},
	{"pagerduty", "pagerduty://events.pagerduty.com/" + hex + "?source=c4n4ry", "", false},
	{"pushover", "pushover://shoutrrr:c4n4rytoken@c4n4ryuser/?devices=c4n4rydevice", "", true},
	{"rocketchat", "rocketchat://c4n4ryuser@chat.example.org/c4n4rya/c4n4ryb/c4n4rychannel", "", false},
	{"signal", "signal://c4n4ryuser:c4n4rypass@signal.example.org/+15550000/+15550001?token=c4n4rytoken", `{"timestamp":1}`, false},
	{"slack", "slack://hook:AAAAAAAAA-BBBBBBBBB-c4n4ry123456789123456789@webhook?botname=c4n4ry", "ok", true},
	{"slack", "slack://xoxb:123456789012-1234567890123-c4n4ry123456789123456789@C0c4n4ry", `{"ok":true}`, true},
	{"slack", "slack://c4n4rybot@AAAAAAAAA/BBBBBBBBB/c4n4ry123456789123456789", "ok", true},
	{"teams", "teams://" + hexUUID + "@" + hexUUID + "/" + hex + "/" + hexUUID + "/c4n4ryextra?host=example.webhook.office.com", "1", true},
	{"telegram", "telegram://123456789:c4n4ry_c4n4ry_c4n4ry_c4n4ry_c4n4ry1@telegram?chats=@c4n4rychat", `{"ok":true,"result":{}}`, true},
	{"wecom", "wecom://c4n4ry-key?mentioned_list=c4n4ry", `{"errcode":0}`, false},
	{"zulip", "zulip://c4n4ry-bot%40example.org:c4n4rykey@example.zulipchat.com?stream=c4n4rystream&topic=c4n4rytopic", "", false},
}

// request is what a service was sent.
type request struct {
	url    string
	header http.Header
	body   string
}

// world answers all requests that go to the Internet, in its place.
type world struct {
	requests []request
	answer   func(*http.Request) (*http.Response, error)
}

// newWorld puts a world in place of the Internet until the test ends.
func newWorld(t *testing.T, answer func(*http.Request) (*http.Response, error)) *world {
	t.Helper()
	w := &world{answer: answer}
	before := http.DefaultTransport
	http.DefaultTransport = w
	t.Cleanup(func() { http.DefaultTransport = before })
	return w
}

func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		_ = req.Body.Close()
	}
	w.requests = append(w.requests, request{url: req.URL.String(), header: req.Header.Clone(), body: string(body)})
	return w.answer(req)
}

// says answers everything with a status and a body.
func says(status int, body string, header http.Header) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{
			StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: req,
		}, nil
	}
}

func newNotifier(t *testing.T, url string) *services.Notifier {
	t.Helper()
	n, _, err := services.New(secret.New(url))
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return n
}

// failure is the error of a message that must fail, and holds no secret.
func failure(t *testing.T, err error) *notify.Failure {
	t.Helper()
	var f *notify.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no failure", err)
	}
	hides(t, err)
	return f
}

func hides(t *testing.T, err error) {
	t.Helper()
	if text := strings.ToLower(err.Error()); strings.Contains(text, canary) || strings.Contains(text, hex) || strings.Contains(text, hexUUID) ||
		strings.Contains(text, "://") && !strings.Contains(text, "https://shoutrrr.nickfedor.com says") {
		t.Errorf("an error holds a secret: %v", err)
	}
}
