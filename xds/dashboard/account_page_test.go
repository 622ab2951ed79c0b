package dashboard_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/browser"
	"keywheel/xds/admin"
)

func TestTheAfternoonReadsAsInThePicture(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, adminToken)
	nodes := v.Tree()

	if titles := browser.Names(nodes, "heading"); titles[0] != "🟢 Groq (3 keys) - Health: 95%" {
		t.Errorf("the first heading is %q", titles[0])
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
		t.Errorf("bars (-want +got)\n%s", diff)
	}
	said := browser.Names(nodes, "StaticText")
	for _, text := range []string{
		"Resets in: 10h 00m", "Pool: 22,900 / 43,200 tokens (53.0%)",
		"██████████", "100%", "🔴 Exhausted", "██████░░░░", "59%", "✅ Active", "░░░░░░░░░░", "0%", "⏸ Standby",
		"14,400 / 14,400", "8,500 / 14,400", "5,900", "144", "256", "15:12", "2025-11-18 14:00:00 UTC",
	} {
		if !slices.Contains(said, text) {
			t.Errorf("%q is not on the page", text)
		}
	}
	if banners := browser.Eval[int](v, `document.querySelectorAll('.banner').length`); banners != 0 {
		t.Errorf("%d banners", banners)
	}
	v.Await(`document.querySelector('#usage-chart canvas') && document.querySelector('#requests-chart canvas') && document.querySelector('#tokens-chart canvas')`)
	for _, landmark := range []string{"banner", "main", "contentinfo"} {
		if got := browser.Names(v.Tree(), landmark); len(got) != 1 {
			t.Errorf("%d landmarks %s", len(got), landmark)
		}
	}
}

func TestABannerNamesTheKeyThatIsCritical(t *testing.T) {
	f := newFake(t, stateAt(at(11, 29), 1, 12_900, 0, 0))
	v := signedIn(t, f, adminToken)
	if got := browser.Names(v.Tree(), "alert"); !slices.Equal(got, make([]string, len(got))) || browser.Eval[int](v, `document.querySelectorAll('.banner').length`) != 0 {
		t.Errorf("alerts before 90 %%: %q", got)
	}
	f.change(func(s *state) { *s = stateAt(at(11, 30), 1, 12_960, 0, 0) })
	v.AwaitText(".banner", "🚨 Key 1 (Primary) is critical: 90% or more of its daily limit is used. 1,440 tokens remain. Key 2 (Backup) takes over when it is exhausted.")
	v.Await(`document.title === '🚨 Key 1 critical - Keywheel'`)
	if role := browser.Eval[string](v, `document.querySelector('.banner strong').getAttribute('role')`); role != "alert" {
		t.Errorf("its role is %q", role)
	}
	red := browser.Eval[[]int](v, `getComputedStyle(document.querySelector('.banner')).backgroundColor.match(/\d+/g).map(Number)`)
	if red[0] < 150 || red[1] > 80 || red[2] > 80 {
		t.Errorf("it is not red: %v", red)
	}
	v.AwaitText("#keys", "🟠 Critical (in use)")
	v.Picture("critical")

	// More use is shown, and not said again.
	browser.Eval[bool](v, `window.said = 0; new MutationObserver(() => window.said++).observe(document.querySelector('.banner strong'), {childList: true, characterData: true, subtree: true}); true`)
	f.change(func(s *state) { *s = stateAt(at(11, 31), 1, 13_060, 0, 0) })
	v.AwaitText(".banner", "1,340 tokens remain.")
	if said := browser.Eval[int](v, `window.said`); said != 0 {
		t.Errorf("the alert was said %d times again", said)
	}

	f.change(func(s *state) { *s = stateAt(at(12, 15), 2, limit, 123, 0) })
	v.Await(`document.querySelectorAll('.banner').length === 0`)
}

func TestABannerSaysThatAllAreOut(t *testing.T) {
	f := newFake(t, stateAt(at(21, 30), 1, limit, limit, limit))
	v := signedIn(t, f, adminToken)
	v.AwaitText(".banner", "🔴 All keys are out: calls are refused. The first one is back at 2025-11-19 00:00 UTC, in 2h 30m.")
	v.AwaitText("#title", "🔴 Groq (3 keys)")
	v.Await(`document.title === '🔴 All keys out - Keywheel'`)
	v.Picture("all-out")

	f.change(func(s *state) { s.Keys[1].Status, s.Keys[1].CoolingUntil = "cooling", ref(at(21, 42)) })
	v.AwaitText(".banner", "The first one is back at 21:42 UTC, in 0h 12m.")
	v.AwaitText("#keys", "🧊 Cooling until 21:42 UTC")
	f.change(func(s *state) { *s = stateAt(at(21, 42), 2, limit, 100, limit) })
	v.Await(`!document.querySelector('.banner')`)
}

