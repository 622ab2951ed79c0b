package email_test

import (
	"fmt"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/notify/email"
)

const (
	dnsLabel = "123456789-123456789-123456789-123456789-123456789-123456789-123" // the longest
	longHost = dnsLabel + "." + dnsLabel + "." + dnsLabel + "." + dnsLabel       // too long by two
)

func TestNewTakes(t *testing.T) {
	p := secret.New("p")
	for name, change := range map[string]func(*email.Config){
		"as it is": func(*email.Config) {},
		"password under TLS": func(c *email.Config) {
			c.Server = email.Server{Host: "mail.org", Port: 587, TLS: email.TLSRequired, User: "u", Password: p}
		},
		"TLS from the start":         func(c *email.Config) { c.Server.ImplicitTLS, c.Server.TLS = true, email.TLSRequired },
		"in the clear, no password":  func(c *email.Config) { c.Server.Host = "mail.org" },
		"in the clear, 127.0.0.1":    func(c *email.Config) { c.Server.User, c.Server.Password = "u", p },
		"in the clear, localhost":    func(c *email.Config) { c.Server.Host, c.Server.User, c.Server.Password = "localhost", "u", p },
		"in the clear, ::1":          func(c *email.Config) { c.Server.Host, c.Server.User, c.Server.Password = "::1", "u", p },
		"in the clear, mapped to v6": func(c *email.Config) { c.Server.Host, c.Server.User, c.Server.Password = "::ffff:127.0.0.2", "u", p },
		"host of IPv6":               func(c *email.Config) { c.Server.Host = "2001:db8::1" },
		"host with a last dot":       func(c *email.Config) { c.Server.Host = "mail_1.example.org." },
		"long host":                  func(c *email.Config) { c.Server.Host = longHost[2:] },
		"highest port":               func(c *email.Config) { c.Server.Port = 65535 },
		"names": func(c *email.Config) {
			c.To = []string{`"B, C" <b@x.org>`, "Jürgen <j@x.org>", `"quoted local"@example.org`}
		},
	} {
		c := config(&anyAddr)
		change(&c)
		if n, err := email.New(c); err != nil || n == nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	elsewhere := func(tls string) email.Server {
		return email.Server{Host: "mail.org", Port: 25, TLS: tls, User: "u", Password: secret.New("CANARY")}
	}
	for name, test := range map[string]struct {
		spoil func(*email.Config)
		says  string
	}{
		"no server":              {func(c *email.Config) { c.Server = email.Server{} }, "host name"},
		"no host":                {func(c *email.Config) { c.Server.Host = "" }, "host name"},
		"host that is no name":   {func(c *email.Config) { c.Server.Host = "-CANARY.org" }, "host name"},
		"host with a blank":      {func(c *email.Config) { c.Server.Host = "CANARY b.org" }, "host name"},
		"host with a port":       {func(c *email.Config) { c.Server.Host = "CANARY.org:25" }, "host name"},
		"two dots":               {func(c *email.Config) { c.Server.Host = "CANARY..org" }, "host name"},
		"long part of a host":    {func(c *email.Config) { c.Server.Host = dnsLabel + "4.org" }, "host name"},
		"long host":              {func(c *email.Config) { c.Server.Host = longHost }, "host name"},
		"any address":            {func(c *email.Config) { c.Server.Host = "0.0.0.0" }, "host name"},
		"zone":                   {func(c *email.Config) { c.Server.Host = "fe80::1%CANARY" }, "host name"},
		"no port":                {func(c *email.Config) { c.Server.Port = 0 }, "port"},
		"port that is too large": {func(c *email.Config) { c.Server.Port = 65536 }, "port"},
		"user without password":  {func(c *email.Config) { c.Server.User = "CANARY" }, "only one of user and password"},
		"password without user":  {func(c *email.Config) { c.Server.Password = secret.New("CANARY") }, "only one of user and password"},
		"no word on TLS":         {func(c *email.Config) { c.Server.TLS = "" }, "tls=required"},
		"unknown word on TLS":    {func(c *email.Config) { c.Server.TLS = "CANARY" }, "tls=required"},
		"password in the clear":  {func(c *email.Config) { c.Server = elsewhere(email.TLSNone) }, "in the clear"},
		"password maybe so":      {func(c *email.Config) { c.Server = elsewhere(email.TLSOpportunistic) }, "in the clear"},
		"TLS now and not later":  {func(c *email.Config) { c.Server.ImplicitTLS = true }, "smtps://"},
		"TLS now, maybe later":   {func(c *email.Config) { c.Server.ImplicitTLS, c.Server.TLS = true, email.TLSOpportunistic }, "smtps://"},
		"no sender":              {func(c *email.Config) { c.From = "" }, "come from"},
		"two senders":            {func(c *email.Config) { c.From = "CANARY@b.org, c@d.org" }, "come from"},
		"no receiver":            {func(c *email.Config) { c.To = nil }, "go to"},
		"receiver of no name":    {func(c *email.Config) { c.To = []string{"a@b.org", ""} }, "go to"},
		"receiver with a line":   {func(c *email.Config) { c.To = []string{"a@b.org\r\nBcc: CANARY@d.org"} }, "go to"},
		"two receivers in one":   {func(c *email.Config) { c.To = []string{"CANARY@b.org, c@d.org"} }, "go to"},
		"no clock":               {func(c *email.Config) { c.Now = nil }, "clock"},
		"bad name":               {func(c *email.Config) { c.HELO = "CANARY b" }, "greeting"},
		"name with a line":       {func(c *email.Config) { c.HELO = "a\r\nMAIL FROM:<CANARY@y>" }, "greeting"},
	} {
		c := config(&anyAddr)
		test.spoil(&c)
		n, err := email.New(c)
		switch {
		case err == nil || n != nil:
			t.Errorf("%s is taken", name)
		case !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "CANARY"):
			t.Errorf("%s: %v, want it to say %q and to repeat nothing", name, err, test.says)
		}
	}
}

// What holds the password shows nothing of it when it is printed.
func TestPrinting(t *testing.T) {
	c := signedIn(&anyAddr, nil)
	n := newNotifier(t, c)
	for _, v := range []any{c.Server, &c.Server, c, n, *n} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			hides(t, fmt.Sprintf("%T under %s", v, verb), fmt.Appendf(nil, verb, v))
		}
	}
}
