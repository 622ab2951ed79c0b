package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/browser"
	"keywheel/e2e/harness"
)

// The user's day as somebody sees it who opens the page in the morning, by the link in the terminal, and never loads it
// again: each figure at its time, a red banner at 90 %, the picture at 14:00; and who then takes a key out of use and
// back into it with the mouse.
func TestDayOnThePage(t *testing.T) {
	browser.Need(t)
	d := startDay(t, "KEYWHEEL_CALLER_HEADER=x-team")
	d.teams = []string{"search", "chat", "support"}
	calls := dayCalls()
	v := d.openPage(t)

	d.hurry(t, calls, "10:00")
	d.play(t, calls)
	v.AwaitText("#keys", "🟡 Warning (in use)")
	v.AwaitText("#events", "Groq Key 1 at 75%")

	d.hurry(t, calls, "11:30")
	v.AwaitText("#now", "2025-11-18 11:30:00 UTC")
	if said := alerts(v); len(said) > 0 {
		t.Errorf("alerts before 90%%: %q", said)
	}
	d.play(t, calls)
	d.assertRed(t, v)
	t.Run("accessible at 11:30", func(t *testing.T) {
		needAxe(t)
		assertAccessible(t, v.In(t), "with a banner")
	})

	d.hurry(t, calls, "14:00")
	d.assertPictureOnPage(t, v)
	d.takePictures(t, v)
	t.Run("accessible at 14:00", func(t *testing.T) { d.assertAllAccessible(t, v.In(t)) })
	d.assertWeight(t)

	d.disableOnPage(t, v)
	d.enableOnPage(t, v)
	if !browser.Eval[bool](v, `window.neverLoadedAgain === true`) {
		t.Error("the page was loaded again")
	}
	harness.AssertNoSecret(t, append(d.Secrets(), d.Keywheel.Token(t)),
		harness.Blob{Name: "the page", Data: browser.Eval[string](v, `document.documentElement.outerHTML + document.cookie + location.href`)})
}

// openPage follows the link in the terminal, and looks at the page as the day begins.
func (d *day) openPage(t *testing.T) *browser.View {
	t.Helper()
	v := browser.Open(t, d.link)
	v.AwaitText("#title", "🟢 Groq (3 keys) - Health: 100%")
	v.AwaitText("#keys", "✅ Active")
	want := []string{"Key 1 (Primary): 0% Active", "Key 2 (Backup): 0% Standby", "Key 3 (Emergency): 0% Standby", "Pool: used of all keys' limits"}
	if diff := cmp.Diff(want, browser.Names(v.Tree(), "meter")); diff != "" {
		t.Errorf("bars at 08:00 (-want +got):\n%s", diff)
	}
	if at := browser.Eval[string](v, `location.href`); at != "http://"+d.Keywheel.Admin+"/" {
		t.Errorf("the address is still %d characters long: the token has stayed in it", len(at))
	}
	browser.Eval[bool](v, `window.neverLoadedAgain = true`)
	return v
}

// hurry plays the calls that are due before a time of the day, and makes it that time.
func (d *day) hurry(t *testing.T, calls []dayCall, clock string) {
	t.Helper()
	for at := dayTime(clock); d.now.Before(at); {
		for len(d.done) < len(calls) && !calls[len(d.done)].at.After(d.now) {
			d.call(t, calls[len(d.done)])
		}
		d.check(t)
		d.now = d.now.Add(15 * time.Minute)
		d.Keywheel.MoveClock(t, d.now, 0)
	}
	d.check(t)
}

// alerts are what the page says aloud, as assistive software is told.
func alerts(v *browser.View) []string {
	var said []string
	for _, n := range browser.Select(v.Tree(), "alert") {
		if len(n.Texts) > 0 {
			said = append(said, strings.Join(n.Texts, ""))
		}
	}
	return said
}

