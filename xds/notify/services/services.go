// Package services tells people by any of the services that shoutrrr knows, each by one URL: Slack, Discord, Teams,
// PagerDuty, ntfy and others.
//
// The rules are:
//   - A URL is a secret. No error holds any of it but the service's name, and none repeats the library's words, which
//     may: errors are told apart, and said in our own.
//   - A 4xx answer is permanent, but 408, 425 and 429. All else is tried again.
//   - The library cannot be told to stop. So it sends in a goroutine of its own, of which a notifier has at most one: as
//     long as a message is on its way, the next waits. If it arrives after Send gave it up, it is not sent again.
//   - What people wrote notifies nobody and hides no link: see harmless.
//
// Telegram and e-mail have notifiers of their own that know more of what went wrong; telegram:// and smtp:// are for
// further chats and servers.
package services

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/types"
	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"

	"keywheel/shared/secret"
	"keywheel/xds/notify"
)

// timeout is for one message, and for one request of those that the library makes without any other end.
const timeout = 30 * time.Second

// Notifier sends by one service.
type Notifier struct {
	name string // of the service
	url  secret.Key
	service
	last *sending // what an earlier Send gave up; nil: none
}

var _ notify.Notifier = (*Notifier)(nil)

// sending is a message on its way.
type sending struct {
	id   string
	done chan struct{} // closed when it has arrived or failed
	err  error         // to be read once done is closed
}

// New returns a notifier for a URL as https://shoutrrr.nickfedor.com has them, and the service's name: its scheme, without
// what follows a plus ("slack", "generic"). Nothing is sent or connected to. The error has at most the name from the URL.
func New(rawURL secret.Key) (*Notifier, string, error) {
	setUpLibrary()
	name, err := validate(rawURL.Reveal())
	if err != nil {
		return nil, "", err
	}
	return &Notifier{name: name, url: rawURL, service: known[name]}, name, nil
}

// MaxText is the longest text that the service takes, in bytes; 0: any. A longer one is cut.
func (n *Notifier) MaxText() int { return n.longest }

// Send has the service take the message: the subject as its title, if it has titles, and the text.
func (n *Notifier) Send(ctx context.Context, m notify.Message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if ctx.Err() != nil {
		return n.ended(ctx)
	}
	if n.last != nil {
		select {
		case <-n.last.done:
		case <-ctx.Done():
			return n.failed("the message before this one is still on its way", answer{})
		}
		arrived := n.last.err == nil && n.last.id == m.ID && m.ID != ""
		n.last = nil
		if arrived {
			return nil
		}
	}
	s := &sending{id: m.ID, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = guarded(func() error { return n.send(ctx, m) })
	}()
	select {
	case <-s.done:
		switch {
		case s.err == nil:
			return nil
		case ctx.Err() != nil:
			return n.ended(ctx)
		}
		return n.failure(s.err)
	case <-ctx.Done():
		n.last = s
		return n.ended(ctx)
	}
}

// send gives the message to the library. The service is made anew each time: some keep what they were told for the
// next message, its title among them, and an access that was granted at start.
func (n *Notifier) send(ctx context.Context, m notify.Message) error {
	s, err := open(n.url.Reveal())
	if err != nil {
		return err
	}
	attach(ctx, s)
	params := types.Params{}
	for key, value := range n.params {
		params[key] = value
	}
	subject, text := oneLine(m.Subject), m.Text
	if n.chat {
		subject, text = harmless(n.name, subject), harmless(n.name, text)
	}
	if n.title {
		params.SetTitle(cut(subject, n.longestTitle))
	}
	return s.Send(cut(text, n.longest), &params)
}

var errBroke = errors.New("the library panicked")

// guarded turns a panic of the library's into an error. Zulip's panics if the server cannot be reached.
func guarded(do func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errBroke // what it panicked with may hold the URL
		}
	}()
	return do()
}

// setUpLibrary makes an end to requests that the library makes with clients for all the process, which have none: a
// server that says nothing would hold the notifier for ever. Keywheel itself uses neither client.
var setUpLibrary = sync.OnceFunc(func() {
	if http.DefaultClient.Timeout == 0 {
		http.DefaultClient.Timeout = timeout
	}
	jsonclient.DefaultClient = telegramClient{jsonclient.NewWithHTTPClient(&http.Client{Timeout: timeout})}
})
