package dashboard_test

import (
	"bytes"
	"fmt"
	"image"
	_ "image/png"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"keywheel/e2e/browser"
	"keywheel/shared/quota"
	"keywheel/xds/admin"
)

// wide is what tells that something does not fit into the width of the window.
const wide = `document.documentElement.scrollWidth - document.documentElement.clientWidth`

// crowded is an account that is hard to fit: many keys, long names, another script.
func crowded() state {
	used := make([]int64, 50)
	for i := range used {
		used[i] = int64(i*i) % limit
	}
	s := stateAt(at(14, 0), 3, used...)
	s.Keys[0].Label = strings.Repeat("a-label-without-any-blank", 2)
	s.Keys[1].Label = "مفتاح الطوارئ الاحتياطي الثاني"
	s.Keys[2].Label = "A label that has many words and goes on for rather longer than anybody wants"
	s.Keys[3].Models = []string{"meta-llama/llama-4-maverick-17b-128e-instruct", "llama-3.3-70b-versatile"}
	s.Keys[4].UsedTokens, s.Keys[4].LimitTokens, s.Keys[4].RemainingTokens = 999_999_999_999, ref(int64(9_999_999_999_999)), ref(int64(9_000_000_000_000))
	s.Keys[5].Status, s.Keys[6].Status = "critical", "invalid"
	s.Proxies[0].Node, s.Proxies[0].LastError, s.Proxies[0].Rejected = strings.Repeat("node", 16), ref(strings.Repeat("why ", 30)), 3
	s.Proxies[0].Voided, s.Proxies[0].LastRefused, s.Proxies[0].Quarantined = true, ref(at(14, 0)), 9_999_999_999_999
	return s
}

func TestNothingIsWiderThanTheWindow(t *testing.T) {
	for name, s := range map[string]state{"story": afternoon(), "crowded": crowded()} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, s)
			tellStory(f)
			f.events = append(f.events, event(6, at(13, 0), "rejected", "warning", strings.Repeat("long", 60)))
			v := signedIn(t, f, adminToken)
			v.Await(`document.querySelector('#day-content pre') && document.querySelector('#usage-chart canvas') && document.querySelector('#messages li')`)
			for _, width := range []int64{320, 375, 560, 561, 768, 1024, 1100, 1280, 1920} {
				v.Resize(width, 2400)
				v.Await(`Math.abs(document.querySelector('#usage-chart canvas').clientWidth - document.querySelector('#usage-chart').clientWidth) < 2`)
				if over := browser.Eval[int](v, wide); over > 0 {
					t.Errorf("at %d px it scrolls by %d px: %s", width, over, browser.Eval[string](v, `[...document.querySelectorAll('main *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map((n) => n.className + ' ' + n.textContent.slice(0, 40)).join('; ')`))
				}
				v.Picture(fmt.Sprintf("%s-%d", name, width))
			}
			v.Resize(320, 640)
			v.Press("Actions for Key 2 (" + s.Keys[1].Label + ")")
			if !browser.Eval[bool](v, `(() => { const at = document.querySelector('.menu:popover-open').getBoundingClientRect(); return at.left >= 0 && at.right <= 320 && at.top >= 0 && at.bottom <= 640; })()`) {
				t.Error("the menu does not fit")
			}
			v.Press("Change…")
			v.Await(`document.querySelector('dialog').open`)
			v.Picture(name + "-dialog-320")
			if over := browser.Eval[int](v, wide); over > 0 {
				t.Errorf("with a dialog at 320 px it scrolls by %d px", over)
			}
		})
	}
}

// brightness is the mean of a picture's pixels, 0 for black to 1 for white.
func brightness(t *testing.T, shot []byte) float64 {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 4 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x += 4 {
			r, g, b, _ := img.At(x, y).RGBA()
			sum += float64(r+g+b) / (3 * 0xffff)
			n++
		}
	}
	return sum / float64(n)
}

func TestLightAndDark(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, adminToken)
	ready := `document.querySelector('#day-content pre') && document.querySelector('#usage-chart canvas') && document.querySelector('#messages li')`
	v.Prefer("prefers-color-scheme", "light")
	v.Await(ready)
	if b := brightness(t, v.Picture("desktop")); b < 0.8 {
		t.Errorf("light has a brightness of %.2f", b)
	}
	v.Resize(390, 844)
	v.Picture("phone")
	v.Resize(1280, 900)
	axis := `(() => { const c = document.querySelector('#usage-chart canvas'); return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].reduce((sum, byte, i) => (i % 4 === 3 ? sum : sum + byte), 0); })()`
	before := browser.Eval[int](v, axis)
	v.Prefer("prefers-color-scheme", "dark")
	v.Await(fmt.Sprintf(`%s !== %d`, axis, before)) // the charts follow
	if b := brightness(t, v.Picture("dark")); b > 0.25 {
		t.Errorf("dark has a brightness of %.2f", b)
	}
}

func TestMotionIsReducedForThoseWhoAsk(t *testing.T) {
	f := newFake(t, afternoon())
	v := signedIn(t, f, adminToken)
	v.Prefer("prefers-reduced-motion", "no-preference")
	duration := `getComputedStyle(document.querySelector('.bar')).transitionDuration`
	if got := browser.Eval[string](v, duration); got == "0s" {
		t.Errorf("bars move in %s", got)
	}
	v.Prefer("prefers-reduced-motion", "reduce")
	if got := browser.Eval[string](v, duration); got != "0s" {
		t.Errorf("bars move in %s all the same", got)
	}
}

