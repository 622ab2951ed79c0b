package dashboard_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"keywheel/e2e/browser"
	"keywheel/xds/admin"
)

func TestTheLinkSignsInAndLeavesTheAddressClean(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	if got := browser.Eval[string](v, `location.href`); got != f.URL+"/" {
		t.Errorf("the address is %s", got)
	}
	if got := browser.Eval[string](v, `document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)`); got != "{}{}" {
		t.Errorf("scripts can read %s", got)
	}
	for _, e := range browser.Run(v, chromedp.NavigationEntries()).Entries {
		if e.URL != f.URL+"/" && e.URL != "about:blank" {
			t.Errorf("the history has %s", e.URL)
		}
	}
	v.Do(chromedp.Reload())
	v.AwaitText("#title", "Groq (3 keys)") // the session is still there
	if !browser.Eval[bool](v, `document.querySelector('#sign-in').hidden`) {
		t.Error("it asks for a token that it has had")
	}
}

func TestSigningInByHand(t *testing.T) {
	f := newFake(t, afternoon())
	v := open(t, f, "/")
	v.Await(`!document.querySelector('#sign-in').hidden && document.activeElement.id === 'token'`)
	if browser.Eval[bool](v, `document.querySelector('#app').checkVisibility()`) {
		t.Error("the account is shown to nobody in particular")
	}
	v.Do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong"+kb.Enter))
	v.AwaitText("#sign-in-error", "This token is not known here.")
	v.Picture("sign-in")
	if got := browser.Eval[string](v, `document.querySelector('#token').value`); got != "" {
		t.Errorf("the field keeps %q", got)
	}
	v.Do(chromedp.SendKeys(chromedp.CSS("#token"), adminToken+kb.Enter))
	v.AwaitText("#title", "Groq (3 keys)")

	v.Press("Sign out")
	v.Await(`!document.querySelector('#sign-in').hidden && document.querySelector('#app').hidden`)
	if w := f.changes(); len(w) != 1 || w[0].Method != "DELETE" || w[0].Path != "/api/v1/session" {
		t.Errorf("signing out asked for %+v", w)
	}
}

func TestAWrongTokenInTheLink(t *testing.T) {
	f := newFake(t, afternoon())
	v := open(t, f, "/#token=nobody")
	v.AwaitText("#sign-in-error", "This token is not known here.")
	if got := browser.Eval[string](v, `location.href`); got != f.URL+"/" {
		t.Errorf("the address is %s", got)
	}
	browser.Eval[bool](v, `location.hash = '#token=`+readToken+`'; true`) // the link in a tab that is open already
	v.AwaitText("#title", "Groq (3 keys)")
	v.Await(`location.hash === ''`)
}

func TestAReaderIsOfferedNoActions(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, readToken)
	v.AwaitText("#access", "Read-only")
	v.Await(`document.querySelectorAll('.key').length === 3`)
	buttons := browser.Names(v.Tree(), "button")
	for _, name := range []string{"Add key", "Actions for Key 1 (Primary)", "Actions for Key 2 (Backup)", "Send a test message"} {
		if slices.Contains(buttons, name) {
			t.Errorf("%q is offered", name)
		}
	}
	if !slices.Contains(buttons, "Sign out") {
		t.Errorf("buttons: %q", buttons)
	}
}

func TestAnEndedSessionAsksForTheToken(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Disable")
	f.forget()
	v.Await(`document.querySelector('dialog').open`)
	v.Do(chromedp.Click(chromedp.CSS("dialog .danger")))
	v.AwaitText("#sign-in-error", "Your session has ended. Sign in again.")
	if browser.Eval[bool](v, `document.querySelector('dialog').open || document.querySelector('#app').checkVisibility()`) {
		t.Error("something of the session is left on the page")
	}
	if got := browser.Eval[string](v, `document.title`); got != "Keywheel" {
		t.Errorf("the tab says %q", got)
	}
}

func TestAnEndedStreamOfAnEndedSession(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	f.forget()
	f.cut(false)
	v.AwaitText("#sign-in-error", "Your session has ended. Sign in again.")
}

func TestALostConnectionIsSaidAndCaughtUp(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, adminToken)
	v.Await(`document.querySelectorAll('.event').length === 3`)
	f.cut(true)
	v.AwaitText(".banner", "⚠️ The connection to Keywheel is lost. What is shown here is from 2025-11-18 14:00:00 UTC.")
	v.AwaitText("#live", "Offline")
	v.Await(`document.title.startsWith('⚠️ Connection lost')`)

	f.mu.Lock()
	f.events = append(f.events, event(6, at(14, 5), "rotated", "info", "ℹ️ Groq Key 2 → Groq Key 3"))
	f.mu.Unlock()
	f.change(func(s *state) { *s = stateAt(at(14, 6), 3, limit, limit, 250) })
	f.mend()
	v.Await(`!document.querySelector('.banner') || document.querySelector('.banner button').click() || false`) // by itself, or sooner
	v.AwaitText("#keys", "250 / 14,400")
	v.AwaitText("#events", "Groq Key 2 → Groq Key 3")
	v.AwaitText("#live", "Live")
	v.Await(`document.querySelector('#announcer').textContent === 'The connection to Keywheel is back.'`)
	if got := browser.Eval[int](v, `document.querySelectorAll('.event').length`); got != 4 {
		t.Errorf("%d events on the timeline, want 4", got)
	}
}

