package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/secret"
	"keywheel/xds/admin"
	"keywheel/xds/client"
)

// masterKey seals what comes by the API.
const masterKey = "CANARYmasterKey5vLq0Zb7dW1nRk8sYt3mXc6p"

// adminOf is a client of the admin API, with the admin token.
func adminOf(t *testing.T, k *harness.Keywheel) *client.Client {
	t.Helper()
	return client.New(k.Admin, secret.New(k.Token(t)))
}

// Keys are changed by the API in every way while sixteen clients call through two Envoys: by two people at once, a
// thousand times, and a hundred times with Keywheel pushing and being told as seldom as it does by default. No call fails;
// what was taken away is not used two seconds after every Envoy is shown to know of it; and at the end the account is
// the simulated Groq's, and the audit has every change.
func TestHotChangesUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name     string
		edits    int // of each editor
		together int // of them, before an editor waits until they are in effect
		settings map[string]string
	}{
		{"pushed at once", 500, 12, map[string]string{"KEYWHEEL_PUSH_INTERVAL": "50ms", "KEYWHEEL_REPORT_INTERVAL": "100ms"}},
		{"pushed each second", 50, 4, map[string]string{"KEYWHEEL_PUSH_INTERVAL": "", "KEYWHEEL_REPORT_INTERVAL": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHot(t, c.settings)
			h.edit(t, c.edits, c.together)
			h.quiet(t)
			if t.Failed() {
				return
			}
			h.assertTakenAway(t)
			h.assertAccount(t)
			h.assertAudit(t)
			h.assertSecrets(t)
		})
	}
}

// hot is a stack whose keys are changed under load.
type hot struct {
	*harness.Stack
	admin   *client.Client
	envoys  []*harness.Envoy
	loads   []*harness.Load
	seen    *sightings
	shown   *shown
	editors []*editor

	mu     sync.Mutex // guards what follows
	served string     // the ID of the key that served last
	calls  int64
	failed int
}

// startHot runs six keys, two Envoys and sixteen clients: four of each HTTP version on each Envoy, half of them streaming.
func startHot(t *testing.T, settings map[string]string) *hot {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := &hot{seen: newSightings(harness.SpreadTokens(seed, 20, 400))}
	all := map[string]string{"KEYWHEEL_MASTER_KEY": masterKey}
	maps.Copy(all, settings)
	h.Stack = harness.Start(t, harness.Options{
		Keys: harness.Keys(6, 0), Settings: all, Args: []string{"--now", "2025-11-18T09:00:00Z"},
		Groq: fakegroq.Options{TokensFor: h.seen.tokens, Remember: -1},
	})
	second, client2 := h.SecondEnvoy(t)
	h.envoys = []*harness.Envoy{h.Envoy, second}
	h.admin = adminOf(t, h.Keywheel)
	h.shown = watchShown(t, h.admin, len(h.envoys))
	for i := range 2 {
		h.editors = append(h.editors, newEditor(h, i, rand.New(rand.NewPCG(seed, uint64(i)))))
	}
	for i, c := range []*harness.Client{h.H1, h.H2, client2, harness.NewClient(t, strings.TrimPrefix(client2.URL(), "http://"), true)} {
		h.loads = append(h.loads, harness.StartLoad(t, c, 4, harness.Call{Stream: i == 1 || i == 2}, h.took(t)))
	}
	return h
}

// took looks at each answer.
func (h *hot) took(t *testing.T) func(int, harness.Answer, error) bool {
	return func(_ int, a harness.Answer, err error) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls++
		h.served = a.Key
		if err != nil || a.Err != nil || a.Status != 200 {
			t.Errorf("a client got %v, %s", err, a)
			h.failed++
		}
		return h.failed < 10
	}
}

// edit has each editor make so many changes, both at once.
func (h *hot) edit(t *testing.T, changes, together int) {
	t.Helper()
	var all sync.WaitGroup
	for _, e := range h.editors {
		all.Go(func() {
			if err := e.run(t.Context(), changes, together); err != nil {
				t.Errorf("an editor: %v", err)
			}
		})
	}
	all.Wait()
}

// quiet ends the load, once the last change is in effect and what it took away had its two seconds.
func (h *hot) quiet(t *testing.T) {
	t.Helper()
	h.shown.letPass(t, late+late/4)
	for _, load := range h.loads {
		load.Stop()
	}
	if err := h.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	h.shown.stop()
	t.Logf("%d calls in all", h.calls)
}

