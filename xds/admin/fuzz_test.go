package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/xds/admin"
)

// mark stands in a fuzzed body for the secret that is planted.
const mark = "SECRET"

// FuzzAdminBody sends bodies to every operation that takes one. Whatever is sent is answered as the document says; what is
// refused changes nothing, and so does every member that the document has not; what is accepted is there after a restart
// too; and no secret comes back.
func FuzzAdminBody(f *testing.F) {
	for i, body := range []string{
		`{"secret": "SECRET"}`,
		`{"id": "team-b", "secret": "SECRET", "label": "Team B", "priority": 1, "tier": "paid", "org": "acme", "limit_tokens": 500000, "limit_requests": 9007199254740992, "disabled": true, "models": ["a", "b"], "thresholds": [90, 50]}`,
		`{"limit_tokens": null, "label": "\u0000\ud800", "secret": "SECRET\n"}`, `{"secret": "x", "secret": "SECRET", "Label": "x"}`, `{"id": "2", "secret": " "}`,
		`{"label": "SECRET", "tier": "SECRET", "models": ["SECRET"], "thresholds": ["SECRET"], "SECRET": {"secret": "SECRET"}}`,
		`{"now": "2025-11-18T08:00:00Z", "speed": 1e9}`, `{"now": "2025-11-18T08:00:00.5+23:59"}`, `{"token": "SECRET"}`, `{"token": "admin-token-0123456789"}`,
		`{"used_tokens": 0, "generation": 1}`, `{"priority": 1.0, "limit_tokens": 1e400}`, `[{}]`, `null`, `"SECRET"`, "\xef\xbb\xbf{}", `{"a": `, ``, `{} {}`,
	} {
		for operation := range byte(4) {
			f.Add(operation+4*byte(i), []byte(body))
		}
	}
	api := newFuzzed(f)
	f.Fuzz(func(t *testing.T, choice byte, body []byte) {
		const planted = "gsk_CANARYplanted5vLq0Zb7dW1nRk8s"
		fix, o := api.afresh(t), api.takers[int(choice)%len(api.takers)]
		sent := strings.ReplaceAll(string(body), mark, planted)
		before := fix.everything()
		w := fix.do(o.method, o.at("2"), adminToken, sent)
		if w.Code != http.StatusNoContent {
			fix.doc.check(t, o.method, o.at("2"), w.Code, w.Header().Get("Content-Type"), w.Body.Bytes())
		}
		if w.Code >= 500 {
			t.Fatalf("%v: %d %s", o, w.Code, w.Body)
		}
		if strange := strangeMember(sent, o.members); strange && w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusRequestEntityTooLarge {
			t.Fatalf("%v takes a member that it does not have: %d %s", o, w.Code, w.Body)
		}
		if w.Code >= 400 {
			if diff := cmp.Diff(before, fix.everything()); diff != "" {
				t.Fatalf("%v: refused with %d, but something changed:\n%s", o, w.Code, diff)
			}
			fix.keepsSecrets(t, w, body, planted)
			return
		}
		fix.keepsSecrets(t, w, body, planted)
		if o.path == "/api/v1/keys" || strings.HasPrefix(o.path, "/api/v1/keys/") {
			for _, path := range []string{"/api/v1/keys", "/api/v1/audit", "/api/v1/events"} {
				w.Body.Write(fix.call(t, http.MethodGet, path, adminToken, "", http.StatusOK))
			}
			fix.keepsSecrets(t, w, body, planted)
			if diff := cmp.Diff(fix.keys.Keys(), fix.keys.Reopened(t).Keys()); diff != "" {
				t.Fatalf("after a restart the keys are others (-before +after):\n%s", diff)
			}
		}
	})
}

// fuzzed is an API that is made once, over keys that are made anew for each body: the other way round would take twenty
// times as long.
type fuzzed struct {
	fixture
	takers []operation // that take a body
	ledger struct{ admin.Ledger }
	roster struct{ admin.Roster }
	hosts  time.Time
}

func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	z := &fuzzed{hosts: afternoon}
	z.fixture = *newFixture(f, func(o *admin.Options) {
		o.Ledger, o.Roster, o.Now = &z.ledger, &z.roster, func() time.Time { return z.hosts }
	})
	setClock := z.options.SetClock
	z.options.SetClock = func(ctx context.Context, now time.Time, speed float64) error {
		z.now, z.speed = now, speed
		return setClock(ctx, now, speed)
	}
	z.handler = admin.New(z.options)
	for _, o := range z.doc.operations() {
		if o.members != nil {
			z.takers = append(z.takers, o)
		}
	}
	return z
}

// afresh is the fixture with the keys of the settings. Time passes, so that no wrong token is one too many.
func (z *fuzzed) afresh(t *testing.T) *fixture {
	z.keys = newKeys(t, false, nil)
	z.ledger.Ledger, z.roster.Roster = z.keys.Ledger, z.keys
	z.now, z.speed, z.hosts = time.Time{}, -1, z.hosts.Add(time.Hour)
	return &z.fixture
}

// everything that a body can change, in a form that can be compared.
func (f *fixture) everything() []any {
	var secrets []string
	for _, id := range f.ids() {
		secrets = append(secrets, f.keys.Secret(id).Reveal())
	}
	return []any{f.keys.Stored(), f.ids(), secrets, f.now, f.speed, f.notifier.tests, f.keys.Ledger.Assignment().Generation}
}

// strangeMember says whether a body is an object with a member that is none of these.
func strangeMember(body string, members []string) bool {
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(body))
	if d.Decode(&object) != nil {
		return false // a number that is too large is a fault of another kind
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return false // more than one value
	}
	for name := range object {
		if !slices.Contains(members, name) {
			return true
		}
	}
	return false
}

// keepsSecrets looks for secrets in all that was answered: for the planted one where the body was refused, or had it as a
// secret and nowhere else.
func (f *fixture) keepsSecrets(t *testing.T, w *httptest.ResponseRecorder, body []byte, planted string) {
	t.Helper()
	var header bytes.Buffer
	_ = w.Header().Write(&header)
	answers := header.String() + w.Body.String()
	secrets := append(forms(adminToken), forms(readToken)...)
	for _, id := range []string{"1", "2", "3"} {
		secrets = append(secrets, forms(secretOf(id))...)
	}
	var object struct{ Secret, Token string }
	_ = json.Unmarshal(body, &object) // what is none has no secret
	if w.Code >= 400 || bytes.Count(body, []byte(mark)) == 1 && strings.Contains(object.Secret+object.Token, mark) {
		secrets = append(secrets, forms(planted)...)
	}
	for _, s := range secrets {
		if strings.Contains(answers, s) {
			t.Fatalf("after %d, %s is told:\n%s", w.Code, s, answers)
		}
	}
}
