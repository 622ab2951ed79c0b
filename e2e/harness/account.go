package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
)

// KeyState is one key as GET /api/v1/keys shows it.
type KeyState struct {
	ID              string     `json:"id"`
	Label           string     `json:"label"`
	Status          string     `json:"status"`
	Active          bool       `json:"active"`
	UsedTokens      int64      `json:"used_tokens"`
	EstimatedTokens int64      `json:"estimated_tokens"`
	LimitTokens     *int64     `json:"limit_tokens"`
	RemainingTokens *int64     `json:"remaining_tokens"`
	Percent         *float64   `json:"percent"`
	Requests        int64      `json:"requests"`
	Health          float64    `json:"health"`
	CoolingUntil    *time.Time `json:"cooling_until"`
}

// PoolState is all keys together as GET /api/v1/pool shows them.
type PoolState struct {
	Used      int64   `json:"used"`
	Limit     *int64  `json:"limit"`
	Health    float64 `json:"health"`
	KeyInUse  *string `json:"key_in_use"`
	Window    string  `json:"window"`
	Requests  int64   `json:"requests"`
	Succeeded int64   `json:"succeeded"`
	Refused   int64   `json:"refused"`
	Rotations int64   `json:"rotations"`
	Rescues   int64   `json:"rescues"`
}

// ProxyState is one Envoy as GET /api/v1/proxies shows it.
type ProxyState struct {
	Incarnation string `json:"incarnation"`
	Node        string `json:"node"`
	Version     string `json:"version"`
	Connected   bool   `json:"connected"`
	Mode        string `json:"mode"`
	Generation  int64  `json:"generation"`
	Config      int64  `json:"config"`
	Rejected    int64  `json:"rejected"`
	Reports     int64  `json:"reports"`
	Panics      int64  `json:"panics"`
	SkewMS      int64  `json:"skew_ms"`
}

// Token is the admin token: KEYWHEEL_ADMIN_TOKEN, else the one kept beside the store.
func (k *Keywheel) Token(t testing.TB) string {
	t.Helper()
	token, err := k.token()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (k *Keywheel) token() (string, error) {
	if token := k.env["KEYWHEEL_ADMIN_TOKEN"]; token != "" {
		return token, nil
	}
	content, err := os.ReadFile(filepath.Join(k.Dir, "keywheel.token"))
	return strings.TrimSpace(string(content)), err
}

// API reads a page of the admin API, "/api/v1/keys", into v.
func (k *Keywheel) API(t testing.TB, path string, v any) {
	t.Helper()
	if err := k.api(t.Context(), path, v); err != nil {
		t.Fatal(err)
	}
}

// Page reads a page of the admin API, whatever its status.
func (k *Keywheel) Page(t testing.TB, path string) string {
	t.Helper()
	_, body, err := get(t.Context(), "http://"+k.Admin+path, http.Header{"Authorization": {"Bearer " + k.Token(t)}})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (k *Keywheel) api(ctx context.Context, path string, v any) error {
	token, err := k.token()
	if err != nil {
		return err
	}
	status, body, err := get(ctx, "http://"+k.Admin+path, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("GET %s: %w in %s", path, err, body)
	}
	return nil
}

// Clear makes Keywheel forget what it learned of a key, and returns the generation from which that holds.
func (k *Keywheel) Clear(t testing.TB, id string) int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(Context(t), http.MethodPost, "http://"+k.Admin+"/api/v1/keys/"+id+"/clear", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.Token(t))
	req.Close = true
	res, err := direct.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var cleared struct {
		Generation int64 `json:"generation"`
	}
	if err := json.NewDecoder(res.Body).Decode(&cleared); err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("clear key %s: %d, %v", id, res.StatusCode, err)
	}
	return cleared.Generation
}