// assertRed looks at the page at 11:30.
func (d *day) assertRed(t *testing.T, v *browser.View) {
	t.Helper()
	const said = "🚨 Key 1 (Primary) is critical: 90% or more of its daily limit is used."
	v.AwaitText(".banner", said+" 1,440 tokens remain. Key 2 (Backup) takes over when it is exhausted.")
	v.AwaitText("#keys", "🟠 Critical (in use)")
	v.AwaitText("#events", "🚨 CRITICAL: Groq Key 1 at 90%")
	v.Await(`document.title === '🚨 Key 1 critical - Keywheel'`)
	if diff := cmp.Diff([]string{said}, alerts(v)); diff != "" {
		t.Errorf("alerts at 90%% (-want +got):\n%s", diff)
	}
	red := browser.Eval[[]int](v, `getComputedStyle(document.querySelector('.banner')).backgroundColor.match(/\d+/g).map(Number)`)
	if red[0] < 150 || red[1] > 80 || red[2] > 80 {
		t.Errorf("the banner is not red: %v", red)
	}
}

// drawn is the story's picture as it reads from the accessibility tree.
func drawn(nodes []browser.Node) string {
	var b strings.Builder
	keys := browser.Names(nodes, "heading")
	fmt.Fprintln(&b, keys[0])
	keys = slices.DeleteFunc(keys, func(name string) bool { return !strings.HasPrefix(name, "Key ") })
	for _, row := range browser.Select(nodes, "listitem") {
		bar := slices.IndexFunc(row.Texts, func(text string) bool { return strings.Trim(text, "█░") == "" })
		if bar >= 0 && len(keys) > 0 && bar+2 < len(row.Texts) {
			fmt.Fprintf(&b, "%-18s %s %4s %s\n", keys[0], row.Texts[bar], row.Texts[bar+1], row.Texts[bar+2])
			keys = keys[1:]
		}
	}
	for _, below := range []string{"Resets in: ", "Pool: "} {
		for _, text := range browser.Names(nodes, "StaticText") {
			if strings.HasPrefix(text, below) {
				fmt.Fprintln(&b, text)
			}
		}
	}
	return b.String()
}

// assertPictureOnPage looks at the page at 14:00: it says what the terminal does, in the same words.
func (d *day) assertPictureOnPage(t *testing.T, v *browser.View) {
	t.Helper()
	v.AwaitText("#now", "2025-11-18 14:00:00 UTC")
	v.AwaitText("#keys", "8,500 / 14,400")
	nodes := v.Tree()
	if diff := cmp.Diff(picture, drawn(nodes)); diff != "" {
		t.Errorf("the page at 14:00 (-want +got):\n%s", diff)
	}
	var bars []string
	for _, n := range browser.Select(nodes, "meter") {
		bars = append(bars, n.Name+" = "+n.Value)
	}
	want := []string{
		"Key 1 (Primary): 100% Exhausted = 100", "Key 2 (Backup): 59% Active = 59", "Key 3 (Emergency): 0% Standby = 0",
		"Pool: used of all keys' limits = 53",
	}
	if diff := cmp.Diff(want, bars); diff != "" {
		t.Errorf("bars at 14:00 (-want +got):\n%s", diff)
	}
	if said := alerts(v); len(said) > 0 {
		t.Errorf("alerts at 14:00: %q", said)
	}
	v.AwaitText("#events", "Groq Key 1 → Groq Key 2")
}

// The windows that pictures are taken of.
var windows = map[string][2]int64{"desktop": {1280, 1048}, "phone": {390, 844}}

// takePictures takes those that the README shows.
func (d *day) takePictures(t *testing.T, v *browser.View) {
	t.Helper()
	const most = 200_000
	for name, size := range windows {
		v.Resize(size[0], size[1])
		v.Await(chartsFit)
		if shot := v.Picture(name); len(shot) > most {
			t.Errorf("the picture %s has %d bytes; at most %d", name, len(shot), most)
		}
	}
	v.Resize(windows["desktop"][0], windows["desktop"][1])
	v.Prefer("prefers-color-scheme", "dark")
	v.Await(chartsFit)
	v.Picture("dark")
	v.Prefer("prefers-color-scheme", "light")
}

// chartsFit is true once the charts are drawn as wide as there is room for.
const chartsFit = `[...document.querySelectorAll('.chart')].every((c) => c.querySelector('canvas') &&
	Math.abs(c.querySelector('canvas').clientWidth - c.clientWidth) < 2)`

