package services

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/zulip"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/bark"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/notifiarr"

	"keywheel/xds/notify"
)

const noAnswer = "no answer in time"

// failed is a failure in our words.
func (n *Notifier) failed(reason string, a answer) *notify.Failure {
	return &notify.Failure{Err: fmt.Errorf("%s: %s", n.name, reason), Permanent: a.permanent(), RetryAfter: a.retryAfter}
}

// ended is a failure because Send's time is up.
func (n *Notifier) ended(ctx context.Context) *notify.Failure {
	if errors.Is(ctx.Err(), context.Canceled) {
		return n.failed("it was broken off", answer{})
	}
	return n.failed(noAnswer, answer{})
}

// permanent says whether the service says no for good.
func (a answer) permanent() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return a.status/100 == 4
}

// failure says in our words what an error of the library's is about. None of its own are repeated: they hold URLs, and
// what servers answered.
func (n *Notifier) failure(err error) *notify.Failure {
	if a, ok := answerOf(err); ok {
		reason := fmt.Sprintf("it answered with HTTP status %d", a.status)
		if text := http.StatusText(a.status); text != "" {
			reason += " (" + text + ")"
		}
		return n.failed(reason, a)
	}
	var reply *textproto.Error
	if errors.As(err, &reply) { // of a mail server
		f := n.failed(fmt.Sprintf("the mail server answered with code %d", reply.Code), answer{})
		f.Permanent = reply.Code/100 == 5
		return f
	}
	if errors.Is(err, zulip.ErrInvalidHost) || errors.Is(err, zulip.ErrTopicTooLong) {
		f := n.failed("its URL has no host name that it takes, or its topic has more than 60 characters", answer{})
		f.Permanent = true
		return f
	}
	text := err.Error()
	if m := slackCode.FindStringSubmatch(text); m != nil && n.name == "slack" {
		f := n.failed("it answered with "+m[1], answer{})
		f.Permanent = true
		return f
	}
	for _, c := range []struct{ has, reason string }{
		{"no such host", "the name of its host cannot be looked up"},
		{"connection refused", "connection refused"},
		{"x509: ", "its certificate is not trusted"},
		{"tls: ", "TLS cannot be agreed on with it"},
		{context.DeadlineExceeded.Error(), noAnswer},
		{"Client.Timeout", noAnswer},
		{"timeout", noAnswer},
		{"connection reset", "the connection was cut"},
		{"broken pipe", "the connection was cut"},
		{"EOF", "the connection was cut"},
		{"dial tcp", "it cannot be reached"},
	} {
		if strings.Contains(text, c.has) {
			return n.failed(c.reason, answer{})
		}
	}
	if errors.Is(err, errBroke) {
		return n.failed("it cannot be reached", answer{})
	}
	return n.failed("it did not take the message, or its answer was not understood", answer{})
}

// statusText is how the library's services write an HTTP status into their errors: "status code: 404 Not Found", "HTTP
// status: 404", "response status \"404 Not Found\"", "HTTP 404", "notification failed: 404", Gotify's "(404)" and ntfy's
// "(40401)".
var statusText = regexp.MustCompile(`(?:status(?: code)?(?: unexpected| failure)?:? "?|HTTP |notification failed: |server responded with [^():]{0,40}\(|\()` +
	`([45][0-9]{2})(?:[0-9]{2}\))?(?:[^0-9]|$)`)

// answerOf finds the HTTP answer that an error is about.
func answerOf(err error) (answer, bool) {
	var (
		a         answer
		barkError *bark.APIResponse
	)
	switch {
	case errors.As(err, &a):
		return a, true
	case errors.As(err, &barkError) && barkError.Code >= http.StatusBadRequest && barkError.Code <= 599:
		return answer{status: int(barkError.Code)}, true
	}
	if strings.HasSuffix(err.Error(), notifiarr.ErrAuthenticationFailed.Error()) {
		return answer{status: http.StatusUnauthorized}, true
	}
	if m := statusText.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1])
		return answer{status: status}, true
	}
	return answer{}, false
}

// slackCode are the words by which Slack refuses for good: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
// and https://docs.slack.dev/reference/methods/chat.postMessage#errors.
var slackCode = regexp.MustCompile(`failure: (account_inactive|action_prohibited|channel_is_archived|channel_not_found|invalid_auth|invalid_payload|` +
	`invalid_token|is_archived|msg_too_long|no_active_hooks|no_service|no_service_id|no_team|no_text|not_authed|not_in_channel|` +
	`posting_to_general_channel_denied|team_disabled|token_expired|token_revoked|user_not_found)$`)
