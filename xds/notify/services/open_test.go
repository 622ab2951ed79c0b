package services_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"keywheel/shared/secret"
	"keywheel/xds/notify/services"
)

func TestNewRefuses(t *testing.T) {
	for url, says := range map[string]string{
		"":                         "service of an address is not known: bark, discord, ",
		"c4n4ry":                   "is not known",
		"c4n4ry://c4n4ry":          "is not known",
		"xoxb-c4n4ry:c4n4ry@x":     "is not known",
		"http://c4n4ry":            "is not known",
		"standard://c4n4ry":        "is not known",
		"stdout://c4n4ry":          "is not known",
		"slack://c4n4ry%zz":        "slack: it is not a URL: ",
		"slack://a b:c4n4ry@x":     "slack: it is not a URL",
		"://c4n4ry":                "is not known",
		"logger://c4n4ry":          "logger: Keywheel's log has all that is sent",
		"logger+x://c4n4ry":        "logger: ",
		"bark://:k@h/?c4n4ry=1":    "bark: not a valid config key; https://shoutrrr.nickfedor.com says",
		"bark://:c4n4ry@h?badge=x": "bark: ",

		"discord://c4n4ry":                                  "discord: token missing from config URL",
		"discord://c4n4ry@":                                 "discord: webhook ID missing from config URL",
		"discord://c4n4ry@1/raw":                            "discord: messages are plain text, not JSON: leave /raw",
		"discord://c4n4ry@1?json=yes":                       "discord: ",
		"discord://c4n4ry@1/c4n4ry":                         "discord: illegal argument",
		"discord+https://discord.com/api/webhooks/1/c4n4ry": "discord: nothing can follow its name but ://",
		"generic:///c4n4ry":                                 "generic: it has no host",
		"generic://h/c4n4ry?template=c4n4ry":                "generic: ",
		"generic://h/?disabletls=c4n4ry":                    "generic: ",
		"generic+https://h/?disabletls=c4n4ry":              "generic: ",
		"gotify://h/c4n4ry":                                 "gotify: it needs a host and a token",
		"gotify://h/Ac4n4ry00000000?priority=c4n4ry":        "gotify: ",
		"googlechat://chat.googleapis.com/v1/c4n4ry":        "googlechat: it needs a host, a key and a token",
		"googlechat://h/?key=c4n4ry&token=":                 "googlechat: ",
		"ifttt://c4n4ry":                                    "ifttt: events missing from config URL",
		"ifttt://c4n4ry/?events=a&messagevalue=9":           "ifttt: ",
		"join://:c4n4ry@join":                               "join: devices missing from config URL",
		"lark://c4n4ry/c4n4ry":                              "lark: invalid host, use 'open.larksuite.com'",
		"lark://open.larksuite.com?secret=c4n4ry":           "lark: ",
		"matrix://:c4n4ry@h/?c4n4ry=1":                      "matrix: not a valid config key",
		"matrix://:c4n4ry@h/?rooms=":                        "matrix: its URL is not written as", // the library panics
		"matrix+https://:c4n4ry@h":                          "matrix: nothing can follow",
		"mattermost://c4n4ry":                               "mattermost: ",
		"ntfy://c4n4ry:c4n4ry@h":                            "ntfy: topic is required",
		"ntfy://h/c4n4ry?priority=c4n4ry":                   "ntfy: ",
		"opsgenie://h":                                      "opsgenie: API key missing",
		"pagerduty://h/c4n4ry":                              "pagerduty: invalid integration key format",
		"pagerduty://c4n4ry":                                "pagerduty: integration key is missing",
		"pushbullet://c4n4ry":                               "pushbullet: token has incorrect size",
		"pushover://c4n4ry":                                 "pushover: token missing from config URL",
		"pushover://:c4n4ry@":                               "pushover: user missing from config URL",
		"rocketchat://h/c4n4ry":                             "rocketchat: the apiURL does not include enough arguments",
		"signal://h/c4n4ry":                                 "signal: no recipients specified",
		"signal://h/c4n4ry/c4n4ry":                          "signal: invalid phone number format",
		"slack://c4n4ry@webhook":                            "slack: invalid slack token format",
		"slack://hook:AAAAAAAAA-BBBBBBBBB,c4n4ry123456789123456789@webhook": "slack: ",
		"smtp://u:c4n4ry@h":                                      "smtp: fromAddress missing from config URL",
		"smtp://u:c4n4ry@h/?from=a@b.org":                        "smtp: ",
		"smtp://u:c4n4ry@h/?from=a@b.org&to=c@d.org&auth=c4n4ry": "smtp: ",
		"teams://c4n4ry":                                         "teams: invalid URL format",
		"teams://c4n4ry@c4n4ry/c4n4ry/c4n4ry/c4n4ry":             "teams: ",
		"teams+https://c4n4ry.webhook.office.com/c4n4ry":         "teams: ", // the library panics
		"teams://" + hexUUID + "@" + hexUUID + "/" + hex + "/" + hexUUID + "/c4n4ry?host=c4n4ry.example.org": "teams: ",
		"telegram://c4n4ry@telegram":                               "telegram: invalid telegram token",
		"telegram://123456789:c4n4ry_c4n4ry_c4n4ry_c4n4ry_c4n4ry1": "telegram: ",
		"wecom://c4n4ry!":                                          "wecom: invalid WeCom webhook key format",
		"zulip://c4n4ry@h":                                         "zulip: API key missing from config URL",
	} {
		n, name, err := services.New(secret.New(url))
		if err == nil || n != nil || name != "" {
			t.Errorf("%s is taken as %q", url, name)
			continue
		}
		if !strings.Contains(err.Error(), says) || says != "" && strings.HasSuffix(says, ": ") && !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", url, err, says)
		}
		if strings.Contains(strings.ToLower(err.Error()), canary) {
			t.Errorf("%s: the error holds a secret: %v", url, err)
		}
	}
}