// assertAccount holds what the day came to against what the simulated Groq told: for each key, of all the secrets that it
// had, be it still there or not.
func (h *hot) assertAccount(t *testing.T) {
	t.Helper()
	const day = "2025-11-18"
	told, want := h.Groq.Ledger(), map[string]int64{}
	var sum int64
	for _, e := range h.editors {
		for s, id := range e.owners {
			if n := told[s].Tokens.Total(); n > 0 {
				want[id] += n
				sum += n
			}
		}
	}
	if unknown := told[fakegroq.UnknownKey]; unknown.Requests != 0 {
		t.Errorf("%d requests came with secrets that Groq does not know", unknown.Requests)
	}
	var s admin.Summary
	harness.Eventually(t, "the summary agrees", func() (err error) {
		if s, err = h.admin.Summary(t.Context(), day); err != nil {
			return err
		}
		got := map[string]int64{}
		for _, k := range s.Keys {
			if k.Tokens > 0 {
				got[k.ID] = k.Tokens
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("tokens by key (-want +got):\n%s", diff)
		}
		if s.Requests != h.calls {
			return fmt.Errorf("%d calls, want %d", s.Requests, h.calls)
		}
		return nil
	})
	if s.Tokens != sum || s.EstimatedTokens != 0 || s.Refused+s.Failed+s.Cut+s.DowntimeSeconds != 0 || s.SuccessRate == nil || *s.SuccessRate != 100 {
		t.Errorf("of %d tokens the summary says %+v", sum, s)
	}
	for _, query := range []string{"by=key&step=5m", "by=key&step=1h", "by=key&step=1d"} {
		if diff := cmp.Diff(want, usageOf(t, h.Keywheel, day, query)); diff != "" {
			t.Errorf("usage?%s: tokens by key (-want +got):\n%s", query, diff)
		}
	}
	for _, p := range h.Keywheel.Proxies(t) {
		if p.Rejected != 0 {
			t.Errorf("an Envoy refused assignments: %+v", p)
		}
	}
}

// usageOf is GET /api/v1/usage of a day, as tokens by name.
func usageOf(t *testing.T, k *harness.Keywheel, day, query string) map[string]int64 {
	t.Helper()
	var u admin.Usage
	k.API(t, "/api/v1/usage?from="+day+"&"+query, &u)
	got := map[string]int64{}
	for _, s := range u.Series {
		for _, p := range s.Points {
			got[s.Name] += p.Tokens
		}
	}
	return got
}

// audited is a change as the audit is to have it.
func audited(what string, fields ...string) string {
	return fmt.Sprint("admin ", "127.0.0.1 ", what, " ", fields, " done")
}

// assertAudit holds the audit against what the editors did, key by key.
func (h *hot) assertAudit(t *testing.T) {
	t.Helper()
	got, want := map[string][]string{}, map[string][]string{}
	newest := h.audits(t)
	for _, a := range slices.Backward(newest) {
		if a.From == nil || a.Key == nil || a.Detail != nil {
			t.Errorf("%+v", a)
			continue
		}
		fields := slices.Clone(a.Fields)
		slices.Sort(fields)
		got[*a.Key] = append(got[*a.Key], fmt.Sprint(a.Who, " ", *a.From, " ", a.What, " ", fields, " ", a.Outcome))
	}
	for _, e := range h.editors {
		maps.Copy(want, e.audited)
	}
	for id, changes := range want { // the API shows the newest thousand only
		if extra := len(changes) - len(got[id]); extra > 0 && len(newest) == maxAudits {
			want[id] = changes[extra:]
		}
	}
	maps.DeleteFunc(want, func(id string, changes []string) bool { return len(changes) == 0 })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit, by key (-want +got):\n%s", diff)
	}
	t.Logf("%d changes are in the audit", len(newest))
}

// maxAudits is how many entries the API shows.
const maxAudits = 1000

func (h *hot) audits(t *testing.T) []admin.Audit {
	t.Helper()
	all, err := h.admin.Audits(t.Context(), maxAudits)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// assertSecrets looks for every secret that there was wherever something is shown, logged or kept.
func (h *hot) assertSecrets(t *testing.T) {
	t.Helper()
	secrets := []string{masterKey, h.Keywheel.Token(t)}
	for _, e := range h.editors {
		secrets = slices.AppendSeq(secrets, maps.Keys(e.owners))
	}
	blobs := []harness.Blob{{Name: "Keywheel's log", Data: h.Keywheel.Log()}}
	for i, e := range h.envoys {
		for _, page := range []string{"/config_dump?include_eds", "/stats", "/clusters?format=json", "/server_info"} {
			blobs = append(blobs, harness.Blob{Name: fmt.Sprintf("Envoy %d's %s", i+1, page), Data: e.AdminGet(t, page)})
		}
	}
	for _, page := range operatorPages {
		blobs = append(blobs, harness.Blob{Name: "Keywheel's " + page, Data: h.Keywheel.Page(t, page)})
	}
	for _, f := range files(t, h.Keywheel.Dir) {
		if f.Name != "the file keywheel.token" {
			blobs = append(blobs, f)
		}
	}
	harness.AssertNoSecret(t, secrets, blobs...)
	t.Logf("%d secrets were looked for in %d places", len(secrets), len(blobs))
	for line := range strings.Lines(h.Keywheel.Log()) {
		if strings.Contains(line, " ERROR ") && !strings.Contains(line, "quota used - near exhaustion!") {
			t.Errorf("Keywheel's log has an error: %s", line)
		}
	}
}

// operatorPages are what Keywheel shows to those who run it.
var operatorPages = append([]string{
	"/api/v1/events?limit=1000", "/api/v1/audit?limit=1000", "/api/v1/notifications?limit=1000", "/api/v1/summaries/2025-11-18",
	"/api/v1/usage?from=2025-11-18", "/", "/metrics",
}, productPages...)
