package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keywheel/e2e/browser"
	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

const (
	callTokens = 100   // that each answer stands for
	firstLimit = 2_000 // tokens of key 1 a day
	nextLimit  = 100_000_000
)

// groqName is where the containers find the simulated Groq.
const groqName = "groq.test"

// example is examples/docker-compose, running.
type example struct {
	*project
	groq     *fakegroq.Server
	keys     []harness.Key
	keywheel *harness.Keywheel
	client   *harness.Client
	mail     string // host:port of the mailbox's API
	link     string // by which a person signs in
}

// override makes the containers reach the simulated Groq, and trust it.
const override = `
x-groq: &groq
  extra_hosts: ["` + groqName + `:host-gateway"]
  volumes: ["./ca.pem:/etc/groq-ca.pem:ro"]
services:
  check: *groq
  envoy-config: *groq
  keywheel: *groq
  envoy: *groq
`

// prepare writes what a user writes: keys 1 and 2 as Docker secrets, key 3 and the rest in .env.
func prepare(t *testing.T) *example {
	t.Helper()
	e := needEngine(t)
	x := &example{keys: []harness.Key{{ID: "1", LimitTokens: firstLimit}, {ID: "2", LimitTokens: nextLimit}, {ID: "3"}}}
	for i, k := range harness.Keys(len(x.keys), 0) {
		x.keys[i].Secret = k.Secret
	}
	x.groq = harness.StartGroq(t, fakegroq.Options{
		Addr: ":0", TLS: &fakegroq.TLS{Names: []string{groqName}}, Hosts: []string{groqName},
		TokensFor: fakegroq.FixedTokens(callTokens/2, callTokens/2), Remember: -1,
	}, x.keys)
	_, groqPort, err := net.SplitHostPort(x.groq.Addr())
	if err != nil {
		t.Fatal(err)
	}
	listen, admin := harness.FreeAddr(t), harness.FreeAddr(t)
	x.mail = harness.FreeAddr(t)
	x.project = newProject(t, e, map[string]string{
		".env": dotenv(map[string]string{
			"CONTROL_PLANE_IMAGE": e.keywheelImage(t), "ENVOY_IMAGE": e.envoyImage(t), "MAIL_IMAGE": e.mailImage(t),
			"ENVOY_PORT": port(listen), "ADMIN_PORT": port(admin), "MAIL_PORT": port(x.mail),
			"GROQ_KEY_1_DAILY_LIMIT": strconv.Itoa(firstLimit), "GROQ_KEY_2_DAILY_LIMIT": strconv.Itoa(nextLimit),
			"GROQ_API_KEY_3": x.keys[2].Secret, "KEYWHEEL_REQUIRED_TOKENS": strconv.Itoa(callTokens),
			"KEYWHEEL_UPSTREAM_URL": "https://" + groqName + ":" + groqPort, "SSL_CERT_FILE": "/etc/groq-ca.pem",
			"KEYWHEEL_NOTIFY_ROUTES": "threshold=log,email",
		}),
		"secrets/groq-1": x.keys[0].Secret + "\n", "secrets/groq-2": x.keys[1].Secret,
		"ca.pem": string(x.groq.CA().PEM), "override.yaml": override,
	}, "compose.secrets.yaml")
	x.keywheel = harness.Attach(admin, listen, "")
	x.client = harness.NewClient(t, listen, false)
	return x
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// signIn matches the link in the log.
var signIn = regexp.MustCompile(`http://\S+/#token=(\S+)`)

// up starts what is not running, and signs in as a person does: by the link in the log.
func (x *example) up(t *testing.T) {
	t.Helper()
	begun := time.Now()
	x.compose(t, "up", "--detach", "--wait")
	t.Logf("`up` took %s", since(begun))
	links := signIn.FindAllStringSubmatch(x.compose(t, "logs", "--no-color", "keywheel"), -1)
	if len(links) == 0 {
		t.Fatal("`docker compose logs keywheel` shows no link to sign in")
	}
	x.link = links[len(links)-1][0]
	if at := "http://" + x.keywheel.Admin + "/#token="; !strings.HasPrefix(x.link, at) {
		t.Errorf("the link does not begin with %s", at)
	}
	x.keywheel.Set("KEYWHEEL_ADMIN_TOKEN", links[len(links)-1][1])
	x.keywheel.WaitGranted(t, 0)
}

// truth waits until the ledger holds exactly what the simulated Groq told.
func (x *example) truth(t *testing.T) {
	t.Helper()
	if err := x.groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	x.keywheel.WaitLedger(t, harness.Oracle(x.groq, x.keys))
}

// The example as it is delivered, through what a day can bring.
func TestExample(t *testing.T) {
	x := prepare(t)
	x.up(t)
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"confined", x.assertConfined},
		{"one call is on the page", x.assertPage},
		{"a 429 is rescued inside the call", x.assertRescue},
		{"rotation at the limit, alerts by mail", x.assertRotation},
		{"restarts under load lose nothing", x.assertRestarts},
		{"down and up keep the account", x.assertKept},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
	token := strings.TrimPrefix(x.link, "http://"+x.keywheel.Admin+"/#token=")
	logs := x.compose(t, "logs", "--no-color")
	harness.AssertNoSecret(t, x.secrets(), harness.Blob{Name: "the containers' logs", Data: logs})
	harness.AssertNoSecret(t, append(x.secrets(), token), harness.Blob{Name: "the containers' logs, but the link", Data: signIn.ReplaceAllString(logs, "")},
		harness.Blob{Name: "Envoy's container", Data: x.docker(t, "inspect", x.container(t, "envoy"))})
}