// All that the library knows is known here.
func TestNames(t *testing.T) {
	library := slices.DeleteFunc(new(router.ServiceRouter).ListServices(), func(name string) bool { return name == "logger" })
	slices.Sort(library)
	if diff := cmp.Diff(library, services.Names()); diff != "" {
		t.Error(diff)
	}
}

func TestRepeats(t *testing.T) {
	const url = "slack://tok%65n:s3cr3t-ab@Host/?channel=general"
	for text, want := range map[string]bool{
		"": false, "invalid slack URL ab": false, "no s3cr3t": true, "NO S3CR3T": true, "xs3cr3tx": true, "no host": true, "bad channel": true, "bad token": true,
	} {
		if got := services.Repeats(text, url); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Matrix signs in when the library opens it: not at start, when the network may not be there yet.
func TestNothingIsConnectedToAtStart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() { _, err := listener.Accept(); accepted <- err }()
	newNotifier(t, "matrix://user:c4n4ry@"+listener.Addr().String()+"/?disabletls=yes")
	_ = listener.Close()
	if err := <-accepted; err == nil {
		t.Error("somebody connects")
	}
}

func FuzzNew(f *testing.F) {
	for _, e := range examples {
		f.Add(e.url)
	}
	for _, seed := range []string{"smtp://u:c4n4ry@h/?from=a@b.org&to=c@d.org", "matrix://:c4n4ry@h/?rooms=", "teams+https://c4n4ry", "generic+://c4n4ry", "c4n4ry"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		n, name, err := services.New(secret.New(url))
		if (err == nil) != (n != nil) || (err == nil) != (name != "") {
			t.Errorf("%q: %v %q %v", url, n, name, err)
		}
		if err != nil && strings.Contains(strings.ToLower(err.Error()), canary) {
			t.Errorf("%q: the error holds a secret: %v", url, err)
		}
	})
}
