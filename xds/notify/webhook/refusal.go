package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keywheel/xds/notify"
)

// answered returns what came of a message by the answer's status: nil if it was taken.
func (n *Notifier) answered(status int, header http.Header) error {
	said := strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
	switch {
	case status/100 == 2:
		return nil
	case status/100 == 3:
		return notify.Permanent(fmt.Errorf("the webhook's receiver redirects (%s): set KEYWHEEL_WEBHOOK_URL to the final address", said))
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status/100 != 4:
		err := errors.New("the webhook's receiver cannot take the message now: " + said)
		return &notify.Failure{Err: err, RetryAfter: retryAfter(header.Get("Retry-After"), n.now())}
	}
	return notify.Permanent(fmt.Errorf("the webhook's receiver refuses the message (%s): see that KEYWHEEL_WEBHOOK_URL and _SECRET are right", said))
}

// retryAfter reads the header of that name, seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after,
// within what is believed; 0 for anything else.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	// A number that is too large comes back as the largest.
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(notify.MaxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), notify.MaxRetryAfter)
}
