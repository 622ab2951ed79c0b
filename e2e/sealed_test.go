package e2e

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
	"keywheel/xds/ledger"
	"keywheel/xds/ledger/bolt"
)

// startSealed runs a stack of one key of the settings, with a master key, to which the API adds a key and gives the first
// another secret. It returns the two secrets that only the store has, by key ID.
func startSealed(t *testing.T) (*harness.Stack, map[string]string) {
	t.Helper()
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(1, 0), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"KEYWHEEL_MASTER_KEY": masterKey, "KEYWHEEL_ADMIN_TOKEN": "CANARYadminToken7Wn1Rk8sYt3mXc6pJf9h"},
	})
	stored := map[string]string{}
	for _, k := range harness.Keys(2, 0) {
		stored[k.ID] = k.Secret
		s.Groq.AddKey(fakegroq.Key{Secret: k.Secret, Name: k.ID})
	}
	api := adminOf(t, s.Keywheel)
	first, second := stored["1"], stored["2"]
	if _, err := api.ChangeKey(t.Context(), "1", admin.KeyFields{Secret: &first}); err != nil {
		t.Fatal(err)
	}
	added, err := api.AddKey(t.Context(), admin.NewKey{KeyFields: admin.KeyFields{Secret: &second, Label: pointer("Added"), LimitTokens: admin.NewLimit(9_000_000)}})
	if err != nil || added.ID != "2" {
		t.Fatalf("%+v, %v", added, err)
	}
	s.Keywheel.WaitGranted(t, added.Generation)
	return s, stored
}

// assertServes wants both stored secrets to serve calls: the second's while the first is disabled.
func assertServes(t *testing.T, s *harness.Stack, stored map[string]string) {
	t.Helper()
	api := adminOf(t, s.Keywheel)
	for _, id := range []string{"1", "2"} {
		changed, err := api.ChangeKey(t.Context(), "1", admin.KeyFields{Disabled: pointer(id != "1")})
		if err != nil {
			t.Fatal(err)
		}
		s.Keywheel.WaitGranted(t, changed.Generation)
		waitServed(t, s, id, stored[id])
	}
}

// waitServed waits until a call goes out with a secret. No call may fail meanwhile.
func waitServed(t *testing.T, s *harness.Stack, id, secret string) {
	t.Helper()
	harness.Eventually(t, "key "+id+"'s secret serves", func() error {
		a := s.H1.Do(t, harness.Call{})
		if a.Status != 200 {
			t.Fatalf("a client got %s", a)
		}
		if r := s.Attempts(t, a.Tag); len(r) != 1 || r[0].Secret != secret {
			return &unexpected{a}
		}
		return nil
	})
}

// unexpected is an answer that was got with another secret than the one waited for.
type unexpected struct{ harness.Answer }

func (u *unexpected) Error() string {
	return "the call went out with another secret: " + u.Answer.String()
}

// What the API stored is there after a restart, under the master key only: the files hold no secret in any writing, and
// whoever has them without that key, or with another one, has nothing. A new master key takes over from the old.
func TestStoredSecretsAreSealed(t *testing.T) {
	t.Parallel()
	const newMaster = "CANARYnewMasterKey9hGa2eXc6pJf5vLq0Zb7d"
	s, stored := startSealed(t)
	secrets := []string{stored["1"], stored["2"], masterKey, newMaster}
	stop := func() {
		t.Helper()
		if exit := s.Keywheel.Terminate(t); exit != 0 {
			t.Fatalf("exit code %d", exit)
		}
		harness.AssertNoSecret(t, secrets, append(files(t, s.Keywheel.Dir), harness.Blob{Name: "the log", Data: s.Keywheel.Log()})...)
	}
	start := func(master string) {
		t.Helper()
		s.Keywheel.Set("KEYWHEEL_MASTER_KEY", master)
		s.Keywheel.Start(t, "serve")
	}
	assertServes(t, s, stored)
	stop()
	start(masterKey)
	assertServes(t, s, stored)
	stop()

	const which = "KEYWHEEL_MASTER_KEY: the secret of Groq Key "
	before := boxes(t, s)
	assertRefused(t, s, secrets, newMaster, 1, which, "cannot be opened: no master key opens it; set the master key that sealed it, behind a new one if need be: new,old")
	assertRefused(t, s, secrets, "", 1, which, "is sealed in the store, and no master key is set; set the one that sealed it")
	assertRefused(t, s, secrets, "tooShort1234567", 2, "KEYWHEEL_MASTER_KEY: it has fewer than 16 characters", "openssl rand")
	if diff := cmp.Diff(before, boxes(t, s)); diff != "" {
		t.Errorf("who was refused changed the store:\n%s", diff)
	}
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Errorf("without a control plane a client got %s", a)
	}

	start(newMaster + "," + masterKey)
	s.Keywheel.WaitLog(t, "Secrets are sealed under the new master key")
	assertServes(t, s, stored)
	stop()
	for _, box := range boxes(t, s) {
		if slices.Contains(before, box) {
			t.Error("a secret is still sealed under the old master key")
		}
	}
	assertRefused(t, s, secrets, masterKey, 1, which, "cannot be opened")
	start(newMaster)
	assertServes(t, s, stored)
	stop()
}

