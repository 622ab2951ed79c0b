package config

import (
	"encoding/base64"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"keywheel/shared/secret"
)

// Notify is who is told of what happens, besides the log and the page. The zero value: nobody.
type Notify struct {
	Telegram *Telegram // nil: not set up
	Email    *Email    // nil: not set up
	Webhook  *Webhook  // nil: not set up
	Services []Service // in the order in which they are written
	Routes   []Route   // in the order in which they are written; a later one wins over an earlier one
}

// Telegram is a bot and the chats that it writes to.
type Telegram struct {
	Token secret.Key
	Chats []string // numbers, negative for groups, or @names; at least one
	URL   string   // of the Bot API, without a slash at its end; plain http only to this machine
}

// Email is a mail server and who writes to whom, each address as RFC 5322 has it: a@example.org, "A" <a@example.org>.
type Email struct {
	Server SMTP
	From   string
	To     []string // at least one
}

// Webhook is where events are posted to.
type Webhook struct {
	URL    secret.Key // http or https; plain http only to this machine
	Secret secret.Key // signs what is posted; zero: nothing does
}

// Service is one of the other services.
type Service struct {
	Name string // by which routes know it, in small letters: "slack", a second one "slack-2"
	URL  secret.Key
}

const defaultTelegramURL = "https://api.telegram.org"

var (
	botToken   = regexp.MustCompile(`^[0-9]+:[A-Za-z0-9_-]+$`)
	chatName   = regexp.MustCompile(`^@[A-Za-z][A-Za-z0-9_]{3,31}$`)
	urlScheme  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://.`)
	commaToURL = regexp.MustCompile(`,+[A-Za-z][A-Za-z0-9+.-]*://`)
)

// loadNotify reads who is told.
func (l *loader) loadNotify(c *Config) {
	c.Notify.Telegram = l.telegram()
	c.Notify.Email = l.email()
	c.Notify.Webhook = l.webhook()
	c.Notify.Services = l.services()
	c.Notify.Routes = l.routes(c.Notify.Services)
}

// needed is a setting that others do not do without.
type needed struct {
	name string
	fix  string // what to write if it is missing
}

// together refuses settings of which some are set and some are not. It says whether any is set.
func (l *loader) together(settings ...needed) bool {
	set := slices.IndexFunc(settings, func(s needed) bool { return l.given(s.name) })
	if set < 0 {
		return false
	}
	for _, s := range settings {
		if !l.given(s.name) {
			l.problem(l.calledLike(s.name, settings[set].name), entry{}, "it is not set, and "+l.called(settings[set].name)+" needs it", s.fix)
		}
	}
	return true
}

func (l *loader) telegram() *Telegram {
	t := Telegram{URL: l.telegramURL()}
	if !l.together(
		needed{"TELEGRAM_BOT_TOKEN", "write the token that @BotFather gave your bot, 123456789:…"},
		needed{"TELEGRAM_CHAT_ID", "write the chat's number, such as -1001234567890, or its @name"},
	) {
		if l.given("TELEGRAM_API_URL") {
			l.warn("TELEGRAM_API_URL", "it has no effect, as "+l.calledLike("TELEGRAM_BOT_TOKEN", "TELEGRAM_API_URL")+" is not set")
		}
		return nil
	}
	if e, set := l.lookupSecret("TELEGRAM_BOT_TOKEN"); set {
		if !botToken.MatchString(e.value) {
			l.problem("TELEGRAM_BOT_TOKEN", e, "it is not the token of a bot", "write it as @BotFather gave it: a number, a colon, letters and digits")
		}
		t.Token = secret.New(e.value)
	}
	t.Chats = l.chats()
	return &t
}

func (l *loader) telegramURL() string {
	const name = "TELEGRAM_API_URL"
	e, set := l.lookup(name)
	if !set {
		return defaultTelegramURL
	}
	u, path, wrong := parseUpstream(e.value)
	switch {
	case wrong != "":
	case l.holdsSecret(e.value):
		wrong = "it has a secret in it, and it is not kept as one"
	case !u.TLS && !u.Loopback():
		wrong = "the bot's token would travel in the clear"
	default:
		return u.URL() + path
	}
	l.problem(name, e, wrong, "write an address such as "+defaultTelegramURL+" (http:// is only for this machine)")
	return defaultTelegramURL
}

func (l *loader) chats() []string {
	const (
		name = "TELEGRAM_CHAT_ID"
		fix  = "write the chats' numbers, such as -1001234567890, or @names, separated by commas"
	)
	e, set := l.lookup(name)
	if !set {
		return nil
	}
	var chats []string
	for _, part := range e.list() {
		chat := part.value
		n, err := strconv.ParseInt(chat, 10, 64)
		if err == nil {
			chat = strconv.FormatInt(n, 10)
		}
		switch {
		case (err != nil || n == 0) && !chatName.MatchString(chat):
			l.problem(name, e, l.show(chat)+" is no chat", fix)
		case slices.ContainsFunc(chats, func(c string) bool { return strings.EqualFold(c, chat) }):
			l.problem(name, e, l.show(chat)+" stands in it twice", fix)
		default:
			chats = append(chats, chat)
		}
	}
	return chats
}

