package config_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keywheel/shared/secret"
	"keywheel/xds/config"
	"keywheel/xds/event"
	"keywheel/xds/notify"
)

// everybody is an environment in which everybody is told, by secrets with the word never in them.
func everybody() []string {
	return []string{
		"TELEGRAM_BOT_TOKEN=1:never", "TELEGRAM_CHAT_ID=-1", "SMTP_URL=smtps://user:never@mail.example.org", "ALERT_EMAIL_FROM=a@example.org",
		"ALERT_EMAIL_TO=b@example.org", "KEYWHEEL_WEBHOOK_URL=https://example.org/never", "KEYWHEEL_WEBHOOK_SECRET=never-never-never",
		"KEYWHEEL_NOTIFY_URLS=discord://never@1", "KEYWHEEL_NOTIFY_ROUTES=summary=discord",
	}
}

// byMail is an environment that tells by the mail server at url.
func byMail(url string) []string {
	return []string{"GROQ_API_KEY=gsk_a", "ALERT_EMAIL_FROM=a@example.org", "ALERT_EMAIL_TO=b@example.org", "SMTP_URL=" + url}
}

func TestMailServers(t *testing.T) {
	for url, want := range map[string]config.SMTP{
		"smtp://127.0.0.1":                       {Host: "127.0.0.1", Port: 25, TLS: config.TLSOpportunistic},
		"smtp://[::1]/":                          {Host: "::1", Port: 25, TLS: config.TLSOpportunistic},
		"smtp://LocalHost:1025?tls=NONE":         {Host: "localhost", Port: 1025, TLS: config.TLSNone},
		"smtp://localhost?tls=required":          {Host: "localhost", Port: 25, TLS: config.TLSRequired},
		"smtp://u:p@localhost":                   {Host: "localhost", Port: 587, TLS: config.TLSRequired, User: "u", Password: secret.New("p")},
		"smtp://u:p@localhost?tls=none":          {Host: "localhost", Port: 587, TLS: config.TLSNone, User: "u", Password: secret.New("p")},
		"smtp://u:p@127.0.0.1?tls=opportunistic": {Host: "127.0.0.1", Port: 587, TLS: config.TLSOpportunistic, User: "u", Password: secret.New("p")},
		"smtp://mail.example.org":                {Host: "mail.example.org", Port: 587, TLS: config.TLSRequired},
		"smtp://mail.example.org:25?tls=none":    {Host: "mail.example.org", Port: 25, TLS: config.TLSNone},
		"smtp://mail?tls=opportunistic":          {Host: "mail", Port: 587, TLS: config.TLSOpportunistic},
		"smtp://u:p@mail?tls=required":           {Host: "mail", Port: 587, TLS: config.TLSRequired, User: "u", Password: secret.New("p")},
		"SMTPS://mail":                           {Host: "mail", Port: 465, ImplicitTLS: true, TLS: config.TLSRequired},
		"smtps://localhost:1?tls=required":       {Host: "localhost", Port: 1, ImplicitTLS: true, TLS: config.TLSRequired},
		"smtps://a%40b:%3A%2F%40+%C3%A9@mail":    {Host: "mail", Port: 465, ImplicitTLS: true, TLS: config.TLSRequired, User: "a@b", Password: secret.New(":/@+é")},
		"smtps://u:p@ss@mail":                    {Host: "mail", Port: 465, ImplicitTLS: true, TLS: config.TLSRequired, User: "u", Password: secret.New("p@ss")},
		"smtps://u:%23%25%3F@mail":               {Host: "mail", Port: 465, ImplicitTLS: true, TLS: config.TLSRequired, User: "u", Password: secret.New("#%?")},
		"smtp://127.0.0.1:1025":                  {Host: "127.0.0.1", Port: 1025, TLS: config.TLSOpportunistic},
		"smtp://[::1]?tls=none":                  {Host: "::1", Port: 25, TLS: config.TLSNone},
		"smtp://[2001:db8::1]:25":                {Host: "2001:db8::1", Port: 25, TLS: config.TLSRequired},
		"SMTP://u:p@Mail.Example.ORG":            {Host: "mail.example.org", Port: 587, TLS: config.TLSRequired, User: "u", Password: secret.New("p")},
		"smtps://mail.example.org:4650/":         {Host: "mail.example.org", Port: 4650, ImplicitTLS: true, TLS: config.TLSRequired},
		"smtps://a@b:p:q@mail":                   {Host: "mail", Port: 465, ImplicitTLS: true, TLS: config.TLSRequired, User: "a@b", Password: secret.New("p:q")},
	} {
		c := mustLoad(t, "", byMail(url)...)
		if diff := cmp.Diff(want, c.Notify.Email.Server); diff != "" || c.Notify.Email.Server.Password.IsZero() != want.Password.IsZero() {
			t.Errorf("%s (-want +got)\n%s", url, diff)
		}
	}
}

