package services

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/googlechat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/matrix"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// howTo ends errors about a URL.
const howTo = "; https://shoutrrr.nickfedor.com says how it is written"

// finding is what we say ourselves about a URL. It holds none of it.
type finding string

func (f finding) Error() string { return string(f) }

// What can be wrong with a URL before its service is known.
var (
	errUnknown = errors.New("the service of an address is not known: " + strings.Join(names(), ", ") + " are" + howTo)
	errLogger  = errors.New("logger: Keywheel's log has all that is sent: leave it out")
)

// validate returns the service of a URL, or what is wrong with the URL.
func validate(rawURL string) (name string, err error) {
	scheme, _, _ := strings.Cut(strings.ToLower(rawURL), ":")
	name, _, custom := strings.Cut(scheme, "+")
	if name == "logger" {
		return "", errLogger
	}
	if _, ok := known[name]; !ok {
		return "", errUnknown
	}
	err = guarded(func() error {
		if u, err := url.Parse(rawURL); err == nil && name == matrix.Scheme && !custom { // it signs in when it is opened
			return (&matrix.Config{}).SetURL(u)
		}
		s, err := open(rawURL)
		if err != nil {
			return err
		}
		return check(s)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %s%s", name, wrong(err, rawURL), howTo)
	}
	return name, nil
}

// open returns the service of a URL. The library's own way to do so does not say what is wrong, and panics at some URLs.
func open(rawURL string) (types.Service, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, finding("it is not a URL: signs in a token are written by their codes (% is %25, / is %2F, # is %23)")
	}
	name, _, custom := strings.Cut(u.Scheme, "+")
	s, err := new(router.ServiceRouter).NewService(name)
	if err != nil {
		return nil, err
	}
	if custom {
		from, ok := s.(types.CustomURLService)
		if !ok {
			return nil, finding("nothing can follow its name but ://")
		}
		if u, err = from.GetConfigURLFromCustom(u); err != nil {
			return nil, err
		}
	}
	return s, s.Initialize(u, nil) // without a logger: it would be told secrets
}

// check finds what the library would find only when it sends.
func check(s types.Service) error {
	switch s := s.(type) {
	case *discord.Service:
		if s.Config.JSON {
			return finding("messages are plain text, not JSON: leave /raw and json out")
		}
	case *generic.Service:
		if _, err := s.GetPayload(s.Config, types.Params{}); err != nil {
			return finding("its template is not known: write template=json, or leave it out for plain text")
		}
		if s.Config.WebhookURL().Hostname() == "" {
			return finding("it has no host")
		}
	case *googlechat.Service:
		if s.Config.Host == "" || s.Config.Key == "" || s.Config.Token == "" {
			return finding("it needs a host, a key and a token")
		}
	case *gotify.Service:
		if s.Config.Host == "" || !new(gotify.DefaultValidator).ValidateToken(s.Config.Token) {
			return finding("it needs a host and a token, which has 15 characters and begins with A")
		}
	case *teams.Service:
		c := s.Config
		return teams.ValidateWebhookURL(teams.BuildWebhookURL(c.Host, c.Group, c.Tenant, c.AltID, c.GroupOwner, c.ExtraID))
	}
	return nil
}

// wrong says what the library found wrong with a URL, in the words of the innermost error: the outer ones repeat parts
// of the URL. It says less if these have something of the URL too.
func wrong(err error, rawURL string) string {
	const less = "its URL is not written as the service needs it"
	var ours finding
	if errors.As(err, &ours) {
		return ours.Error()
	}
	for {
		switch wrapped := err.(type) { //nolint:errorlint // this is how to come to the innermost
		case interface{ Unwrap() error }:
			if wrapped.Unwrap() == nil {
				return less
			}
			err = wrapped.Unwrap()
			continue
		case interface{ Unwrap() []error }:
			if len(wrapped.Unwrap()) == 0 {
				return less
			}
			err = wrapped.Unwrap()[len(wrapped.Unwrap())-1] // the first is what it was at
			continue
		}
		break
	}
	if errors.Is(err, errBroke) || repeats(err.Error(), rawURL) {
		return less
	}
	return err.Error()
}

// repeats says whether a text has any word of a URL, as it is written or decoded, but for the scheme. A word is three or
// more letters and digits.
func repeats(text, rawURL string) bool {
	text = strings.ToLower(text)
	scheme, rest, _ := strings.Cut(strings.ToLower(rawURL), ":")
	decoded, _ := url.PathUnescape(rest)
	for _, word := range strings.FieldsFunc(rest+" "+decoded, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if len(word) >= 3 && word != scheme && strings.Contains(text, word) {
			return true
		}
	}
	return false
}