func TestTheTimeline(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, adminToken)
	v.Await(`document.querySelectorAll('.event').length === 3`)
	if got := v.Text(".event"); strings.Join(strings.Fields(got), " ") != "12:15 ℹ️ Groq Key 1 → Groq Key 2 exhausted" {
		t.Errorf("the newest is %q", got)
	}
	v.Do(chromedp.Click(chromedp.CSS(`#timeline-choice input[value="all"]`)))
	v.Await(`document.querySelectorAll('.event').length === 5`)

	f.tell(event(6, at(14, 1), "all_out", "critical", "🚨 CRITICAL: All 3 Groq keys are out"))
	v.Await(`document.querySelector('.event').innerText.includes('All 3 Groq keys are out')`)
	v.Await(`document.querySelector('#announcer').textContent.includes('All 3 Groq keys are out')`)
	f.tell(event(7, at(14, 2), "reset", "info", "ℹ️ nothing to be said aloud"))
	v.AwaitText("#events", "nothing to be said aloud")
	if got := browser.Eval[string](v, `document.querySelector('#announcer').textContent`); got != "🚨 CRITICAL: All 3 Groq keys are out" {
		t.Errorf("it says %q", got)
	}
}

func TestNotificationsAndTheTestMessage(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, adminToken)
	for _, text := range []string{"Failed", "email", "550 mailbox unavailable", "5 attempts", "Waiting", "telegram", "next at 2025-11-18 14:03:00 UTC"} {
		v.AwaitText("#messages", text)
	}
	v.Press("Send a test message")
	v.AwaitText("#test-result", "✅ telegram")
	v.AwaitText("#test-result", "❌ email: the server did not answer")
	if w := f.changes(); len(w) != 1 || w[0] != (write{Method: "POST", Path: "/api/v1/notifications/test"}) {
		t.Errorf("asked for %+v", w)
	}
	f.mu.Lock()
	f.notifications = []admin.Notification{}
	f.mu.Unlock()
	f.tell(event(9, at(14, 1), "threshold", "warning", "something to be told"))
	v.AwaitText("#no-messages", "No notification has failed and none waits.")
}

func TestPastDays(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, readToken)
	v.AwaitText("#day-content pre", "📊 Daily Summary (2025-11-18)")
	v.AwaitText("#day-content", "search")
	v.Press("The day before")
	v.AwaitText("#day-content pre", "Total Tokens: 24,634")
	v.AwaitText("#day-content", "24,634")
	if got := browser.Eval[string](v, `document.querySelector('#day').value + document.querySelector('#day-content a').getAttribute('href')`); got !=
		"2025-11-17/api/v1/usage.csv?from=2025-11-17&to=2025-11-17&by=key&step=1h" {
		t.Errorf("day and download: %s", got)
	}
	v.Press("The day before")
	v.AwaitText("#day-error", "Nothing is known of this day.")
	v.Press("The day after")
	v.Press("The day after")
	v.AwaitText("#day-content pre", "(2025-11-18)")
	if !browser.Eval[bool](v, `document.querySelector('#day-after').disabled`) {
		t.Error("it offers tomorrow")
	}
}

// TestAHiddenTabChangesItsTitleOnly, and shows the newest state once somebody looks at it.
func TestAHiddenTabChangesItsTitleOnly(t *testing.T) {
	f := newFake(t, stateAt(at(11, 29), 1, 12_900, 0, 0))
	v := signedIn(t, f, readToken)
	v.AwaitText("#keys", "12,900 / 14,400")
	hide := func(hidden bool) {
		browser.Eval[bool](v, fmt.Sprintf(`Object.defineProperty(document, 'hidden', {value: %t, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))`, hidden))
	}
	hide(true)
	f.change(func(s *state) { *s = stateAt(at(11, 29), 1, 12_900, 0, 0); s.Pool.Health = 70 })
	v.Await(`document.title === '🟡 Groq (3 keys) - Health: 70% - Keywheel'`)
	f.change(func(s *state) { *s = stateAt(at(11, 30), 1, 12_960, 0, 0) })
	v.Await(`document.title === '🚨 Key 1 critical - Keywheel'`)
	if got := v.Text("#keys"); !strings.Contains(got, "12,900 / 14,400") {
		t.Errorf("a hidden page was drawn: %s", got)
	}
	hide(false)
	v.AwaitText("#keys", "12,960 / 14,400")
	v.AwaitText(".banner", "Key 1 (Primary) is critical")
}