// Keys are all keys, by ID.
func (k *Keywheel) Keys(t testing.TB) map[string]KeyState {
	t.Helper()
	keys, err := k.keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (k *Keywheel) keys(ctx context.Context) (map[string]KeyState, error) {
	var list []KeyState
	err := k.api(ctx, "/api/v1/keys", &list)
	keys := map[string]KeyState{}
	for _, key := range list {
		keys[key.ID] = key
	}
	return keys, err
}

// Pool is all keys together.
func (k *Keywheel) Pool(t testing.TB) PoolState {
	t.Helper()
	var p PoolState
	k.API(t, "/api/v1/pool", &p)
	return p
}

// Proxies are the Envoys that report.
func (k *Keywheel) Proxies(t testing.TB) []ProxyState {
	t.Helper()
	var p []ProxyState
	k.API(t, "/api/v1/proxies", &p)
	return p
}

// WaitGranted returns once an Envoy runs this generation or a later one, by xDS and by the answer to its reports. Before
// that a new Envoy spends only small slices of keys that have a limit.
func (k *Keywheel) WaitGranted(t testing.TB, generation int64) {
	t.Helper()
	Eventually(t, "Envoy runs its allowances", func() error {
		var proxies []ProxyState
		if err := k.api(t.Context(), "/api/v1/proxies", &proxies); err != nil {
			return err
		}
		for _, p := range proxies {
			if p.Connected && min(p.Generation, p.Config) >= max(generation, 1) {
				return nil
			}
		}
		return fmt.Errorf("none has generation %d: %+v", generation, proxies)
	})
}

// WaitPool returns once the pool is as wanted; check says what is not.
func (k *Keywheel) WaitPool(t testing.TB, what string, check func(PoolState) error) {
	t.Helper()
	Eventually(t, what, func() error {
		var p PoolState
		if err := k.api(t.Context(), "/api/v1/pool", &p); err != nil {
			return err
		}
		return check(p)
	})
}

// WaitLedger returns once the keys' used tokens are exactly these, by key ID.
func (k *Keywheel) WaitLedger(t testing.TB, want map[string]int64) {
	t.Helper()
	Eventually(t, "the ledger agrees", func() error { return k.ledgerDiff(t.Context(), want) })
}

func (k *Keywheel) ledgerDiff(ctx context.Context, want map[string]int64) error {
	keys, err := k.keys(ctx)
	if err != nil {
		return err
	}
	got := map[string]int64{}
	for id, key := range keys {
		got[id] = key.UsedTokens
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("used tokens by key (-want +got):\n%s", diff)
	}
	return nil
}

// WaitKey returns the key once it is as wanted; check says what is not.
func (k *Keywheel) WaitKey(t testing.TB, id, what string, check func(KeyState) error) KeyState {
	t.Helper()
	var key KeyState
	Eventually(t, "key "+id+" "+what, func() error {
		keys, err := k.keys(t.Context())
		if err != nil {
			return err
		}
		var has bool
		if key, has = keys[id]; !has {
			return fmt.Errorf("there is no key %s", id)
		}
		return check(key)
	})
	return key
}

// Oracle is what the simulated Groq told of each key, in tokens by key ID.
func Oracle(g *fakegroq.Server, keys []Key) map[string]int64 {
	accounts := g.Ledger()
	told := map[string]int64{}
	for _, k := range keys {
		told[k.ID] = accounts[k.Secret].Tokens.Total()
	}
	return told
}

// AssertOracle waits until the simulated Groq is idle, and then until the ledger holds exactly what it told. It is for
// runs in which every answer reached Envoy whole: an estimate would be seen as a difference.
func (s *Stack) AssertOracle(t testing.TB) {
	t.Helper()
	if err := s.Groq.WaitIdle(Context(t)); err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitLedger(t, Oracle(s.Groq, s.Keys))
}

// Attempts are what the simulated Groq saw of a call, once each has ended.
func (s *Stack) Attempts(t testing.TB, tag string) []fakegroq.Request {
	t.Helper()
	var attempts []fakegroq.Request
	err := s.Groq.WaitFor(Context(t), func(truth fakegroq.Truth) bool {
		attempts = truth.Tagged(tag)
		return !slices.ContainsFunc(attempts, func(r fakegroq.Request) bool { return !r.Ended })
	})
	if err != nil {
		t.Fatal(err)
	}
	return attempts
}

// KeysOf are the names of the keys that attempts came with, in order: "1 2".
func KeysOf(attempts []fakegroq.Request) string {
	var names []string
	for _, r := range attempts {
		names = append(names, r.Key)
	}
	return strings.Join(names, " ")
}

// NotificationState is one notification as GET /api/v1/notifications shows it.
type NotificationState struct {
	ID        string     `json:"id"`
	Receiver  string     `json:"receiver"`
	EventID   string     `json:"event_id"`
	Title     string     `json:"title"`
	State     string     `json:"state"`
	Attempts  int        `json:"attempts"`
	Error     *string    `json:"error"`
	MessageID string     `json:"message_id"`
	NextAt    *time.Time `json:"next_at"`
}

// Notifications are those of GET /api/v1/notifications, newest first.
func (k *Keywheel) Notifications(t testing.TB) []NotificationState {
	t.Helper()
	var all []NotificationState
	k.API(t, "/api/v1/notifications?limit=1000", &all)
	return all
}