// assertRefused wants the control plane not to start with a master key, and to say why.
func assertRefused(t *testing.T, s *harness.Stack, secrets []string, master string, exit int, says ...string) {
	t.Helper()
	s.Keywheel.Set("KEYWHEEL_MASTER_KEY", master)
	s.Keywheel.Launch(t, "serve")
	if got := s.Keywheel.Wait(t); got != exit {
		t.Errorf("exit code %d, want %d", got, exit)
	}
	for _, text := range says {
		if !strings.Contains(s.Keywheel.Log(), text) {
			t.Errorf("it does not say %q but\n%s", text, s.Keywheel.Log())
		}
	}
	harness.AssertNoSecret(t, secrets, harness.Blob{Name: "the refusal", Data: s.Keywheel.Log()})
}

// sealedBox is a sealed secret, as package seal writes it.
var sealedBox = regexp.MustCompile(`kw1\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]+`)

// boxes are the sealed secrets that the store has, while nothing has it open.
func boxes(t *testing.T, s *harness.Stack) []string {
	t.Helper()
	store, err := bolt.Open(filepath.Join(s.Keywheel.Dir, "keywheel.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	found := sealedBox.FindAllString(string(l.Document("keys")), -1)
	if err := l.Close(); err != nil || len(found) != 2 {
		t.Fatalf("%d sealed secrets are in the store, %v", len(found), err)
	}
	return found
}

// Without a master key no secret is taken in by the API, and the answer says what to do; everything else of a key can be
// changed.
func TestNoMasterKeyNoStoredSecret(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Keys: harness.Keys(2, 0)})
	api := adminOf(t, s.Keywheel)
	other := harness.Keys(1, 0)[0].Secret
	_, errAdd := api.AddKey(t.Context(), admin.NewKey{KeyFields: admin.KeyFields{Secret: &other}})
	_, errChange := api.ChangeKey(t.Context(), "1", admin.KeyFields{Secret: &other, Label: pointer("Changed")})
	for _, err := range []error{errAdd, errChange} {
		if err == nil || !strings.Contains(err.Error(), "KEYWHEEL_MASTER_KEY is not set") || !strings.Contains(err.Error(), "or put the key into the settings") {
			t.Errorf("%v", err)
			continue
		}
		harness.AssertNoSecret(t, []string{other}, harness.Blob{Name: "the refusal", Data: err.Error()})
	}
	if keys := s.Keywheel.Keys(t); len(keys) != 2 || keys["1"].Label != "Primary" {
		t.Errorf("%+v", keys)
	}
	changed, err := api.ChangeKey(t.Context(), "1", admin.KeyFields{Disabled: pointer(true)})
	if err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitGranted(t, changed.Generation)
	waitServed(t, s, "2", s.Keys[1].Secret)
	harness.AssertNoSecret(t, append(s.Secrets(), other), files(t, s.Keywheel.Dir)...)
}
