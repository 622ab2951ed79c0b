package telegram

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/tidwall/gjson"

	"keywheel/xds/notify"
)

// maxDescription is the most that is shown of what Telegram says, in characters.
const maxDescription = 200

// answered returns what came of a message by Telegram's answer, https://core.telegram.org/bots/api#making-requests. It is
// nil as soon as "ok" is true: a result that is not understood was delivered all the same, and must not be sent again.
func (n *Notifier) answered(status int, body []byte) error {
	said := gjson.ParseBytes(body)
	code := said.Get("error_code").Int()
	switch ok := said.Get("ok"); {
	case !gjson.ValidBytes(body):
	case ok.Type == gjson.True && status/100 == 2:
		return nil
	case ok.Type == gjson.False && code != 0:
		return n.refused(code, said)
	}
	return fmt.Errorf("the answer, with status %d, is not Telegram's: see that TELEGRAM_API_URL is right, and what stands in between", status)
}

// refused reads an answer in which Telegram gives an error code.
func (n *Notifier) refused(code int64, said gjson.Result) error {
	text := fmt.Sprintf("%d %s", code, n.clean(said.Get("description").String()))
	wait := said.Get("parameters.retry_after")
	switch chat := said.Get("parameters.migrate_to_chat_id").Int(); {
	case chat != 0:
		return notify.Permanent(fmt.Errorf("the chat became a supergroup: set TELEGRAM_CHAT_ID to %d", chat))
	case code == http.StatusTooManyRequests || wait.Exists():
		return &notify.Failure{Err: errors.New("no room at Telegram now: " + text), RetryAfter: seconds(wait.Float())}
	case code == http.StatusUnauthorized || code == http.StatusNotFound:
		return notify.Permanent(fmt.Errorf("no such bot at Telegram (%s): set TELEGRAM_BOT_TOKEN to what @BotFather shows", text))
	case code/100 == 4 && code != http.StatusRequestTimeout:
		return notify.Permanent(fmt.Errorf("refused by Telegram (%s): see that TELEGRAM_CHAT_ID is right and the bot may write there", text))
	}
	return errors.New("not taken by Telegram: " + text)
}

// seconds returns s as a time to wait, within what is believed; 0 for what is no such time.
func seconds(s float64) time.Duration {
	if !(s > 0) { // not a number either
		return 0
	}
	return time.Duration(math.Ceil(min(s, notify.MaxRetryAfter.Seconds()))) * time.Second
}

// clean makes a text from outside fit to be shown in one line.
func (n *Notifier) clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // controls, and what turns the direction of writing
			return -1
		}
		return r
	}, s)
	runes := []rune(n.hide(s))
	return string(runes[:min(len(runes), maxDescription)])
}

// hide takes the token out of a text: as a whole, and its longer words, which no way of quoting or escaping changes.
func (n *Notifier) hide(s string) string {
	const long, hidden = 8, "[redacted]"
	token := n.token.Reveal()
	pairs := []string{token, hidden}
	for word := range strings.FieldsFuncSeq(token, func(r rune) bool { return strings.ContainsRune(":_-", r) }) {
		if len(word) >= long {
			pairs = append(pairs, word, hidden)
		}
	}
	return strings.NewReplacer(pairs...).Replace(s)
}
