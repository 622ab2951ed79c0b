// Package webhook posts messages as JSON to an address of the user's, signed as the Standard Webhooks specification says:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
//
// The rules are:
//   - Schema describes the body. Fields are only added; a changed meaning is another schema number.
//   - A message that is sent again has the same ID, in the body and in webhook-id, and the time of the new try.
//   - The URL may hold a token: no error shows any of it, nor any of the answer.
//   - Redirects are not followed: they would carry the message elsewhere.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"keywheel/shared/secret"
	"keywheel/xds/event"
	"keywheel/xds/notify"
	"keywheel/xds/notify/outgoing"
)

// Schema is the JSON Schema of the body.
//
//go:embed schema.json
var Schema []byte

const (
	schemaVersion  = 1
	defaultTimeout = 30 * time.Second
)

// Config is what a Notifier is made of.
type Config struct {
	URL       secret.Key        // http or https; its user name and password, if any, are sent as such
	Secret    secret.Key        // "whsec_" and base64, or any text, whose bytes are the secret; zero: nothing is signed
	Version   string            // Keywheel's
	Now       func() time.Time  // the host's time: receivers refuse what is some minutes off
	Transport http.RoundTripper // nil: one of package outgoing
	Timeout   time.Duration     // of one Send; 0: 30 s
}

// Notifier posts messages to one URL.
type Notifier struct {
	url       secret.Key
	secret    secret.Key // as bytes
	agent     string
	now       func() time.Time
	transport http.RoundTripper
	timeout   time.Duration
}

var _ notify.Notifier = (*Notifier)(nil)

// New returns a Notifier. An error names the setting to change, without its value.
func New(c Config) (*Notifier, error) {
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return nil, errors.New("set KEYWHEEL_WEBHOOK_URL to an address that begins with https:// and a host's name")
	}
	signing := c.Secret
	if encoded, ok := strings.CutPrefix(c.Secret.Reveal(), "whsec_"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) == 0 {
			return nil, errors.New("set KEYWHEEL_WEBHOOK_SECRET to a secret that is base64 after whsec_, or begins otherwise")
		}
		signing = secret.New(string(raw))
	}
	n := &Notifier{
		url: c.URL, secret: signing, agent: strings.TrimSuffix("keywheel/"+c.Version, "/"),
		now: c.Now, transport: c.Transport, timeout: cmp.Or(c.Timeout, defaultTimeout),
	}
	if n.transport == nil {
		n.transport = outgoing.Transport()
	}
	return n, nil
}

// body is what is posted. schema.json describes it.
type body struct {
	Schema  int           `json:"schema"`
	ID      string        `json:"id"`
	SentAt  time.Time     `json:"sent_at"`
	Subject string        `json:"subject"`
	Text    string        `json:"text"`
	Events  []event.Event `json:"events"`
}

// Send implements notify.Notifier. The receiver took the message if it answered 2xx.
func (n *Notifier) Send(ctx context.Context, m notify.Message) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	req, err := n.request(ctx, m)
	if err != nil {
		return notify.Permanent(err)
	}
	// No http.Client: it follows redirects, and its errors hold the URL.
	resp, err := n.transport.RoundTrip(req)
	switch {
	case err == nil:
		_ = resp.Body.Close() // the status has said all
		return n.answered(resp.StatusCode, resp.Header)
	case ctx.Err() != nil:
		return fmt.Errorf("no answer from the webhook's receiver: %w", ctx.Err())
	}
	return errors.New("no answer from the webhook's receiver: " + outgoing.Reason(err))
}

// request returns the POST of a message. Its errors hold nothing of the URL.
func (n *Notifier) request(ctx context.Context, m notify.Message) (*http.Request, error) {
	now := n.now().UTC().Truncate(time.Second)
	payload, err := json.Marshal(body{schemaVersion, m.ID, now, m.Subject, m.Text, append([]event.Event{}, m.Events...)})
	if err != nil {
		return nil, fmt.Errorf("the message cannot be written as JSON: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url.Reveal(), bytes.NewReader(payload))
	if err != nil {
		return nil, errors.New("set KEYWHEEL_WEBHOOK_URL to a URL") // err quotes it
	}
	if user := req.URL.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", n.agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if !n.secret.IsZero() {
		signature, err := n.sign(m.ID, now, payload)
		if err != nil {
			return nil, err
		}
		req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	return req, nil
}

// sign returns the signature of a body. The signer keeps the secret as plain bytes, so it lives no longer than this.
func (n *Notifier) sign(id string, now time.Time, payload []byte) (string, error) {
	signer, err := standardwebhooks.NewWebhookRaw([]byte(n.secret.Reveal()))
	if err != nil {
		return "", errors.New("nothing can be signed with KEYWHEEL_WEBHOOK_SECRET: set another")
	}
	return signer.Sign(id, now, payload)
}