func (x *example) secrets() []string {
	secrets := []string{harness.ClientSecret}
	for _, k := range x.keys {
		secrets = append(secrets, k.Secret)
	}
	return secrets
}

// assertConfined looks at what the engine really gave each container.
func (x *example) assertConfined(t *testing.T) {
	for _, service := range []string{"check", "envoy-config", "keywheel", "envoy", "mail"} {
		var container struct {
			Config     struct{ User string }
			HostConfig struct {
				ReadonlyRootfs  bool
				CapAdd, CapDrop []string
				SecurityOpt     []string
				Privileged      bool
				PortBindings    map[string][]struct{ HostIP string }
				RestartPolicy   struct{ Name string }
				PublishAllPorts bool
			}
		}
		if err := json.Unmarshal([]byte(x.docker(t, "inspect", "--format", "{{json .}}", x.container(t, service))), &container); err != nil {
			t.Fatal(err)
		}
		h := container.HostConfig
		if container.Config.User != "65532:65532" || !h.ReadonlyRootfs || h.Privileged || len(h.CapAdd) > 0 || !slices.Equal(h.CapDrop, []string{"ALL"}) ||
			!slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "no-new-privileges") }) {
			t.Errorf("%s may do too much: %+v", service, container)
		}
		for name, bindings := range h.PortBindings {
			for _, b := range bindings {
				if b.HostIP != "127.0.0.1" {
					t.Errorf("%s publishes %s on %q", service, name, b.HostIP)
				}
			}
		}
		want := "unless-stopped"
		if service == "check" || service == "envoy-config" {
			want = "no"
		}
		if h.RestartPolicy.Name != want {
			t.Errorf("%s is restarted %q, not %q", service, h.RestartPolicy.Name, want)
		}
	}
}

// assertPage makes the first call, and looks for it on the page as it is opened by the link.
func (x *example) assertPage(t *testing.T) {
	if a := x.client.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
		t.Fatalf("the first call: %s", a)
	}
	x.truth(t)
	v := browser.Open(t, x.link)
	v.AwaitText("#title", "Groq (3 keys)")
	v.AwaitText("#keys", fmt.Sprintf("%d%%", 100*callTokens/firstLimit))
}