// assertAllAccessible has everything examined that a person can open, on a desktop and a phone, in light and dark.
func (d *day) assertAllAccessible(t *testing.T, v *browser.View) {
	t.Helper()
	needAxe(t)
	v.Do(chromedp.Click(chromedp.CSS("#usage-figures summary")))
	for window, size := range windows {
		for _, scheme := range []string{"light", "dark"} {
			v.Resize(size[0], size[1])
			v.Prefer("prefers-color-scheme", scheme)
			what := window + ", " + scheme
			assertAccessible(t, v, what)
			v.Press("Actions for Key 2 (Backup)")
			v.Await(`document.querySelector('.menu:popover-open')`)
			assertAccessible(t, v, "a key's menu, "+what)
			v.Press("Disable")
			v.Await(`document.querySelector('dialog').open`)
			assertAccessible(t, v, "a question, "+what)
			v.Press("Cancel")
			v.Await(`!document.querySelector('dialog').open`)
			v.Press("Add key")
			v.Await(`document.querySelector('dialog').open`)
			assertAccessible(t, v, "a form, "+what)
			v.Press("Cancel")
			v.Await(`!document.querySelector('dialog').open`)
		}
	}
	stranger := browser.Open(t, "http://"+d.Keywheel.Admin+"/")
	stranger.Await(`!document.querySelector('#sign-in').hidden`)
	assertAccessible(t, stranger, "the sign-in")
	v.Resize(windows["desktop"][0], windows["desktop"][1])
	v.Prefer("prefers-color-scheme", "light")
}

// assertWeight opens the page anew and weighs what it loads. How long the first state takes is said, and not judged: the
// machine may be busy.
func (d *day) assertWeight(t *testing.T) {
	t.Helper()
	const most = 200_000
	v := browser.Blank(t)
	browser.Run(v, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: firstState})
		return err
	}))
	v.Do(chromedp.Navigate(d.link))
	v.Await(`window.firstState !== undefined && ` + chartsFit)
	v.AwaitText("#day-content", "support") // a team that made calls
	loaded := browser.Eval[[]int](v, `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
		.filter((e) => !e.name.includes('/api/')).reduce(([n, plain, sent], e) => [n + 1, plain + e.decodedBodySize, sent + e.encodedBodySize], [0, 0, 0])`)
	t.Logf("the page: %d files, %d bytes, %d as sent; first state after %.0f ms", loaded[0], loaded[1], loaded[2], browser.Eval[float64](v, `window.firstState`))
	if loaded[1] == 0 || loaded[1] >= most {
		t.Errorf("the page weighs %d bytes; it must stay below %d", loaded[1], most)
	}
}

// firstState notes when the account is first shown, in milliseconds since the page was asked for.
const firstState = `new MutationObserver((_, observer) => {
	if (!document.querySelector('.key')?.checkVisibility()) return;
	window.firstState = performance.now();
	observer.disconnect();
}).observe(document, {childList: true, subtree: true, attributes: true});`

// disableOnPage takes key 2 out of use, and the next call goes to key 3.
func (d *day) disableOnPage(t *testing.T, v *browser.View) {
	t.Helper()
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Disable")
	v.AwaitText("dialog h2", "Disable Key 2 (Backup)?")
	if status := d.Keywheel.Keys(t)["2"].Status; status != "active" {
		t.Errorf("key 2 is %s before anybody said yes", status)
	}
	v.Press("Disable")
	v.AwaitText("#notice", "Key 2 (Backup) is disabled. In effect on every Envoy.")
	d.call(t, dayCall{number: 401, key: "3", tokens: 150})
	v.AwaitText("#keys", "🚫 Disabled")
	v.AwaitText(".key:nth-child(3)", "✅ Active")
	v.AwaitText(".key:nth-child(3)", "150 / 14,400")
}

// enableOnPage puts it back.
func (d *day) enableOnPage(t *testing.T, v *browser.View) {
	t.Helper()
	v.Press("Actions for Key 2 (Backup)")
	v.Press("Enable")
	v.AwaitText("dialog h2", "Enable Key 2 (Backup)?")
	v.Press("Enable")
	v.AwaitText("#notice", "Key 2 (Backup) is enabled. In effect on every Envoy.")
	d.call(t, dayCall{number: 402, key: "2", tokens: 100})
	v.AwaitText(".key:nth-child(2)", "✅ Active")
	v.AwaitText(".key:nth-child(2)", "8,600 / 14,400")

	var audits []struct{ Who, What, Key, Outcome string }
	d.Keywheel.API(t, "/api/v1/audit?limit=2", &audits)
	if got := fmt.Sprint(audits); got != "[{page change key 2 done} {page change key 2 done}]" {
		t.Errorf("the audit says %s", got)
	}
}