func TestMailServersThatAreRefused(t *testing.T) {
	for url, wrong := range map[string]string{
		"smtp://u:hunter22@mail?tls=none":           "the password would travel in the clear; write tls=required",
		"smtp://u:hunter22@mail?tls=opportunistic":  "the password would travel in the clear; write tls=required",
		"smtps://u:hunter22@localhost?tls=none":     "smtps:// is TLS from the start",
		"smtps://hunter22@mail":                     "it lacks the user or the password",
		"smtps://u:@mail":                           "it lacks the user or the password",
		"smtps://:hunter22@mail":                    "it lacks the user or the password",
		"smtps://:@mail":                            "it lacks the user or the password",
		"smtps://u:hunter22%00@mail":                "its user or password has characters that cannot be printed",
		"smtps://u%0d%0a:hunter22@mail":             "its user or password has characters that cannot be printed",
		"smtps://u:hunter22%ff@mail":                "its user or password has characters that cannot be printed",
		"smtps://u:hunter22@mail?tls=hunter22":      "its tls is none of the known words",
		"smtps://u:hunter22@mail?tls=none&tls=none": "its query is not one tls=",
		"smtps://u:hunter22@mail?ttl=none":          "its query is not one tls=",
		"smtps://u:hunter22@mail?tls=%zz":           "its query is not one tls=",
		"smtps://u:hunter22@mail/inbox":             "it has something behind the host",
		"smtps://u:hunter22@mail#x":                 "it has something behind the host",
		"smtps://u:hunter22@":                       "it has no valid host name",
		"smtps://u:hunter22@ma_il..org":             "it has no valid host name",
		"smtps://u:hunter22@mail:0":                 "its port is not a number",
		"smtps://u:hunter22@mail:65536":             "its port is not a number",
		"smtps://u:hunter22/@mail":                  "it is not a URL",
		"smtps://u:hunter22%@mail":                  "it is not a URL",
		"https://u:hunter22@mail":                   "it does not begin with smtps:// or smtp://",
		"hunter22":                                  "it does not begin with smtps:// or smtp://",
		"smtp:u:hunter22@mail":                      "it has no valid host name",
		"smtp://u:hunter22@-mail.org":               "it has no valid host name",
		"smtp://u:hunter22@0.0.0.0":                 "it has no valid host name",
		"smtp://u:hunter22@[fe80::1%25e]":           "it has no valid host name",
		"smtp://u:hunter22@mail box":                "it is not a URL",
		"smtp://u:hunter22%zz@mail":                 "it is not a URL",
		"smtp://u:x#hunter22@mail":                  "it is not a URL", // a port that is no number
		"smtp://u:12#hunter22@mail":                 "it has something behind the host",
		"smtp://u:12/hunter22@mail":                 "it has something behind the host",
		"smtp://u:12?hunter22@mail":                 "its query is not one tls=",
		"smtp://mail?tls=none&auth=plain":           "its query is not one tls=",
		"smtps://mail?tls=opportunistic":            "smtps:// is TLS from the start",
		"smtp://u%00:hunter22@mail":                 "its user or password has characters that cannot be printed",
		"smtp://u:hunter22%0D%0A@mail":              "its user or password has characters that cannot be printed",
	} {
		_, _, err := load("", byMail(url)...)
		if err == nil || !strings.HasPrefix(err.Error(), "SMTP_URL: "+wrong) {
			t.Errorf("%s: %v; want %s", url, err, wrong)
		} else if strings.Contains(err.Error(), "hunter22") || strings.Contains(err.Error(), url) {
			t.Errorf("shown: %v", err)
		}
	}
}