func TestUpdatesArriveWithoutReload(t *testing.T) {
	f := newFake(t, stateAt(at(8, 15), 1, 1_234, 0, 0))
	v := signedIn(t, f, adminToken)
	v.AwaitText("#keys", "1,234 / 14,400")
	browser.Eval[bool](v, `window.first = document.querySelector('.key'); document.querySelector('.more').focus(); true`)
	for _, step := range []struct {
		minute int
		used   int64
		shown  string
	}{{30, 3_456, "24%"}, {45, 5_678, "39%"}, {60, 7_890, "55%"}} {
		f.change(func(s *state) { *s = stateAt(at(8, step.minute), 1, step.used, 0, 0) })
		v.AwaitText("#keys", step.shown)
	}
	v.AwaitText("#resets", "Resets in: 15h 00m")
	if !browser.Eval[bool](v, `window.first === document.querySelector('.key') && document.activeElement === document.querySelector('.more')`) {
		t.Error("the row was made anew, or lost the focus")
	}
	f.change(func(s *state) {
		*s = stateAt(at(24, 0).Add(-1), 1, 7_890, 0, 0)
		s.Keys = s.Keys[:2]
		s.Keys[0], s.Keys[1] = s.Keys[1], s.Keys[0]
	})
	v.AwaitText("#title", "2 keys")
	v.AwaitText("#resets", "Resets in: 0h 00m")
	if got := browser.Eval[string](v, `[...document.querySelectorAll('.key-name')].map((n) => n.textContent).join()`); got != "Key 2 (Backup),Key 1 (Primary)" {
		t.Errorf("keys: %s", got)
	}
}

func TestKeysWithoutLimitsAndNoKeys(t *testing.T) {
	s := stateAt(at(9, 0), 1, 5_000, 300)
	s.Keys[0].LimitTokens, s.Keys[0].RemainingTokens, s.Keys[0].Percent = nil, nil, nil
	s.Keys[1].LimitTokens, s.Keys[1].RemainingTokens, s.Keys[1].Percent = nil, nil, nil
	s.Keys[1].LimitRequests, s.Keys[1].Requests = ref(int64(1_000)), 995
	s.Pool.Limit, s.Pool.Remaining, s.Pool.Percent = nil, nil, nil
	f := newFake(t, s)
	v := signedIn(t, f, adminToken)
	v.AwaitText("#pool", "Pool: 5,300 tokens (no limit)")
	if !browser.Eval[bool](v, `document.querySelector('.key .bar').hidden && document.querySelector('#pool-bar').hidden`) {
		t.Error("a bar without a limit")
	}
	v.AwaitText(".key .percent", "no limit")
	if got := browser.Names(v.Tree(), "meter"); !slices.Equal(got, []string{"Key 2 (Backup): 99% Standby"}) {
		t.Errorf("bars: %q", got)
	}
	v.AwaitText(".key:nth-child(2)", "995 / 1,000")

	f.change(func(s *state) { s.Keys, s.Pool.Health = []admin.Key{}, 100 })
	v.AwaitText("#no-keys", "No key is configured")
	v.AwaitText("#title", "🔴 Groq (0 keys) - Health: 100%")
}

func TestEnvoysAreShown(t *testing.T) {
	s := stateAt(at(14, 0), 1, 100)
	s.Proxies = append(s.Proxies, admin.Proxy{
		Incarnation: "0194…", Node: "envoy-2", Connected: false, Generation: 5, LastReport: ref(at(13, 20)), Rejected: 2, LastError: ref("bad key"), SkewMS: -45_000,
	})
	f := newFake(t, s)
	v := signedIn(t, f, readToken)
	for _, text := range []string{"envoy-1", "Connected", "1.40.0", "7", "1s ago", "envoy-2", "Gone", "unknown", "40m 00s ago", "2 refused: bad key", "clock -45s off"} {
		v.AwaitText("#envoys", text)
	}
	f.change(func(s *state) {
		s.Proxies[1].Quarantined, s.Proxies[1].Panics = 12_345, 1
		s.Proxies = append(s.Proxies, admin.Proxy{Incarnation: "0195…", Node: "envoy-3", Voided: true, LastRefused: ref(at(13, 50)), LastReport: ref(at(13, 20))})
	})
	for _, text := range []string{"12,345 tokens set aside", "1 bug of the filter", "envoy-3", "Voided", "reports refused, the last 10m 00s ago"} {
		v.AwaitText("#envoys", text)
	}
	if banners := browser.Eval[int](v, `document.querySelectorAll('.banner').length`); banners != 0 {
		t.Errorf("%d banners for an Envoy that has ended", banners)
	}
	f.change(func(s *state) { s.Proxies[2].LastRefused = ref(at(13, 58)) })
	v.AwaitText(".banner", "⚠️ Voided, and still running: Envoy envoy-3. What is spent there is not counted. Start it again.")
	v.Await(`[...document.querySelectorAll('#envoys tbody tr')].map((row) => row.cells[0].textContent).join() === 'envoy-1,envoy-3,envoy-2'`)
	f.change(func(s *state) { s.Proxies[2].LastRefused = ref(at(13, 50)) })
	v.Await(`!document.querySelector('.banner')`)
	f.change(func(s *state) { s.Proxies = s.Proxies[1:] })
	v.AwaitText(".banner", "No Envoy is connected to this control plane.")
	f.change(func(s *state) { s.Proxies = []admin.Proxy{} })
	v.AwaitText("#no-envoys", "No Envoy has reported yet.")
}

