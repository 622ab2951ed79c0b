package config

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"keywheel/shared/secret"
)

// SMTP is a mail server.
type SMTP struct {
	Host        string // DNS name in small letters or IP address, without brackets
	Port        int
	ImplicitTLS bool       // the connection begins with TLS, and is never without
	TLS         string     // whether STARTTLS is asked for: TLSNone, TLSOpportunistic or TLSRequired; ImplicitTLS: TLSRequired
	User        string     // empty: nobody logs in
	Password    secret.Key // zero exactly if User is empty; only this machine may be told it without TLS
}

// What SMTP.TLS may be.
const (
	TLSNone          = "none"          // in the clear
	TLSOpportunistic = "opportunistic" // if the server offers it
	TLSRequired      = "required"      // else nothing is sent
)

// Ports of mail servers: RFC 8314 (465 and 587), RFC 5321 (25).
const (
	smtpsPort      = 465
	submissionPort = 587
	relayPort      = 25
)

const (
	smtpExample = "smtps://user:password@smtp.example.org" //nolint:gosec // what a person is to write
	smtpFix     = "write " + smtpExample + ", and signs of the user and password by their codes (@ is %40, / is %2F, % is %25)"
)

// smtp reads the address of a mail server, and warns of what others can read.
func (l *loader) smtp(e entry) SMTP {
	s, wrong, fix := parseSMTP(e.value)
	switch {
	case wrong != "":
		l.problem("SMTP_URL", e, wrong, fix)
	case isLoopback(s.Host):
	case s.TLS == TLSNone:
		l.warn("SMTP_URL", "messages travel in the clear")
	case s.TLS == TLSOpportunistic:
		l.warn("SMTP_URL", "messages travel in the clear if the server offers no TLS, or somebody on the way hides it")
	}
	return s
}

// parseSMTP reads smtps://user:password@host:port, or smtp:// with ?tls=. wrong and fix say what is wrong with it
// and what to write instead, without the value.
func parseSMTP(text string) (s SMTP, wrong, fix string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return s, "it is not a URL", smtpFix
	case u.Scheme != "smtps" && u.Scheme != "smtp":
		return s, "it does not begin with smtps:// or smtp://", smtpFix
	case !validHost(u.Hostname()):
		return s, "it has no valid host name", smtpFix
	case u.Path != "" && u.Path != "/" || u.Fragment != "":
		return s, "it has something behind the host that is not ?tls=", smtpFix
	}
	s = SMTP{Host: strings.ToLower(u.Hostname()), ImplicitTLS: u.Scheme == "smtps"}
	if wrong = s.login(u.User); wrong != "" {
		return SMTP{}, wrong, smtpFix
	}
	if wrong, fix = s.security(u.RawQuery); wrong != "" {
		return SMTP{}, wrong, fix
	}
	usual := relayPort
	switch {
	case s.ImplicitTLS:
		usual = smtpsPort
	case s.User != "" || !isLoopback(s.Host):
		usual = submissionPort
	}
	if s.Port, wrong = portOf(u, usual); wrong != "" {
		return SMTP{}, wrong, smtpFix
	}
	return s, "", ""
}

// login takes over the user and password.
func (s *SMTP) login(user *url.Userinfo) (wrong string) {
	if user == nil {
		return ""
	}
	password, _ := user.Password()
	switch {
	case user.Username() == "" || password == "":
		return "it lacks the user or the password"
	case !printable(user.Username()) || !printable(password):
		return "its user or password has characters that cannot be printed"
	}
	s.User, s.Password = user.Username(), secret.New(password)
	return ""
}

// security takes over how the connection is kept from being read. A password needs TLS that nobody can take away.
func (s *SMTP) security(query string) (wrong, fix string) {
	const words = "write tls=none, tls=opportunistic or tls=required, or leave it out"
	values, err := url.ParseQuery(query)
	if err != nil || len(values) > 1 || len(values) == 1 && len(values["tls"]) != 1 {
		return "its query is not one tls=", words
	}
	safe := isLoopback(s.Host)
	s.TLS = strings.ToLower(values.Get("tls"))
	switch {
	case s.TLS == "" && !s.ImplicitTLS && safe && s.User == "":
		s.TLS = TLSOpportunistic
	case s.TLS == "":
		s.TLS = TLSRequired
	case s.TLS != TLSNone && s.TLS != TLSOpportunistic && s.TLS != TLSRequired:
		return "its tls is none of the known words", words
	case s.TLS != TLSRequired && s.ImplicitTLS:
		return "smtps:// is TLS from the start, and tls= says otherwise", "write smtp://, or leave tls= out"
	case s.TLS != TLSRequired && s.User != "" && !safe:
		return "the password would travel in the clear", "write tls=required or smtps://, or leave the user and password out"
	}
	return "", ""
}

// printable says whether s is text without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