func TestMailAddresses(t *testing.T) {
	for list, want := range map[string][]string{
		"a@example.org":                           {"a@example.org"},
		" <a@localhost> ,b@[192.0.2.1]":           {"a@localhost", "b@[192.0.2.1]"},
		`"Doe, Jane" <jane@x.org>, Bob <b@x.org>`: {`"Doe, Jane" <jane@x.org>`, `"Bob" <b@x.org>`},
		"jürgen@exämple.org":                      {"jürgen@exämple.org"},
		`"a b"@x.org`:                             {`"a b"@x.org`},
		"a@x.org\r\nBcc: b@x.org":                 nil,
		"a\u2028b@x.org":                          nil,
		"a@x.org,A@X.org":                         nil,
		"a@x.org,":                                {"a@x.org"},
		"a@x.org b@x.org":                         nil,
		"a":                                       nil,
		"a@":                                      nil,
		"@x.org":                                  nil,
		",":                                       nil,
		"a@x.org;b@x.org":                         nil,
		"a@x.org\x00":                             nil,
		`On Call <a@x.org>,	"B, C" <b@x.org>`:     {`"On Call" <a@x.org>`, `"B, C" <b@x.org>`},
		`"quoted local"@x.org, <c@x.org>`:         {`"quoted local"@x.org`, "c@x.org"},
	} {
		environ := append([]string{"ALERT_EMAIL_TO=" + list}, byMail("smtp://localhost")...)
		c, _, err := load("", environ...)
		switch {
		case want == nil && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.HasPrefix(err.Error(), "ALERT_EMAIL_TO: ")):
			t.Errorf("%q: %v", list, err)
		case want != nil && err != nil:
			t.Errorf("%q: %v", list, err)
		case want != nil && !slices.Equal(c.Notify.Email.To, want):
			t.Errorf("%q: %q, want %q", list, c.Notify.Email.To, want)
		}
	}
}

// Routes name receivers by the kinds of package notify.
func TestReceiversAreNotifys(t *testing.T) {
	for _, kind := range []notify.Kind{notify.Log, notify.Page, notify.Telegram, notify.Email, notify.Webhook, notify.Services} {
		environ := append([]string{"GROQ_API_KEY=gsk_a", "KEYWHEEL_NOTIFY_ROUTES=summary=" + string(kind)}, everybody()...)
		want := []config.Route{{Event: "summary", Receivers: []string{string(kind)}}}
		if diff := cmp.Diff(want, mustLoad(t, "", environ...).Notify.Routes); diff != "" {
			t.Errorf("%s (-want +got)\n%s", kind, diff)
		}
	}
}

// What is secret in a value is kept out of messages without the rest of it too.
func TestPartsOfSecrets(t *testing.T) {
	const token = "AAEhBP0av28Fbl0Yf0jAUFmK4TOKEN-abc_"
	for part, holder := range map[string]string{
		token:          "TELEGRAM_BOT_TOKEN=123456:" + token,
		"hunter/22":    "SMTP_URL=smtps://user:hunter/22@mail.example.org", // not a good one
		"XXXXyyyyZZZZ": "KEYWHEEL_NOTIFY_URLS=zulip://bot%40example.org:XXXXyyyyZZZZ@example.org?stream=a",
	} {
		_, _, err := load("", "GROQ_API_KEY=gsk_a", holder, "GROQ_KEY_1_LABEL="+part, "KEYWHEEL_LOG_LEVEL="+part[:min(len(part), 24)])
		if err == nil || strings.Contains(err.Error(), part[:9]) || !strings.Contains(err.Error(), "GROQ_KEY_1_LABEL: it looks like a key") {
			t.Errorf("%s: %v", holder, err)
		}
	}
}

