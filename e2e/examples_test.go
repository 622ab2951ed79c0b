package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// startExample runs one of examples/ from its own envoy.yaml, changed by edit where its user must fill in too. The keys
// come from the example's own settings, if it has some.
func startExample(t *testing.T, name, keysFile string, settings map[string]string, edit func(*harness.File)) *harness.Stack {
	t.Helper()
	f := harness.ReadFile(t, "examples/"+name+"/envoy.yaml")
	if edit != nil {
		edit(f)
	}
	return harness.StartFile(t, f, harness.FileOptions{
		Listen: f.Move(t, "127.0.0.1:10000"), Admin: f.Move(t, "127.0.0.1:9901"), KeysFile: keysFile, Settings: settings,
		Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
	})
}

// Beside Groq's route the user's own application is served, untouched. Keys and limits are those of keys.env.
func TestExamplePlainEnvoy(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.URL, r.Header.Get("Authorization"))
	}))
	t.Cleanup(app.Close)
	s := startExample(t, "plain-envoy", "examples/plain-envoy/keys.env", nil, func(f *harness.File) {
		f.Point(t, "127.0.0.1:3000", app.Listener.Addr().String())
	})
	a := s.H1.Do(t, harness.Call{Path: "/mine?x=1"})
	if a.Status != 200 || a.Key != "" || string(a.Body) != "/mine?x=1 Bearer "+harness.ClientSecret {
		t.Errorf("the application: %s", a)
	}
	rotates(t, s, "")
	got := map[string]string{}
	for id, key := range s.Keywheel.Keys(t) {
		if key.LimitTokens == nil {
			t.Fatalf("key %s has no limit", id)
		}
		got[id] = fmt.Sprint(key.Label, " ", *key.LimitTokens)
	}
	want := map[string]string{"1": "Primary 14400", "2": "Backup 14400", "3": "Emergency 14400"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys and limits (-keys.env +got)\n%s", diff)
	}
}

func as(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }

// filledIn is the example's file of clients with a key for each, as its README has them made, and those keys.
func filledIn(t *testing.T) (text string, keys map[string]string) {
	t.Helper()
	text, keys = harness.ReadFile(t, clientsExample).Text, map[string]string{}
	for _, client := range []string{"website", "nightly-batch", "alice"} {
		keys[client] = rand.Text() + rand.Text()
		f := harness.File{Name: clientsExample, Text: text}
		f.Replace(t, "client: "+client+", key: REPLACE-ME", "client: "+client+", key: "+keys[client])
		text = f.Text
	}
	return text, keys
}

const clientsExample = "examples/client-auth/clients.yaml"

// Only who has a client's key is served, under the client's name, whatever the call says of itself. Neither the key nor
// the name goes on to Groq. And who moves a new file of clients to its place changes them without a restart.
func TestExampleClientAuth(t *testing.T) {
	t.Parallel()
	clients := filepath.Join(t.TempDir(), "clients.yaml")
	text, keys := filledIn(t)
	moveThere(t, clients, text)
	s := startExample(t, "client-auth", "", map[string]string{"KEYWHEEL_CALLER_HEADER": "x-client"}, func(f *harness.File) {
		f.Replace(t, "/etc/envoy/clients.yaml", clients)
	})
	t.Run("strangers are refused", func(t *testing.T) { strangers(t, s, keys["alice"]) })
	for name, c := range s.Clients() {
		for _, client := range []string{"website", "nightly-batch", "website"} {
			header := as(keys[client])
			header["X-Client"] = []string{"alice", "somebody-else"} // not their own name
			a := c.Do(t, harness.Call{Header: header, Tag: client, Script: fakegroq.Rule{Fault: fakegroq.RateTPM, Only: "1"}})
			if a.Status != 200 || a.Key != "2" {
				t.Fatalf("%s, %s: %s", name, client, a)
			}
			s.Recover(t)
		}
	}
	s.AssertOracle(t)
	usedBy(t, s, "website", "nightly-batch")
	secrets := s.Secrets()[1:]
	for _, key := range keys {
		secrets = append(secrets, key)
		for _, r := range s.Groq.Truth().Requests {
			if r.Key == "" || r.Header.Get("X-Client") != "" || strings.Contains(headerText(r.Header), key) {
				t.Errorf("a call reached Groq with key %q, or with the client's key or name", r.Key)
			}
		}
	}
	for _, page := range envoyPages {
		harness.AssertNoSecret(t, secrets, harness.Blob{Name: "Envoy's " + page, Data: s.Envoy.AdminGet(t, page)})
	}
	t.Run("another file of clients", func(t *testing.T) { otherClients(t, s, clients, text, keys["website"]) })
}