// assertRescue has key 1 throttled: another answers the same call.
func (x *example) assertRescue(t *testing.T) {
	a := x.client.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1"}})
	if a.Status != 200 || a.Key != "2" {
		t.Errorf("the call got %s", a)
	}
	x.keywheel.WaitPool(t, "the rescue is counted", func(p harness.PoolState) error {
		if p.Rescues != 1 {
			return fmt.Errorf("there are %d", p.Rescues)
		}
		return nil
	})
	x.keywheel.WaitGranted(t, x.keywheel.Clear(t, "1"))
}

// assertRotation spends key 1 until the next one takes over, and reads the mail about it.
func (x *example) assertRotation(t *testing.T) {
	for calls := 0; ; calls++ {
		a := x.client.Do(t, harness.Call{})
		if a.Status != 200 || calls > firstLimit/callTokens {
			t.Fatalf("after %d calls: %s", calls, a)
		}
		if a.Key == "2" {
			break
		}
	}
	x.truth(t)
	if key := x.keywheel.Keys(t)["1"]; key.UsedTokens != firstLimit || key.Status != "exhausted" {
		t.Errorf("key 1 is %+v", key)
	}
	harness.Eventually(t, "the alerts arrive", func() error {
		subjects, err := x.mailbox(t)
		for _, want := range []string{"Groq Key 1 at 75%", "Groq Key 1 at 90%", "Groq Key 1 is exhausted"} {
			if !slices.ContainsFunc(subjects, func(s string) bool { return strings.Contains(s, want) }) {
				err = errors.Join(err, fmt.Errorf("no %q among %q", want, subjects))
			}
		}
		return err
	})
}

// mailbox is the subjects of all mail, as Mailpit's API tells them.
func (x *example) mailbox(t *testing.T) ([]string, error) {
	req, err := http.NewRequestWithContext(harness.Context(t), http.MethodGet, "http://"+x.mail+"/api/v1/messages", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var box struct{ Messages []struct{ Subject string } }
	err = json.NewDecoder(res.Body).Decode(&box)
	var subjects []string
	for _, m := range box.Messages {
		subjects = append(subjects, m.Subject)
	}
	return subjects, err
}

// assertRestarts restarts each container while clients call. A client may find nobody there for a moment, or an Envoy that
// has no keys yet; no call that has begun is cut, and the ledger has every token.
func (x *example) assertRestarts(t *testing.T) {
	const clients, more = 8, 300
	served, nobody := 0, 0
	load := harness.StartLoad(t, x.client, clients, harness.Call{Stream: true}, func(_ int, a harness.Answer, err error) bool {
		switch {
		case err != nil:
			nobody++
		case a.Status == 503 && a.ErrorCode() == "no_assignment":
			nobody++
		case a.Status != 200 || a.Err != nil || !strings.HasSuffix(string(a.Body), "data: [DONE]\n\n"):
			t.Errorf("a client got %s", a)
		default:
			served++
		}
		return true
	})
	for _, service := range []string{"keywheel", "envoy"} {
		from, missed := 0, 0
		load.Look(func() { from, missed = served, nobody })
		load.WaitFor(t, "calls are served", func() bool { return served >= from+more || t.Failed() })
		begun := time.Now()
		x.compose(t, "restart", service)
		load.Look(func() { from = served })
		load.WaitFor(t, "calls are served again", func() bool { return served >= from+more || t.Failed() })
		load.Look(func() {
			t.Logf("%s is restarted, in %s: %d calls are served, %d found nobody", service, since(begun), served, nobody-missed)
		})
	}
	load.Stop()
	x.truth(t)
}

// assertKept takes everything down but the volumes.
func (x *example) assertKept(t *testing.T) {
	before := x.keywheel.Keys(t)
	x.compose(t, "down")
	x.up(t)
	after := x.keywheel.Keys(t)
	for id, k := range before {
		if after[id].UsedTokens != k.UsedTokens || after[id].Requests != k.Requests {
			t.Errorf("key %s was %+v and is %+v", id, k, after[id])
		}
	}
	if a := x.client.Do(t, harness.Call{}); a.Status != 200 || a.Key != "2" {
		t.Errorf("a call afterwards: %s", a)
	}
	x.truth(t)
}
