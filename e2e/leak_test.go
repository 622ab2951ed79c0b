package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/e2e/sinks"
	"keywheel/xds/admin"
)

// What opens the admin API in this file's tests.
const (
	adminToken = "CANARYadminToken7Wn1Rk8sYt3mXc6pJf9h"
	readToken  = "CANARYreadToken3mXc6pJf9hGa2e5vLq0Zb"
)

// ask makes a request of the admin API and returns all of its answer.
func ask(t *testing.T, k *harness.Keywheel, method, path, token, body string) (status int, answer harness.Blob) {
	t.Helper()
	req, err := http.NewRequestWithContext(harness.Context(t), method, "http://"+k.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, harness.Blob{Name: fmt.Sprintf("the answer %d to a %s", res.StatusCode, method), Data: headerText(res.Header) + string(text)}
}

// misplaced makes requests that have a secret where none belongs, or a wrong one where one does, and returns the answers.
// None may change anything.
func misplaced(t *testing.T, k *harness.Keywheel, own, other string) (answers []harness.Blob) {
	t.Helper()
	for _, r := range []struct {
		method, path, token, body string
		status                    int
	}{
		{"POST", "/api/v1/keys", adminToken, `{"id":"` + other + `","secret":"` + other + `"}`, 422},
		{"POST", "/api/v1/keys", adminToken, `{"label":"` + other + `","secret":"` + other + `"}`, 422},
		{"POST", "/api/v1/keys", adminToken, `{"secret":"` + own + `"}`, 422},
		{"POST", "/api/v1/keys", adminToken, `{"secret":"` + other + ` ` + other + `"}`, 422},
		{"POST", "/api/v1/keys", adminToken, `{"sceret":"` + other + `"}`, 422},
		{"POST", "/api/v1/keys", adminToken, `{"secret":["` + other + `"]}`, 422},
		{"POST", "/api/v1/keys", adminToken, other, 400},
		{"POST", "/api/v1/keys", readToken, `{"secret":"` + other + `"}`, 403},
		{"POST", "/api/v1/keys", other, `{"secret":"` + other + `"}`, 401},
		{"PATCH", "/api/v1/keys/1", adminToken, `{"org":"` + other + `"}`, 422},
		{"PATCH", "/api/v1/keys/1", adminToken, `{"tier":"` + other + `"}`, 422},
		{"PATCH", "/api/v1/keys/1", adminToken, `{"priority":"` + other + `"}`, 422},
		{"PATCH", "/api/v1/keys/1", adminToken, `{"models":["` + other + `"]}`, 422},
		{"PATCH", "/api/v1/keys/1", adminToken, `{"used_tokens":0}`, 422},
		{"PATCH", "/api/v1/keys/" + other, adminToken, `{"priority":1}`, 404},
		{"DELETE", "/api/v1/keys/" + other, adminToken, "", 404},
		{"DELETE", "/api/v1/keys/" + other, readToken, "", 403},
		{"POST", "/api/v1/keys/" + other + "/clear", adminToken, "", 404},
		{"GET", "/api/v1/keys/" + other, adminToken, "", 404},
		{"GET", "/api/v1/usage?by=" + other, adminToken, "", 422},
		{"GET", "/api/v1/summaries/" + other, adminToken, "", 422},
	} {
		status, answer := ask(t, k, r.method, r.path, r.token, r.body)
		if status != r.status {
			t.Errorf("%s %.20s with %.12s… is answered %d, want %d", r.method, r.path, r.body, status, r.status)
		}
		answers = append(answers, answer)
	}
	return answers
}

// After keys were added, changed and removed in every way, the right one and the wrong one, by the API and the command
// line, with calls that fail and people who are told, and a restart, no secret stands in anything that is shown, logged,
// sent or kept, however much Keywheel and Envoy say.
func TestNoSecretIsShownAfterChanges(t *testing.T) {
	t.Parallel()
	told, hook := startPeople(t), sinks.StartWebhook(t, webhookSecret)
	settings := told.settings()
	for name, value := range map[string]string{
		"KEYWHEEL_LOG_LEVEL": "debug", "KEYWHEEL_MASTER_KEY": masterKey, "KEYWHEEL_ADMIN_TOKEN": adminToken, "KEYWHEEL_ADMIN_READ_TOKEN": readToken,
		"KEYWHEEL_WEBHOOK_URL": hook.URL + "/hook", "KEYWHEEL_WEBHOOK_SECRET": webhookSecret,
		"KEYWHEEL_NOTIFY_ROUTES": "key_invalid=log,telegram,email,webhook; key_cleared=log,telegram,webhook",
	} {
		settings[name] = value
	}
	s := harness.Start(t, harness.Options{Keys: harness.Keys(2, 0), LogLevel: "trace", Settings: settings})
	extra := harness.Keys(4, 0) // secrets that come by the API: added, added by the command line, put in another's place, never taken
	for _, k := range extra[:3] {
		s.Groq.AddKey(fakegroq.Key{Secret: k.Secret, Name: "x" + k.ID})
	}
	blobs := changed(t, s, extra)
	before := s.Keywheel.Page(t, "/api/v1/keys")
	blobs = append(blobs, misplaced(t, s.Keywheel, s.Keys[0].Secret, extra[3].Secret)...)
	if diff := cmp.Diff(before, s.Keywheel.Page(t, "/api/v1/keys")); diff != "" {
		t.Errorf("requests that were refused changed the keys:\n%s", diff)
	}
	assertRefusalsAudited(t, s.Keywheel)
	blobs = append(blobs, harness.Blob{Name: "Keywheel's log before the restart", Data: s.Keywheel.Log()})
	s.Keywheel.Terminate(t)
	s.Keywheel.Start(t, "serve")
	s.Keywheel.WaitGranted(t, 0)
	for _, c := range s.Clients() {
		a := c.Do(t, harness.Call{Stream: true})
		blobs = append(blobs, harness.Blob{Name: "an answer to the client", Data: headerText(a.Header) + string(a.Body)})
	}
	for _, m := range append(told.telegram.Got(), hook.Got()...) {
		blobs = append(blobs, harness.Blob{Name: "a message", Data: string(m.Raw) + m.Text})
	}
	for _, l := range told.mail.Got() {
		blobs = append(blobs, harness.Blob{Name: "a letter", Data: string(l.Raw)})
	}
	for _, page := range envoyPages {
		blobs = append(blobs, harness.Blob{Name: "Envoy's " + page, Data: s.Envoy.AdminGet(t, page)})
	}
	for _, page := range operatorPages {
		blobs = append(blobs, harness.Blob{Name: "Keywheel's " + page, Data: s.Keywheel.Page(t, page)})
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"events"}, {"summary"}, {"check"}, {"envoy-config"}} {
		stdout, stderr, _ := s.Keywheel.Output(t, args...)
		blobs = append(blobs, harness.Blob{Name: "keywheel " + strings.Join(args, " "), Data: stdout + stderr})
	}
	blobs = append(blobs, harness.Blob{Name: "Envoy's log", Data: s.Envoy.Log()}, harness.Blob{Name: "Keywheel's log", Data: s.Keywheel.Log()})
	secrets := []string{masterKey, adminToken, readToken, botToken, webhookSecret}
	for _, k := range slices.Concat(extra, s.Keys) {
		secrets = append(secrets, k.Secret)
	}
	harness.AssertNoSecret(t, secrets, append(blobs, files(t, s.Keywheel.Dir)...)...)
	t.Logf("%d secrets were looked for in %d places", len(secrets), len(blobs))
}