// usedBy checks that the day's use is that of these clients, and of nobody else.
func usedBy(t *testing.T, s *harness.Stack, clients ...string) {
	t.Helper()
	type use struct{ Tokens, Requests int64 }
	want := map[string]use{}
	for _, client := range clients {
		var u use
		for _, r := range s.Groq.Truth().Tagged(client) {
			if r.Told {
				u.Tokens += r.Tokens.Total()
				u.Requests++ // one of each call's two attempts
			}
		}
		want[client] = u
	}
	harness.Eventually(t, "use is counted by client", func() error {
		var usage struct {
			Series []struct {
				Name   string
				Points []use
			}
		}
		s.Keywheel.API(t, "/api/v1/usage?by=caller&step=1d", &usage)
		got := map[string]use{}
		for _, of := range usage.Series {
			for _, p := range of.Points {
				u := got[of.Name]
				got[of.Name] = use{u.Tokens + p.Tokens, u.Requests + p.Requests}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("(-truth +usage)\n%s", diff)
		}
		return nil
	})
	if p := s.Keywheel.Pool(t); p.Requests != want["website"].Requests+want["nightly-batch"].Requests {
		t.Errorf("%d calls are counted: strangers' are too", p.Requests)
	}
}

// otherClients moves another file of clients to the place of the one in force.
func otherClients(t *testing.T, s *harness.Stack, path, text, oldKey string) {
	t.Helper()
	moveThere(t, path, strings.ReplaceAll(text, oldKey, "another-key"))
	harness.Eventually(t, "the new key is taken", func() error {
		if a := s.H1.Do(t, harness.Call{Header: as("another-key")}); a.Status != 200 {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	if a := s.H1.Do(t, harness.Call{Header: as(oldKey)}); a.Status != 401 {
		t.Errorf("the old key: %s", a)
	}
	moveThere(t, path, harness.ReadFile(t, clientsExample).Text) // nobody may be served by a key that everybody knows
	harness.Eventually(t, "the example as it stands is refused", func() error {
		for _, n := range s.Envoy.Stats(t, `extension_config_discovery.*\.clients\.(config_fail|update_rejected|config_conflict)$`) {
			if n > 0 {
				return nil
			}
		}
		return errors.New("it is not counted as refused")
	})
	if a := s.H1.Do(t, harness.Call{Header: as("REPLACE-ME")}); a.Status != 401 {
		t.Errorf("with the placeholder: %s", a)
	}
	if a := s.H1.Do(t, harness.Call{Header: as("another-key")}); a.Status != 200 {
		t.Errorf("the last good file is not in force any more: %s", a)
	}
}

// strangers get 401 in Groq's shape, and nothing of theirs reaches Groq or counts as a call.
func strangers(t *testing.T, s *harness.Stack, known string) {
	t.Helper()
	for name, c := range s.Clients() {
		for what, header := range map[string]http.Header{
			"a wrong key": as("REPLACE-ME"), "a Groq key": as(s.Keys[0].Secret), "no key": {"Authorization": nil}, "an empty key": as(""),
			"no Bearer": {"Authorization": {"Basic " + known}}, "another header": {"Authorization": nil, "X-Api-Key": {known}},
		} {
			for _, path := range []string{harness.ChatPath, "/v1/models", "/elsewhere"} {
				a := c.Do(t, harness.Call{Path: path, Header: header})
				if a.Status != 401 || a.ErrorCode() != "invalid_api_key" || a.ErrorMessage() != "Client authentication failed." {
					t.Errorf("%s, %s: %s", name, what, a)
				}
			}
		}
	}
	if got := s.Groq.Truth().Received; got != 0 {
		t.Errorf("%d calls reached Groq", got)
	}
}

// moveThere writes a file by a rename, as Envoy watches for.
func moveThere(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// The access log has a line of JSON for each call, with the key that served and the number of keys tried, and no secret.
func TestExampleAccessLog(t *testing.T) {
	t.Parallel()
	s := startExample(t, "access-log", "", nil, nil)
	rotates(t, s, "")
	s.H1.Do(t, harness.Call{Path: "/v1/files"})
	want := map[string]int{`"1" 1 200`: 4, `"2" 2 200`: 4, `null 0 403`: 1}
	var lines []string
	harness.Eventually(t, "the log has all calls", func() error {
		got := map[string]int{}
		lines = nil
		for line := range strings.Lines(s.Envoy.Log()) {
			var l struct {
				Key              json.RawMessage
				Attempts, Status int
			}
			if json.Unmarshal([]byte(line), &l) == nil && l.Status != 0 {
				got[fmt.Sprintf("%s %d %d", l.Key, l.Attempts, l.Status)]++
				lines = append(lines, line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("lines by key, attempts and status (-want +got)\n%s", diff)
		}
		return nil
	})
	t.Log(lines[1])
	harness.AssertNoSecret(t, s.Secrets(), harness.Blob{Name: "the access log", Data: strings.Join(lines, "")})
}
