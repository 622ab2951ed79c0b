// Package notify tells people what happened: it takes what the ledger's outbox holds, writes the messages, and hands
// them to notifiers, each of which knows one service.
//
// The rules are:
//   - A notifier says whether a failure is worth another try; the dispatcher tries again.
//   - A notification is marked as sent after the receiver took it. A crash between the two sends it again, under the
//     same ID.
//   - One receiver's trouble is its own: each has a goroutine, a queue and a back-off of its own.
//   - No error holds a secret: not a token, not a password, not a URL that may hold one.
package notify

import (
	"context"
	"errors"
	"time"

	"keywheel/xds/event"
)

// Kind is what a receiver is reached by. Routes name kinds.
type Kind string

// The kinds of receiver.
const (
	Log      Kind = "log"      // the control plane's own log
	Page     Kind = "page"     // the dashboard, which shows every event
	Telegram Kind = "telegram" // Telegram's Bot API
	Email    Kind = "email"    // SMTP
	Webhook  Kind = "webhook"  // signed JSON over HTTP
	Services Kind = "services" // all of KEYWHEEL_NOTIFY_URLS: Slack, Discord, ntfy, …
)

// Message is what one receiver is told at once.
type Message struct {
	ID      string // the same each time that it is sent again; letters, digits and "-"
	Subject string // one line
	Text    string // plain text of several lines, without a line break at its end
	Events  []event.Event
}

// Notifier tells one receiver. Send is called by one goroutine at a time.
type Notifier interface {
	// Send returns nil once the receiver took the message. An error that is worth no other try is, or wraps, a
	// *Failure with Permanent; every other error is tried again. No error holds a secret. Send returns soon after ctx
	// ends.
	Send(ctx context.Context, m Message) error
}

// MaxRetryAfter is the longest wait that a receiver is believed to ask for; a longer one may be a mistake.
const MaxRetryAfter = 6 * time.Hour

// Failure is an error of a Notifier's with what is known of another try.
type Failure struct {
	Err        error
	Permanent  bool          // another try cannot help
	RetryAfter time.Duration // the least time to the next try, as the receiver said; 0: it said nothing
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns what failed.
func (f *Failure) Unwrap() error { return f.Err }

// Permanent makes an error of a Notifier's one that is worth no other try.
func Permanent(err error) error { return &Failure{Err: err, Permanent: true} }

// failure returns what is known of an error.
func failure(err error) Failure {
	var f *Failure
	if errors.As(err, &f) {
		return *f
	}
	return Failure{Err: err}
}

// Receiver is somebody who is told, by one notifier.
type Receiver struct {
	Name     string // "telegram", "email", "slack", "slack-2"; of small letters, digits and "-"
	Kind     Kind
	Notifier Notifier
	MaxText  int           // the longest text that it takes, in UTF-16 code units, as most services count; 0: any
	Interval time.Duration // the least time between two messages
}
