// Package notifytest has what tests of notifiers need: secrets that nothing may show, what came of a message, and the
// faults that every notifier over HTTP must bear.
package notifytest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net/url"
	"strings"
	"testing"
	"time"

	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/notify"
)

// Secrets are what nothing may show, in any case of letters and in any writing that a library might use.
type Secrets []string

// NotIn fails the test if a text shows a secret. where says whose text it is.
func (s Secrets) NotIn(t testing.TB, where, text string) {
	t.Helper()
	for _, secret := range s {
		raw := []byte(secret)
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw),
			base64.URLEncoding.EncodeToString(raw), fmt.Sprint(raw), fmt.Sprintf("%#v", raw),
		} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				t.Errorf("%s shows %q: %s", where, secret, text)
				break
			}
		}
	}
}

// NotInError fails the test if an error, or any that it wraps, shows a secret under any verb.
func (s Secrets) NotInError(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		s.NotIn(t, verb, fmt.Sprintf(verb, err))
	}
	switch e := err.(type) { //nolint:errorlint // each link of the chain is looked at
	case interface{ Unwrap() error }:
		s.NotInError(t, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			s.NotInError(t, inner)
		}
	}
}

// NotPrinted fails the test if one of values shows a secret when it is printed.
func (s Secrets) NotPrinted(t testing.TB, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			s.NotIn(t, fmt.Sprintf("%T under %s", v, verb), fmt.Sprintf(verb, v))
		}
	}
}

// Quiet runs f and fails the test if anything was written to the process's log meanwhile: libraries log what they sent.
func Quiet(t testing.TB, f func()) {
	t.Helper()
	var logged loggingtest.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&logged)
	f()
	if text := logged.String(); text != "" {
		t.Errorf("logged: %s", text)
	}
}

// Outcome ends the test unless a message came to what is wanted: the receiver took it if words are empty; else the error
// has the words, and says this of another try.
func Outcome(t testing.TB, err error, words string, permanent bool, after time.Duration) {
	t.Helper()
	if words == "" {
		if err != nil {
			t.Fatalf("not taken: %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Fatalf("got %v; want %q", err, words)
	}
	if f := failure(err); f.Permanent != permanent || f.RetryAfter != after {
		t.Errorf("permanent %v, after %v: %v", f.Permanent, f.RetryAfter, err)
	}
}

// Sensible fails the test unless what an error says of another try can be: a wait of at most 6 hours, and none if there
// is no other try.
func Sensible(t testing.TB, err error) {
	t.Helper()
	if f := failure(err); f.RetryAfter < 0 || f.RetryAfter > 6*time.Hour || f.Permanent && f.RetryAfter != 0 {
		t.Errorf("permanent %v, after %v: %v", f.Permanent, f.RetryAfter, err)
	}
}

// failure is what the dispatcher reads of an error.
func failure(err error) notify.Failure {
	var f *notify.Failure
	if errors.As(err, &f) {
		return *f
	}
	return notify.Failure{Err: err}
}