// TestNamesAreInert: whatever people call a key, a caller or an Envoy, it is text.
func TestNamesAreInert(t *testing.T) {
	evil := []string{
		`<img src=x onerror="alert(1)">`, `"><script>alert(2)</script>`, `' onmouseover='alert(3)`, `</h2><svg/onload=alert(4)>`, `javascript:alert(5)`,
		`{{constructor.constructor('alert(6)')()}}`, `__proto__`, "\u202eevil\u202c", `&lt;b&gt;`,
	}
	used := slices.Repeat([]int64{100}, len(evil))
	s := stateAt(at(14, 0), 1, used...)
	for i, name := range evil {
		s.Keys[i].Label, s.Keys[i].Models, s.Keys[i].Org = name, []string{name}, name
	}
	s.Keys[1].ID = evil[0]
	s.Keys[0].Status = "critical"
	s.Proxies[0].Node, s.Proxies[0].LastError, s.Proxies[0].Rejected, s.Proxies[0].Version = evil[0], ref(evil[1]), 1, ref(evil[3])
	f := newFake(t, s)
	for i, name := range evil {
		e := event(i+1, at(10, i), "rotated", "warning", name)
		e.Reason, e.From, e.To = ref(name), ref(name), ref(name)
		f.events = append(f.events, e)
		f.notifications = append(f.notifications, admin.Notification{ID: name, Receiver: name, Title: name, State: "failed", Error: ref(name), At: at(9, 0)})
	}
	f.usage["caller 1d"] = admin.Usage{Series: []admin.UsageSeries{{Name: evil[0], Label: ref(evil[1]), Points: []admin.Point{{At: midnight, Tokens: 1, Requests: ref(int64(1))}}}}}
	f.summaries[day] = admin.Summary{
		Date: day, Keys: []admin.KeySummary{{ID: evil[0], Label: evil[3]}}, Models: []admin.ModelUsage{{Model: evil[1]}},
		RotationLog: []admin.Rotation{{At: at(10, 0), From: evil[0], To: evil[1], Reason: evil[3]}}, Text: strings.Join(evil, "\n"),
	}
	v := signedIn(t, f, adminToken) // fails if the browser opens a dialog or a script is refused
	v.Await(`document.querySelector('#day-content pre') && document.querySelector('#messages li') && document.querySelector('#usage-chart canvas')`)
	v.AwaitText("#events", evil[0])
	v.Press("Actions for Key 1 (" + evil[0] + ")")
	v.Press("Disable")
	v.AwaitText("dialog", evil[0])
	if found := browser.Eval[string](v, `[...document.querySelectorAll('main img, main svg, main script, main b, [onerror], [onload], [onmouseover], a[href^="javascript"], dialog img')].map((n) => n.outerHTML).join('\n')`); found != "" {
		t.Errorf("became elements:\n%s", found)
	}
	for i, name := range evil {
		id := strconv.Itoa(i + 1)
		if i == 1 {
			id = evil[0]
		}
		want := fmt.Sprintf("Key %s (%s)", id, name)
		if got := browser.Eval[string](v, fmt.Sprintf(`document.querySelectorAll('.key-name')[%d].textContent`, i)); got != want {
			t.Errorf("key %d is called %q, want %q", i+1, got, want)
		}
	}
}

// TestThePolicyHolds: what got into the document all the same would not run, and these tests would see it.
func TestThePolicyHolds(t *testing.T) {
	v := signedIn(t, newFake(t, afternoon()), readToken)
	for _, c := range []struct{ what, try string }{
		{"a script in the document", `(() => { const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s); return true; })()`},
		{"a handler in an attribute", `(() => { const b = document.createElement('b'); b.setAttribute('onclick', 'window.ran = true'); document.body.append(b); b.click(); return true; })()`},
		{"a script from elsewhere", `(() => { const s = document.createElement('script'); s.src = 'data:text/javascript,window.ran=true'; document.body.append(s); return true; })()`},
		{"a style in an attribute", `(() => { const b = document.createElement('b'); b.setAttribute('style', 'color: red'); document.body.append(b); return true; })()`},
		{"a request to elsewhere", `fetch('http://keywheel.invalid/').then(() => true, () => true)`},
		{"a frame", `(() => { const f = document.createElement('iframe'); f.src = '/'; document.body.append(f); return true; })()`},
	} {
		browser.Eval[bool](v, c.try)
		got := v.Complained()
		for end := time.Now().Add(time.Minute); len(got) == 0 && time.Now().Before(end); got = v.Complained() {
			v.Await(`true`) // the browser's log comes by itself, a little later
		}
		if len(got) == 0 || !strings.Contains(got[0], "Content Security Policy") {
			t.Errorf("%s: the browser says %q", c.what, got)
		}
		if browser.Eval[bool](v, `Boolean(window.ran)`) {
			t.Errorf("%s: it ran", c.what)
		}
	}
}
