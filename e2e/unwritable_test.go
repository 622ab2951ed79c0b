package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// limitFiles bounds the size of files that a process can write from now on, in bytes: as a full disk does. 0: no bound.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: size, Max: ^uint64(0)}
	if size == 0 {
		limit.Cur = limit.Max
	}
	_, _, failed := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if failed != 0 {
		t.Fatal(failed)
	}
}

// While the store takes nothing, and so neither the audit nor any change is kept, changes are refused and change nothing;
// what is known can still be read, and calls are served as before. Afterwards all is as if nothing had been.
func TestChangesThatCannotBeKept(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(2, 0), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"KEYWHEEL_MASTER_KEY": masterKey, "KEYWHEEL_ADMIN_TOKEN": adminToken},
	})
	secret := harness.Keys(1, 0)[0].Secret
	load := startServed(t, s, 4, func(a harness.Answer) bool { return a.Key == "1" })
	more := func() { load.more(t, 300) }
	more()
	limitFiles(t, s.Keywheel.Pid(), 2*uint64(os.Getpagesize())) // of the store, room for the heads alone
	for _, r := range []struct{ method, path, body string }{
		{"PATCH", "/api/v1/keys/1", `{"disabled":true}`},
		{"PATCH", "/api/v1/keys/1", `{"secret":"` + secret + `"}`},
		{"POST", "/api/v1/keys", `{"secret":"` + secret + `"}`},
		{"DELETE", "/api/v1/keys/1", ""},
		{"POST", "/api/v1/keys/1/clear", ""},
	} {
		status, answer := ask(t, s.Keywheel, r.method, r.path, adminToken, r.body)
		if status != http.StatusServiceUnavailable || !strings.Contains(answer.Data, "nothing was changed") {
			t.Errorf("%s %s: %d, %s", r.method, r.path, status, answer.Data)
		}
		harness.AssertNoSecret(t, []string{secret}, answer)
	}
	if status, _ := ask(t, s.Keywheel, "GET", "/readyz", "", ""); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d", status)
	}
	if keys := s.Keywheel.Keys(t); len(keys) != 2 || keys["1"].Status == "disabled" {
		t.Errorf("%+v", keys)
	}
	more()
	limitFiles(t, s.Keywheel.Pid(), 0)
	harness.Eventually(t, "the store is written again", func() error {
		if status, answer := ask(t, s.Keywheel, "GET", "/readyz", "", ""); status != http.StatusOK {
			return fmt.Errorf("%s", answer.Data)
		}
		return nil
	})
	changed, err := adminOf(t, s.Keywheel).ChangeKey(t.Context(), "2", admin.KeyFields{Label: pointer("Second")})
	if err != nil {
		t.Fatal(err)
	}
	s.Keywheel.WaitGranted(t, changed.Generation)
	more()
	load.Stop()
	s.AssertOracle(t)
	audits, err := adminOf(t, s.Keywheel).Audits(t.Context(), 1000)
	if err != nil || len(audits) != 1 || audits[0].What != "change key" || *audits[0].Key != "2" {
		t.Errorf("the audit has %+v, %v", audits, err)
	}
}
