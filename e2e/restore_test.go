package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// A backup is restored twice while clients call: into the control plane that runs, and into one that was killed and whose
// store is damaged. No call fails, no push is refused, a secret that was replaced in between is used no more, and once the
// Envoy has reported the ledger has what the simulated Groq told.
func TestRestoreUnderLoad(t *testing.T) {
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(2, 5_000_000_000), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000), Remember: -1},
		Settings: map[string]string{"KEYWHEEL_MASTER_KEY": masterKey, "KEYWHEEL_ADMIN_TOKEN": adminToken},
	})
	api, store := adminOf(t, s.Keywheel), filepath.Join(s.Keywheel.Dir, "keywheel.db")
	replaced := harness.Keys(1, 0)[0].Secret
	s.Groq.AddKey(fakegroq.Key{Secret: replaced, Name: "replaced"})
	load := startServed(t, s, 4)
	more := func() { load.more(t, 300) }
	run := func(says string, args ...string) {
		t.Helper()
		out, errs, exit := s.Keywheel.Output(t, args...)
		if exit != 0 || !strings.Contains(out, says) {
			t.Fatalf("keywheel %s: exit %d, %s%s", strings.Join(args, " "), exit, out, errs)
		}
	}
	more()
	run("has the backup", "backup", "first.db")
	changed, err := api.ChangeKey(t.Context(), "1", admin.KeyFields{Secret: &replaced})
	if err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitGranted(t, changed.Generation)
	more()

	run("It is in effect on 1 Envoy", "restore", "first.db")
	usedBefore := s.Groq.Ledger()[replaced].Requests
	more()
	if err := s.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool { return truth.Accounts[replaced].Requests <= usedBefore+4 }); err != nil {
		t.Errorf("the replaced secret is still used: %v", err)
	}
	run("has the backup", "backup", "second.db")
	more()

	s.Keywheel.Signal(t, syscall.SIGKILL)
	s.Keywheel.Wait(t)
	if err := os.Truncate(store, 9000); err != nil {
		t.Fatal(err)
	}
	s.Keywheel.Launch(t, "serve")
	if exit := s.Keywheel.Wait(t); exit != 1 || !strings.Contains(s.Keywheel.Log(), store+": the store is damaged") ||
		!strings.Contains(s.Keywheel.Log(), "keywheel restore FILE") {
		t.Errorf("a damaged store: exit %d, %s", exit, s.Keywheel.Log())
	}
	more()
	run("It is in force when Keywheel starts", "restore", "second.db")
	s.Keywheel.Start(t, "serve")
	s.Keywheel.WaitGranted(t, 0)
	more()
	load.Stop()
	s.AssertOracle(t)
	var by []string
	events, err := api.Events(t.Context(), "", 1000)
	for i := range events {
		if events[i].Kind == "restored" && events[i].By != nil {
			by = append(by, *events[i].By)
		}
	}
	if err != nil || !slices.Equal(by, []string{"admin", "shell"}) {
		t.Errorf("events of restores: by %q, %v", by, err)
	}
	for _, p := range s.Keywheel.Proxies(t) {
		if p.Rejected != 0 {
			t.Errorf("a push was refused: %+v", p)
		}
	}
	harness.AssertNoSecret(t, append(s.Secrets(), replaced, masterKey), append(files(t, s.Keywheel.Dir), harness.Blob{Name: "the log", Data: s.Keywheel.Log()})...)
}