// TestFiguresAreWrittenAsElsewhere holds the page's figures to those of the messages and the terminal.
func TestFiguresAreWrittenAsElsewhere(t *testing.T) {
	v := open(t, newFake(t, afternoon()), "/")
	random := rand.New(rand.NewPCG(1, 2))
	format := asset(t, "format.js")
	var numbers []string
	var grouped, percents []string
	for range 300 {
		n := random.Int64N(1 << random.IntN(50))
		of := 1 + random.Int64N(1<<30)
		used := random.Int64N(of + 1)
		numbers = append(numbers, fmt.Sprintf("[%d, %d, %d]", n, used, of))
		grouped = append(grouped, quota.Group(n))
		percents = append(percents, quota.FormatPercent(used, of))
	}
	list := "[" + strings.Join(numbers, ",") + "]"
	got := browser.Eval[[]string](v, fmt.Sprintf(`import(%q).then((f) => %s.map(([n, used, of]) => f.group(n) + ' ' + f.percentOf(used, of).toFixed(1) + '%%'))`, format, list))
	for i := range got {
		if want := grouped[i] + " " + percents[i]; got[i] != want {
			t.Errorf("%s is written %q, want %q", numbers[i], got[i], want)
		}
	}
	for call, want := range map[string]string{
		"cells(0)": "░░░░░░░░░░", "cells(4.9)": "░░░░░░░░░░", "cells(5)": "█░░░░░░░░░", "cells(59)": "██████░░░░", "cells(99.9)": "█████████░", "cells(100)": "██████████",
		"wholePercent(99.6)": "99", "wholePercent(100)": "100", "wholePercent(8.5)": "9", "countdown(35999999)": "9h 59m", "countdown(-5)": "0h 00m",
		"duration(0)": "0s", "duration(90)": "1m 30s", "duration(7500)": "2h 05m", "duration(273600)": "3d 04h", "short(14400)": "14.4k", "short(0)": "0",
		"short(2500000)": "2.5M", "count(1, 'key')": "1 key", "count(1200, 'key')": "1,200 keys", "moveDay('2025-03-01', -1)": "2025-02-28",
		"clock('2025-11-18T13:00:00Z', '2025-11-18')": "13:00", "clock('2025-11-19T00:00:00Z', '2025-11-18')": "2025-11-19 00:00",
		"light({health: 79.9}, [{status: 'active'}])": "🟡", "light({health: 49}, [{status: 'active'}])": "🔴", "light({health: 100}, [{status: 'cooling'}])": "🔴",
	} {
		if got := browser.Eval[string](v, fmt.Sprintf(`import(%q).then((f) => String(f.%s))`, format, call)); got != want {
			t.Errorf("%s is %q, want %q", call, got, want)
		}
	}
}

func TestTheChartHasTheDay(t *testing.T) {
	f := newFake(t, afternoon())
	tellStory(f)
	v := signedIn(t, f, readToken)
	v.Await(`document.querySelector('#usage-chart canvas')`)
	want := "Tokens used today by each key: Key 1 (Primary) 14,400 of 14,400, Key 2 (Backup) 8,500 of 14,400, Key 3 (Emergency) 0 of 14,400"
	if got := browser.Eval[string](v, `document.querySelector('#usage-chart').getAttribute('aria-label')`); got != want {
		t.Errorf("it says %q", got)
	}
	v.Do(chromedp.Click(chromedp.CSS("#usage-figures summary")))
	rows := browser.Eval[[]string](v, `[...document.querySelectorAll('#usage-table tbody tr')].map((tr) => [...tr.cells].map((td) => td.textContent).join(' '))`)
	if len(rows) != 15 || rows[7] != "08:00 0 0" || rows[14] != "15:00 14,400 8,500" {
		t.Errorf("rows: %q", rows)
	}
	f.change(func(s *state) {
		*s = stateAt(at(14, 2), 2, limit, 9_000, 700)
	})
	v.AwaitText("#usage-legend", "Key 2 (Backup) 9,000")

	// Somebody points at noon.
	box := browser.Eval[[]float64](v, `(() => { const r = document.querySelector('#usage-chart .u-over').getBoundingClientRect(); document.querySelector('#usage-chart').scrollIntoView({block: 'center'}); const q = document.querySelector('#usage-chart .u-over').getBoundingClientRect(); return [q.left, q.top, q.width, q.height]; })()`)
	v.Do(chromedp.MouseEvent(chromedp.MouseMoved, box[0]+box[2]/2, box[1]+box[3]/2))
	v.AwaitText("#usage-at", "at 12:00 UTC")
	v.AwaitText("#usage-legend", "Key 2 (Backup) 0")
	v.AwaitText("#usage-legend", "Key 3 (Emergency) 0") // all of its use is of the last five minutes
	v.Do(chromedp.MouseEvent(chromedp.MouseMoved, 5, 5))
	v.AwaitText("#usage-legend", "Key 2 (Backup) 9,000")
}

func TestADayEnds(t *testing.T) {
	f := newFake(t, stateAt(at(23, 59), 1, 12_000, 0, 0))
	tellStory(f)
	v := signedIn(t, f, readToken)
	v.AwaitText("#day-content pre", day)
	f.mu.Lock()
	f.summaries["2025-11-19"] = admin.Summary{Date: "2025-11-19", Text: "a new day"}
	f.usage = map[string]admin.Usage{}
	f.mu.Unlock()
	f.change(func(s *state) {
		*s = stateAt(at(24, 1), 1, 0, 0, 0)
		s.Pool.Window, s.Pool.ResetsAt = "2025-11-19", at(48, 0)
	})
	v.AwaitText("#resets", "Resets in: 23h 59m")
	v.AwaitText("#usage-legend", "Key 1 (Primary) 0")
	v.AwaitText("#keys", "✅ Active")
}