// assertRefusalsAudited wants those in the audit who had no right to what they asked for, newest first.
func assertRefusalsAudited(t *testing.T, k *harness.Keywheel) {
	t.Helper()
	audits, err := adminOf(t, k).Audits(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, a := range audits {
		if a.Outcome == "refused" {
			refused = append(refused, a.Who+" "+a.What)
		}
	}
	if diff := cmp.Diff([]string{"read remove key", "nobody add key", "read add key"}, refused); diff != "" {
		t.Errorf("refusals in the audit (-want +got):\n%s", diff)
	}
}

// changed changes keys in every way, and returns what was shown of it.
func changed(t *testing.T, s *harness.Stack, extra []harness.Key) (blobs []harness.Blob) {
	t.Helper()
	api := adminOf(t, s.Keywheel)
	if _, err := api.AddKey(t.Context(), admin.NewKey{KeyFields: admin.KeyFields{Secret: &extra[0].Secret, Priority: pointer(1)}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Keywheel.Dir, "secret")
	for n, args := range [][]string{
		{"keys", "add", "--id", "cli", "--label", "By hand", "--limit", "10,000", "--secret-file", file},
		{"keys", "replace", "2", "--secret-file", file},
		{"keys", "disable", "cli"},
		{"keys", "enable", "cli"},
		{"keys", "remove", "cli", "--yes"},
	} {
		if err := os.WriteFile(file, []byte(extra[min(n+1, 2)].Secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, exit := s.Keywheel.Output(t, args...)
		if exit != 0 || !strings.Contains(stdout, "It is in effect on 1 Envoy.") {
			t.Errorf("keywheel %s: exit code %d, %s%s", strings.Join(args[:3], " "), exit, stdout, stderr)
		}
		blobs = append(blobs, harness.Blob{Name: "keywheel " + args[1], Data: stdout + stderr})
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Concat(extra[:3], s.Keys) { // every one is refused once, and asked for again
		if err := s.Groq.Script(k.Secret, fakegroq.Rule{Fault: fakegroq.InvalidKey, Count: 1}); err != nil {
			t.Fatal(err)
		}
	}
	a := s.H1.Do(t, harness.Call{})
	blobs = append(blobs, harness.Blob{Name: "an answer to the client", Data: headerText(a.Header) + string(a.Body)})
	harness.Eventually(t, "people are told of a refused key", func() error {
		sent := map[string]bool{}
		for _, n := range s.Keywheel.Notifications(t) {
			if n.State == "sent" {
				sent[n.Receiver] = true
			}
		}
		if len(sent) < 3 {
			return fmt.Errorf("only these: %v", sent)
		}
		return nil
	})
	for _, k := range []string{"1", "2", "3"} {
		s.Keywheel.WaitGranted(t, s.Keywheel.Clear(t, k))
	}
	return blobs
}
