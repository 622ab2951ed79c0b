package dashboard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/browser"
)

// fill writes into a field of the dialog.
func fill(v *browser.View, name, text string) {
	field := `dialog [name="` + name + `"]`
	browser.Eval[bool](v, fmt.Sprintf(`(document.querySelector(%q).value = '') === ''`, field))
	if text != "" {
		v.Do(chromedp.SendKeys(chromedp.CSS(field), text))
	}
}

// TestEachActionIsConfirmedAndAsksForTheRightThing: nothing is sent before the yes, and then one request.
func TestEachActionIsConfirmedAndAsksForTheRightThing(t *testing.T) {
	const key2, json = "/api/v1/keys/2", "application/json"
	for _, c := range []struct {
		action, title string
		fill          map[string]string
		confirm       string
		want          write
		notice        string
	}{
		{"Disable", "Disable Key 2 (Backup)?", nil, "Disable", write{"PATCH", key2, json, `{"disabled":true}`}, "Key 2 (Backup) is disabled."},
		{"Clear findings", "Clear Key 2 (Backup)?", nil, "Clear", write{"POST", key2 + "/clear", "", ""}, "Key 2 (Backup) is cleared."},
		{"Remove…", "Remove Key 2 (Backup)?", nil, "Remove", write{"DELETE", key2, "", ""}, "Key 2 (Backup) is removed."},
		{"Change…", "Change Key 2 (Backup)", map[string]string{"label": "Spare", "limit_tokens": "20000"}, "Save", write{"PATCH", key2, json,
			`{"label":"Spare","limit_tokens":20000}`}, "Key 2 (Backup) is changed."},
		{"Change…", "Change Key 2 (Backup)", map[string]string{"limit_tokens": "", "priority": "9"}, "Save", write{"PATCH", key2, json,
			`{"priority":9,"limit_tokens":null}`}, "Key 2 (Backup) is changed."},
		{"Replace secret…", "Replace the secret of Key 2 (Backup)", map[string]string{"secret": " gsk_new "}, "Replace", write{"PATCH", key2, json,
			`{"secret":"gsk_new"}`}, "Key 2 (Backup) has a new secret."},
	} {
		t.Run(c.action, func(t *testing.T) {
			f := newFake(t, afternoon())
			v := signedIn(t, f, adminToken)
			v.Press("Actions for Key 2 (Backup)")
			v.Press(c.action)
			v.Await(`document.querySelector('dialog').open`)
			if got := v.Text("dialog h2"); got != c.title {
				t.Errorf("the dialog asks %q, want %q", got, c.title)
			}
			for name, text := range c.fill {
				fill(v, name, text)
			}
			v.Picture("dialog-" + c.confirm)
			if w := f.changes(); len(w) > 0 {
				t.Fatalf("asked before the yes: %+v", w)
			}
			v.Press(c.confirm)
			v.AwaitText("#notice", c.notice)
			v.Await(`!document.querySelector('dialog').open`)
			if diff := cmp.Diff([]write{c.want}, f.changes()); diff != "" {
				t.Errorf("asked for (-want +got)\n%s", diff)
			}
			if got := browser.Eval[string](v, `document.body.textContent + document.body.innerHTML`); c.fill["secret"] != "" && strings.Contains(got, "gsk_new") {
				t.Error("the secret is still on the page")
			}
		})
	}
}

// TestAQuestionAfterAnother: the browser tells that a dialog was closed a little later, when there may be a new one.
func TestAQuestionAfterAnother(t *testing.T) {
	v := signedIn(t, newFake(t, afternoon()), adminToken)
	v.Press("Add key")
	v.Await(`document.querySelector('dialog').open`)
	browser.Eval[bool](v, `document.querySelector('dialog').close(); document.querySelector('#add-key').click(); true`)
	browser.Eval[bool](v, `new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true))))`)
	if !browser.Eval[bool](v, `document.querySelector('dialog').open && document.querySelector('dialog form') !== null`) {
		t.Error("the second dialog is empty")
	}
	v.Press("Cancel")
	v.Await(`!document.querySelector('dialog').open && document.querySelector('dialog').childElementCount === 0`)
}

func TestADisabledKeyIsEnabled(t *testing.T) {
	s := afternoon()
	s.Keys[1].Disabled, s.Keys[1].Status = true, "disabled"
	f := newFake(t, s)
	v := signedIn(t, f, adminToken)
	v.AwaitText("#keys", "🚫 Disabled")
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Enable")
	v.Await(`document.querySelector('dialog').open`)
	v.Do(chromedp.Click(chromedp.CSS("dialog .primary")))
	v.AwaitText("#notice", "Key 2 (Backup) is enabled.")
	if w := f.changes(); len(w) != 1 || w[0].Body != `{"disabled":false}` {
		t.Errorf("asked for %+v", w)
	}
}

