package services

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/mattermost"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"
)

// mostBody is the most that is read of an answer, in bytes.
const mostBody = 1 << 20

// attach gives a service a client of ours, where it takes one. Then its requests end with ctx, an answer that says no
// is known as an answer, and Discord's does not wait and try on its own.
func attach(ctx context.Context, s types.Service) {
	client := &http.Client{Transport: transport{ctx: ctx, base: http.DefaultTransport}}
	unchecked := &http.Client{Transport: transport{ctx: ctx, base: uncheckedTransport()}}
	switch s := s.(type) {
	case *discord.Service:
		s.HTTPClient, s.Sleeper = client, awake{}
	case *gotify.Service:
		if s.Config.InsecureSkipVerify {
			client = unchecked
		}
		*s.GetHTTPClient() = *client
	case *mattermost.Service:
		*s.GetHTTPClient() = *client
	case *ntfy.Service:
		if s.Config.DisableTLSVerification {
			client = unchecked
		}
		s.SetHTTPClient(client)
	case *pagerduty.Service:
		s.SetHTTPClient(client)
	case *pushover.Service:
		s.Client = client
	case *rocketchat.Service:
		s.Client = client
	}
}

// uncheckedTransport takes any certificate, where the URL asks for that.
var uncheckedTransport = sync.OnceValue(func() http.RoundTripper {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // G402: as the URL says
	}
})

// transport ends requests with ctx, and makes errors of answers that say no.
type transport struct {
	ctx  context.Context
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.base.RoundTrip(req.WithContext(t.ctx))
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusBadRequest {
		_ = res.Body.Close()
		return nil, answer{status: res.StatusCode, retryAfter: retryAfter(res.Header)}
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, mostBody), res.Body}
	return res, nil
}

// answer is an HTTP answer that says no.
type answer struct {
	status     int
	retryAfter time.Duration // 0: it did not say
}

func (a answer) Error() string { return "HTTP " + strconv.Itoa(a.status) }

// retryAfter is the header Retry-After in seconds, of which Discord's has decimals, up to a day; 0: there is none.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get("Retry-After"), 64)
	if err != nil || !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 24*60*60) * float64(time.Second))
}

// awake does not sleep.
type awake struct{}

// Sleep implements discord.Sleeper.
func (awake) Sleep(time.Duration) {}

// telegramClient is what the library's Telegram sends with. That takes every error without an answer of Telegram's, such
// as a network that is down, for a success; so all errors are made to look like one.
type telegramClient struct{ jsonclient.Client }

// Post implements jsonclient.Client.
func (c telegramClient) Post(url string, request, response any) error {
	err := c.Client.Post(url, request, response)
	var answered jsonclient.Error
	if errors.As(err, &answered) && answered.StatusCode >= http.StatusBadRequest {
		err = answer{status: answered.StatusCode}
	}
	if err == nil {
		var sent struct {
			OK bool `json:"ok"`
		}
		if got, failed := json.Marshal(response); failed == nil && json.Unmarshal(got, &sent) == nil && sent.OK {
			return nil
		}
		err = errors.New("the answer is not Telegram's")
	}
	body, failed := json.Marshal(map[string]string{"description": err.Error()})
	if failed != nil {
		return failed
	}
	return jsonclient.Error{Body: string(body)}
}