// routeText writes a route as a setting has it.
func routeText(r config.Route) string {
	text := r.Event
	if r.Level != "" {
		text += "." + r.Level
	}
	if len(r.Receivers) == 0 {
		return text + "=none"
	}
	return text + "=" + strings.Join(r.Receivers, ",")
}

// drawRoute draws a route that is good with one service, slack.
func drawRoute(t *rapid.T) config.Route {
	var kinds []string
	for _, k := range event.Kinds() {
		if k != event.Test {
			kinds = append(kinds, string(k))
		}
	}
	r := config.Route{Event: rapid.SampledFrom(kinds).Draw(t, "event"), Level: rapid.SampledFrom([]string{"", "info", "warning", "critical"}).Draw(t, "level")}
	receivers := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"log", "page", "telegram", "email", "webhook", "services", "slack"}), 0, 7, rapid.ID)
	if drawn := receivers.Draw(t, "receivers"); len(drawn) > 0 {
		r.Receivers = drawn
	}
	return r
}

// However routes are separated and cased, they are read in order as they are meant.
func TestRoutesAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawRoute), 1, 6).Draw(t, "routes")
		var text strings.Builder
		for _, r := range want {
			text.WriteString(routeText(r))
			text.WriteString(rapid.SampledFrom([]string{" ", "\n", ";", " ;\t", "\r\n"}).Draw(t, "separator"))
		}
		value := text.String()
		if rapid.Bool().Draw(t, "spaced") {
			value = strings.NewReplacer("=", " = ", ",", " , ").Replace(value)
		}
		if rapid.Bool().Draw(t, "capital") {
			value = strings.ToUpper(value)
		}
		c, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_NOTIFY_URLS=slack://a@b", "KEYWHEEL_NOTIFY_ROUTES="+value)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if diff := cmp.Diff(want, c.Notify.Routes); diff != "" {
			t.Fatalf("%q (-want +got)\n%s", value, diff)
		}
	})
}

func TestServiceNames(t *testing.T) {
	c := mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_NOTIFY_URLS=slack://1 Slack://2 slack-2://3 slack://4 email://5 generic+https://6 a.b://7 none://8")
	var names []string
	for _, s := range c.Notify.Services {
		names = append(names, s.Name)
	}
	want := []string{"slack", "slack-2", "slack-2-2", "slack-3", "email-2", "generic", "a-b", "none-2"}
	if !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
}

func FuzzNotifyURLs(f *testing.F) {
	for _, value := range []string{
		"slack://a@b", "slack://a@b,discord://c@d", "signal://h/1,2,3 ntfy://x", "a://,b://,c", ",,a://b,,", "a://b a://b", "://x", "generic+https://h?u=,x://y",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_NOTIFY_URLS="+value)
		if err != nil {
			return
		}
		taken := map[string]bool{"none": true, "log": true, "page": true, "telegram": true, "email": true, "webhook": true, "services": true}
		rest := value
		for _, s := range c.Notify.Services {
			if taken[s.Name] || s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Fatalf("%q: the name %q", value, s.Name)
			}
			taken[s.Name] = true
			at := strings.Index(rest, s.URL.Reveal())
			if at < 0 || !strings.Contains(s.URL.Reveal(), "://") {
				t.Fatalf("%q: the URL %q is not what was written", value, s.URL.Reveal())
			}
			rest = rest[at+len(s.URL.Reveal()):]
		}
		if strings.Contains(rest, "://") {
			t.Fatalf("%q: %q is left over", value, rest)
		}
	})
}

