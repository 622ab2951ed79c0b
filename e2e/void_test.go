package e2e

import (
	"fmt"
	"strings"
	"testing"

	"keywheel/e2e/browser"
	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// An Envoy is voided under way. What it counted is no longer in the account, no call fails, and everybody who looks sees
// that it runs on uncounted: the events, the terminal and the page. Once it was started again all is as ever.
func TestVoidedEnvoyIsShown(t *testing.T) {
	browser.Need(t)
	s := harness.Start(t, harness.Options{
		Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}, Settings: map[string]string{"KEYWHEEL_ADMIN_TOKEN": adminToken},
	})
	api := adminOf(t, s.Keywheel)
	call := func() {
		t.Helper()
		if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
			t.Fatal(a)
		}
	}
	call()
	s.AssertOracle(t)
	used, voided := s.Keywheel.Pool(t).Used, s.Keywheel.Proxies(t)[0].Incarnation
	v := browser.Open(t, "http://"+s.Keywheel.Admin+"/#token="+adminToken)
	v.AwaitText("#envoys", "Connected")

	if out, errs, exit := s.Keywheel.Output(t, "proxies", "void", voided, "--yes"); exit != 0 {
		t.Fatal(out, errs)
	}
	if pool := s.Keywheel.Pool(t); pool.Used != 0 {
		t.Errorf("%d of %d tokens are still in the account", pool.Used, used)
	}
	call()
	v.AwaitText(".banner", "⚠️ Voided, and still running: Envoy ")
	v.AwaitText("#envoys", "Voided")
	v.AwaitText("#events", "What an Envoy counted was taken out of the account")
	t.Run("accessible", func(t *testing.T) {
		needAxe(t)
		assertAccessible(t, v.In(t), "with a voided Envoy")
	})
	if _, errs, exit := s.Keywheel.Output(t, "status"); exit != 0 || !strings.Contains(errs, "("+voided+"): it is voided and still runs") {
		t.Errorf("keywheel status: exit %d, %s", exit, errs)
	}
	events, err := api.Events(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	e := events[len(events)-1]
	if e.Kind != "voided" || e.Level != "warning" || *e.Detail != voided || *e.Used != used || *e.By != "admin" {
		t.Errorf("the newest event is %+v", e)
	}
	if !strings.Contains(s.Keywheel.Log(), "Envoy voided: what it counted is no longer in the account") {
		t.Error("the log does not say so")
	}

	before := s.Groq.Truth().Told()
	s.Envoy.Kill(t)
	s.Envoy.Start(t)
	s.Envoy.WaitAssigned(t)
	call()
	harness.Eventually(t, "the new process is counted", func() error {
		if got, want := s.Keywheel.Pool(t).Used, s.Groq.Truth().Told()-before; got != want {
			return fmt.Errorf("used %d, want %d", got, want)
		}
		return nil
	})
}