func TestAKeyIsAdded(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	v.Press("Add key")
	v.Press("Add") // without a secret: the browser asks for one
	if w := f.changes(); len(w) > 0 || browser.Eval[bool](v, `document.querySelector('dialog form').checkValidity()`) {
		t.Errorf("a key without a secret: %+v", w)
	}
	fill(v, "secret", "gsk_fourth")
	fill(v, "label", "Spare")
	fill(v, "limit_tokens", "5000")
	v.Press("Add")
	v.AwaitText("#notice", "Key 4 is added.")
	want := write{"POST", "/api/v1/keys", "application/json", `{"secret":"gsk_fourth","label":"Spare","limit_tokens":5000,"tier":"free"}`}
	if diff := cmp.Diff([]write{want}, f.changes()); diff != "" {
		t.Errorf("asked for (-want +got)\n%s", diff)
	}
}

func TestTheNoticeFollowsTheEnvoys(t *testing.T) {
	s := afternoon()
	s.Proxies = append(s.Proxies, s.Proxies[0])
	s.Proxies[1].Node = "envoy-2"
	f := newFake(t, s)
	v := signedIn(t, f, adminToken)
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Disable")
	v.Await(`document.querySelector('dialog').open`)
	v.Do(chromedp.Click(chromedp.CSS("dialog .danger")))
	v.AwaitText("#notice", "Key 2 (Backup) is disabled.")
	f.change(func(s *state) { s.Proxies[0].Generation, s.Proxies[0].Config = 12, 12 }) // the change's own
	v.AwaitText("#notice", "Key 2 (Backup) is disabled. In effect on 1 of 2 Envoys.")
	f.change(func(s *state) { s.Proxies[1].Generation, s.Proxies[1].Config = 13, 13 })
	v.AwaitText("#notice", "Key 2 (Backup) is disabled. In effect on every Envoy.")
	v.Press("Close this message")
	v.Await(`document.querySelector('#notice').hidden`)
}

func TestARefusalIsShownWhereItWasAsked(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	f.refuse("The last key that can serve cannot be removed.")
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Remove…")
	v.Await(`document.querySelector('dialog').open`)
	v.Do(chromedp.Click(chromedp.CSS("dialog .danger")))
	v.AwaitText("dialog .error", "The last key that can serve cannot be removed.")
	if !browser.Eval[bool](v, `document.querySelector('dialog').open && !document.querySelector('dialog .danger').disabled`) {
		t.Error("it cannot be tried again")
	}
	v.Press("Cancel")
	v.Await(`!document.querySelector('dialog').open && document.querySelector('#notice').hidden`)
}

// TestByKeyboard: the skip link, a key's menu, its dialog and the way back, without a mouse.
func TestByKeyboard(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	v.Do(chromedp.KeyEvent(kb.Tab))
	v.Await(`document.activeElement.textContent === 'Skip to the keys' && document.activeElement.getBoundingClientRect().top >= 0`)
	v.Do(chromedp.KeyEvent(kb.Enter))
	v.Await(`document.activeElement.id === 'main'`)
	v.Do(chromedp.KeyEvent(kb.Tab))
	v.Await(`document.activeElement.id === 'add-key'`)
	v.Do(chromedp.KeyEvent(kb.Tab))
	v.Await(`document.activeElement.getAttribute('aria-label') === 'Actions for Key 1 (Primary)' && document.activeElement.matches(':focus-visible')`)
	v.Do(chromedp.KeyEvent(kb.Enter))
	v.Await(`document.activeElement.textContent === 'Disable'`)
	v.Do(chromedp.KeyEvent(kb.Escape))
	v.Await(`document.activeElement.getAttribute('aria-label') === 'Actions for Key 1 (Primary)' && !document.querySelector('.menu:popover-open')`)
	v.Do(chromedp.KeyEvent(kb.Enter))
	v.Await(`document.activeElement.textContent === 'Disable'`)
	v.Do(chromedp.KeyEvent(kb.Enter))
	v.Await(`document.querySelector('dialog').open && document.activeElement.textContent === 'Cancel'`) // what is dangerous is not at hand
	v.Do(chromedp.KeyEvent(kb.Escape))
	v.Await(`!document.querySelector('dialog').open && document.activeElement.getAttribute('aria-label') === 'Actions for Key 1 (Primary)'`)
	if w := f.changes(); len(w) > 0 {
		t.Errorf("asked for %+v", w)
	}
}