func FuzzRoutes(f *testing.F) {
	for _, value := range []string{
		"threshold.warning=log,telegram,email rotated=log,slack summary=email,log forecast=none", "threshold = log , page;rotated=none\nreset.info=services",
		"treshold=log", "threshold=none,log", "=", "a.b.c=d", "threshold=log,rotated=log", "threshold.=", "all_out",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		read := func(value string) (*config.Config, error) {
			c, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_NOTIFY_URLS=slack://a@b", "KEYWHEEL_NOTIFY_ROUTES="+value)
			return c, err
		}
		c, err := read(value)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "KEYWHEEL_NOTIFY_ROUTES: ") {
					t.Fatalf("%q: %v", value, err)
				}
			}
			return
		}
		var texts []string
		for _, r := range c.Notify.Routes {
			if !slices.Contains(event.Kinds(), event.Kind(r.Event)) || r.Level != "" && !slices.Contains(event.Levels(), event.Level(r.Level)) {
				t.Fatalf("%q: %+v", value, r)
			}
			texts = append(texts, routeText(r))
		}
		again, err := read(strings.Join(texts, " "))
		if err != nil {
			t.Fatalf("%q: what it gives is refused: %v", value, err)
		}
		if diff := cmp.Diff(c.Notify.Routes, again.Notify.Routes); diff != "" {
			t.Fatalf("%q (-first +again)\n%s", value, diff)
		}
	})
}

func FuzzSMTPURL(f *testing.F) {
	for _, value := range []string{
		"smtps://user:%s@mail.example.org", "smtp://a%%40b:%s@127.0.0.1:25?tls=none", "smtp://u:%s@h?tls=opportunistic", "smtp://%s@[::1]:1?tls=required",
		"smtp://h/%s", "smtp://h?%s", "smtp://h?tls=%s", "smtp://h:%s", "%s", "smtp://u:%s/@h", "smtp://u:%s", "smtp://h#%s",
		"smtp://%s?tls=opportunistic", "smtp://%s:25?tls=none", "smtps://a%%40b:%%C3%%BC%s@h:1/", "smtp://u:12#%s@x", "smtp://u:%%6@%s", "://%s", "%s:smtp",
	} {
		before, after, _ := strings.Cut(strings.ReplaceAll(value, "%%", "%"), "%s")
		f.Add(before, after)
	}
	const password = "Pl4nted-passw0rd"
	f.Fuzz(func(t *testing.T, before, after string) {
		value := before + password + after
		c, warnings, err := load("", byMail(value)...)
		if text := fmt.Sprint(err, warnings); strings.Contains(text, password) {
			t.Fatalf("%q: shown: %s", value, text)
		}
		if err != nil {
			return
		}
		s := c.Notify.Email.Server
		here := s.Host == "localhost" || strings.HasPrefix(s.Host, "127.") || s.Host == "::1" || strings.HasPrefix(s.Host, "::ffff:")
		switch {
		case s.Host == "" || s.Port < 1 || s.Port > 65535,
			s.TLS != config.TLSNone && s.TLS != config.TLSOpportunistic && s.TLS != config.TLSRequired,
			(s.User == "") != s.Password.IsZero(),
			s.ImplicitTLS && s.TLS != config.TLSRequired,
			!s.Password.IsZero() && s.TLS != config.TLSRequired && !here:
			t.Fatalf("%q: %+v", value, s)
		}
		again := mustLoad(t, "", byMail(smtpText(s))...).Notify.Email.Server
		if diff := cmp.Diff(s, again); diff != "" {
			t.Fatalf("%q, written anew (-first +again)\n%s", value, diff)
		}
	})
}

// smtpText writes a mail server as a setting has it.
func smtpText(s config.SMTP) string {
	u := url.URL{Scheme: "smtp", Host: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), RawQuery: "tls=" + s.TLS}
	if s.ImplicitTLS {
		u.Scheme = "smtps"
	}
	if s.User != "" {
		u.User = url.UserPassword(s.User, s.Password.Reveal())
	}
	return u.String()
}

// The example says which events there are.
func TestExampleNamesEveryEvent(t *testing.T) {
	example, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range event.Kinds() {
		if kind != event.Test && !regexp.MustCompile(`\b`+string(kind)+`[,.]`).Match(example) {
			t.Errorf(".env.example does not name %s", kind)
		}
	}
}