func (l *loader) email() *Email {
	if !l.together(
		needed{"SMTP_URL", "write the mail server, such as " + smtpExample},
		needed{"ALERT_EMAIL_FROM", "write the address that messages come from"},
		needed{"ALERT_EMAIL_TO", "write the addresses of those who are told, separated by commas"},
	) {
		return nil
	}
	var m Email
	if e, set := l.lookupSecret("SMTP_URL"); set {
		m.Server = l.smtp(e)
	}
	if e, from := l.mailAddresses("ALERT_EMAIL_FROM"); len(from) == 1 {
		m.From = from[0]
	} else if len(from) > 1 {
		l.problem("ALERT_EMAIL_FROM", e, "it has more than one address", "write one, such as keywheel@example.org")
	}
	_, m.To = l.mailAddresses("ALERT_EMAIL_TO")
	return &m
}

// mailAddresses reads addresses with or without names, separated by commas.
func (l *loader) mailAddresses(name string) (entry, []string) {
	const fix = "write addresses such as you@example.org, separated by commas"
	e, set := l.lookup(name)
	if !set {
		return e, nil
	}
	list, err := mail.ParseAddressList(e.value)
	if err != nil { // its text repeats the value
		l.problem(name, e, l.show(e.value)+" is no list of e-mail addresses", fix)
		return e, nil
	}
	var seen, addresses []string
	for _, a := range list {
		switch {
		case !printable(a.Address):
			l.problem(name, e, "an address in it has characters that cannot be printed", fix)
		case slices.ContainsFunc(seen, func(s string) bool { return strings.EqualFold(s, a.Address) }):
			l.problem(name, e, l.show(a.Address)+" stands in it twice", fix)
		}
		seen = append(seen, a.Address)
		address := a.String()
		if a.Name == "" {
			address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
		}
		addresses = append(addresses, address)
	}
	return e, addresses
}

func (l *loader) webhook() *Webhook {
	const name, secretName = "KEYWHEEL_WEBHOOK_URL", "KEYWHEEL_WEBHOOK_SECRET" //nolint:gosec // a setting's name
	if l.given(secretName) {
		l.together(needed{name: secretName}, needed{name, "write the address that messages are posted to, https://…, or leave the secret out"})
	} else if l.given(name) {
		l.warn(l.calledLike(secretName, name), "it is not set: receivers cannot tell our messages from others'")
	}
	var w Webhook
	if e, set := l.lookupSecret(secretName); set {
		w.Secret = l.webhookSecret(secretName, e)
	}
	e, set := l.lookupSecret(name)
	if !set {
		return nil
	}
	_, u, wrong := parseHTTP(e.value)
	if wrong == "" && !u.TLS && !u.Loopback() {
		wrong = "messages would travel in the clear"
	}
	if wrong != "" {
		l.problem(name, e, wrong, "write an address that begins with https:// (http:// is only for this machine)")
	}
	w.URL = secret.New(e.value)
	return &w
}

// webhookSecret reads a secret of any characters, or of base64 behind whsec_ as Standard Webhooks writes them:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
func (l *loader) webhookSecret(name string, e entry) secret.Key {
	wrong := unprintable(e.value)
	if encoded, ok := strings.CutPrefix(e.value, "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(encoded); err != nil || len(raw) == 0 {
			wrong = "what follows whsec_ is not base64"
		}
	}
	switch {
	case wrong != "":
		l.problem(name, e, wrong, "write a long random text, such as `openssl rand -hex 32` makes")
	case len(e.value) < minToken:
		l.warn(name, fmt.Sprintf("it has fewer than %d characters and can be guessed", minToken))
	}
	return secret.New(e.value)
}

// services reads the URLs of other services. What stands behind :// is theirs to judge.
func (l *loader) services() []Service {
	const name = "KEYWHEEL_NOTIFY_URLS"
	e, set := l.lookupSecret(name)
	if !set {
		return nil
	}
	var (
		urls  = splitURLs(e.value)
		names = receiverWords()
		all   []Service
	)
	if len(urls) == 0 {
		l.problem(name, e, "it has no entry", "write URLs such as slack://…, or leave it out")
	}
	for i, u := range urls {
		m := urlScheme.FindStringSubmatch(u)
		if m == nil {
			l.problem(name, e, fmt.Sprintf("its entry %d is not a service, :// and its address", i+1), "write URLs such as slack://…, separated by blanks")
			continue
		}
		if first := slices.Index(urls, u); first < i {
			l.problem(name, e, fmt.Sprintf("its entry %d is the same as entry %d", i+1, first+1), "remove one of the two")
			continue
		}
		service := Service{Name: freeName(m[1], names), URL: secret.New(u)}
		names = append(names, service.Name)
		all = append(all, service)
	}
	return all
}

// splitURLs splits a list at blanks, and at commas where another URL begins: a URL may have commas inside.
func splitURLs(list string) []string {
	list = commaToURL.ReplaceAllStringFunc(list, func(s string) string { return " " + strings.TrimLeft(s, ",") })
	var urls []string
	for _, u := range strings.FieldsFunc(list, unicode.IsSpace) {
		if u = strings.Trim(u, ","); u != "" {
			urls = append(urls, u)
		}
	}
	return urls
}

// freeName is what a service is called by its URL's scheme (generic+https is generic), with a number if that is taken.
func freeName(scheme string, taken []string) string {
	base, _, _ := strings.Cut(strings.ToLower(scheme), "+")
	base = strings.ReplaceAll(base, ".", "-")
	name := base
	for n := 2; slices.Contains(taken, name); n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}
