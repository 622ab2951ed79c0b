// Package telegram sends messages by Telegram's Bot API, https://core.telegram.org/bots/api#sendmessage.
//
// The rules are:
//   - The text arrives as it is: without a parse mode markup is only text, and links have no preview.
//   - A URL of the Bot API holds the bot's token, and the library's errors quote URLs and answers. So none of its errors
//     is passed on: what was answered is read here (refusal.go).
//   - Only a refusal in Telegram's own words is permanent. Any other answer comes from something in between, a proxy or
//     a sign-in page, and may be gone the next time.
package telegram

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
	"keywheel/xds/notify/outgoing"
)

const (
	defaultURL     = "https://api.telegram.org"
	defaultTimeout = 30 * time.Second
	maxAnswer      = 64 << 10 // bytes of an answer's body

	// idHeader tells a proxy or a test's receiver that a message is sent again. Telegram does not look at it.
	idHeader = "X-Keywheel-Notification-Id"
)

// Config is what a Notifier is made of.
type Config struct {
	Token     secret.Key        // the bot's, as @BotFather shows it
	ChatID    string            // a number, or "@" and the name of a channel
	APIURL    string            // empty: https://api.telegram.org
	Transport http.RoundTripper // nil: one of package outgoing
	Timeout   time.Duration     // of one Send; 0: 30 s
}

// Notifier sends messages to one chat.
type Notifier struct {
	token     secret.Key
	chatID    string
	apiURL    string
	transport http.RoundTripper
	timeout   time.Duration
}

var _ notify.Notifier = (*Notifier)(nil)

// What can stand in a URL and a form as it is. Telegram does not say what tokens look like beyond "something like
// 123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11", https://core.telegram.org/bots/api#authorizing-your-bot.
var (
	tokenShape = regexp.MustCompile(`^[A-Za-z0-9:_-]+$`)
	chatShape  = regexp.MustCompile(`^(-?[0-9]+|@[A-Za-z0-9_]+)$`)
)

// New returns a Notifier. It asks Telegram nothing. An error names the setting to change, without its value.
func New(c Config) (*Notifier, error) {
	token := c.Token.Reveal()
	if !tokenShape.MatchString(token) {
		return nil, errors.New("the bot's token is not one: set TELEGRAM_BOT_TOKEN to what @BotFather shows, such as 123456:ABC-DEF")
	}
	if !chatShape.MatchString(c.ChatID) {
		return nil, errors.New("the chat is not known by that: set TELEGRAM_CHAT_ID to a number, or to @ and a channel's name")
	}
	api := strings.TrimRight(cmp.Or(c.APIURL, defaultURL), "/")
	u, err := url.Parse(api)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil ||
		strings.ContainsAny(api, "?#") {
		return nil, errors.New("set TELEGRAM_API_URL to an address such as " + defaultURL + ", without user name, query or fragment")
	}
	n := &Notifier{
		token: c.Token, chatID: c.ChatID, apiURL: api, transport: c.Transport,
		timeout: cmp.Or(c.Timeout, defaultTimeout),
	}
	if n.transport == nil {
		n.transport = outgoing.Transport()
	}
	return n, nil
}

// Send implements notify.Notifier. The text has at most 4096 UTF-16 code units, or Telegram refuses it; the subject is
// not sent.
func (n *Notifier) Send(ctx context.Context, m notify.Message) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	// The library keeps the token as a plain string, so its bot lives no longer than the message.
	x := &exchange{transport: n.transport, id: m.ID}
	b, err := bot.New(n.token.Reveal(), bot.WithServerURL(n.apiURL), bot.WithSkipGetMe(),
		bot.WithHTTPClient(n.timeout, x), bot.WithErrorsHandler(func(error) {})) // its own writes to the process's log
	if err != nil {
		return notify.Permanent(errors.New("the library takes no such bot token: set TELEGRAM_BOT_TOKEN"))
	}
	noPreview := true
	_, err = b.SendMessage(ctx, &bot.SendMessageParams{
		ChatID: n.chatID, Text: m.Text, LinkPreviewOptions: &models.LinkPreviewOptions{IsDisabled: &noPreview},
	})
	switch {
	case x.status != 0:
		return n.answered(x.status, x.body)
	case ctx.Err() != nil:
		return fmt.Errorf("no answer from Telegram: %w", ctx.Err())
	}
	return errors.New("no answer from Telegram: " + n.hide(outgoing.Reason(err)))
}

// exchange is one request of the library's and its answer.
type exchange struct {
	transport http.RoundTripper
	id        string
	status    int // 0: no answer, or one that broke off
	body      []byte
}

// Do implements bot.HttpClient. It follows no redirect: the library's body cannot be sent twice, and the Bot API has
// none.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set(idHeader, x.id)
	resp, err := x.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	x.status, x.body = resp.StatusCode, body
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
