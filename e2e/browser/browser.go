// Package browser opens a page in a real Chromium, for tests: as a person sees it, and as assistive software is told.
//
// The rules are:
//   - One Chromium serves all tests of a package; each view has a profile of its own in it.
//   - What the browser complains of fails the test: a violation of the page's policy, an exception, a dialog of its own.
//   - Nothing waits for time to pass: a test waits until something is true in the page, with a deadline that only a
//     failure reaches.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long the page may take for anything, on a machine that does much else.
const patience = 30 * time.Second

// picturesIn names the folder in which Picture keeps what it takes; unset: nowhere.
const picturesIn = "KEYWHEEL_PICTURES"

// program is Chromium's, on the PATH.
const program = "chromium"

// Stop ends the browser, if one was started: for TestMain.
func Stop() { stop() }

var stop = func() {}

// shared starts Chromium once.
var shared = sync.OnceValues(func() (context.Context, error) {
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(program),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-color-profile", "srgb"))
	ctx, cancel := chromedp.NewContext(ctx)
	stop = func() { cancel(); cancelAllocator() }
	return ctx, chromedp.Do(ctx)
})

// Need skips the test where there is no Chromium; with CI=true it fails it.
func Need(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium on the PATH: the page is not tested")
		}
		t.Skip("no chromium on the PATH")
	}
}

// View is a page in the browser, as one person sees it.
type View struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string // of the browser's
}

// Blank is a view that shows nothing yet, in a window of 1280 × 900.
func Blank(t testing.TB) *View {
	t.Helper()
	Need(t)
	browser, err := shared()
	if err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	v := &View{t: t, ctx: ctx}
	v.watch()
	v.Do(chromedp.EmulateViewport(1280, 900))
	return v
}

// Open is a view of the page at a URL.
func Open(t testing.TB, url string) *View {
	t.Helper()
	v := Blank(t)
	v.Do(chromedp.Navigate(url))
	return v
}

// In is the view for a subtest, to fail that and not the test that opened it. What the browser complains of stays there.
func (v *View) In(t testing.TB) *View { return &View{t: t, ctx: v.ctx} }

func (v *View) watch() {
	v.t.Helper()
	err := chromedp.Listen(v.ctx, func(ev any) {
		v.mu.Lock()
		defer v.mu.Unlock()
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			if ev.Entry.Source == log.EntrySourceSecurity || ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork {
				v.complaints = append(v.complaints, fmt.Sprint(ev.Entry.Source, ": ", ev.Entry.Text))
			}
		case *runtime.EventExceptionThrown:
			v.complaints = append(v.complaints, ev.ExceptionDetails.Text)
		case *page.EventJavascriptDialogOpening:
			v.complaints = append(v.complaints, "a dialog of the browser's: "+ev.Message)
		}
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		for _, c := range v.Complained() {
			v.t.Errorf("the browser complains: %s", c)
		}
	})
}

// Complained returns what the browser has complained of so far, and forgets it.
func (v *View) Complained() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.complaints
	v.complaints = nil
	return was
}

// bounded is the view's context for one step.
func (v *View) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(v.ctx, 2*patience)
}

// Do does steps.
func (v *View) Do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := v.bounded()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

// Run does a step and returns what came of it.
func Run[T any](v *View, step chromedp.Action[T]) T {
	v.t.Helper()
	ctx, cancel := v.bounded()
	defer cancel()
	value, err := chromedp.Run(ctx, step)
	if err != nil {
		v.t.Fatal(err)
	}
	return value
}

// Eval returns what an expression, which may be a promise, comes to in the page.
func Eval[T any](v *View, expression string) T {
	v.t.Helper()
	ctx, cancel := v.bounded()
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		v.t.Fatalf("%.300s: %v", expression, err)
	}
	return value
}

// Await waits until an expression is true in the page. (The library's own poll makes a function from text, which a
// page's policy may forbid.)
func (v *View) Await(expression string) {
	v.t.Helper()
	ok := Eval[bool](v, fmt.Sprintf(`new Promise((done) => {
		const end = performance.now() + %d;
		(function look() {
			if (%s) done(true);
			else if (performance.now() > end) done(false);
			else setTimeout(look, 10);
		})();
	})`, patience.Milliseconds(), expression))
	if !ok {
		v.t.Fatalf("never came true: %s\nthe page says:\n%s", expression, Eval[string](v, `document.body.innerText`))
	}
}

// Text returns what a person reads in the element.
func (v *View) Text(selector string) string {
	v.t.Helper()
	return Eval[string](v, fmt.Sprintf(`document.querySelector(%q).innerText`, selector))
}

// AwaitText waits until the element reads so, among other things.
func (v *View) AwaitText(selector, text string) {
	v.t.Helper()
	v.Await(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, text))
}

// Press clicks the button with this name, as assistive software knows it.
func (v *View) Press(name string) {
	v.t.Helper()
	const find = `[...document.querySelectorAll('button')].find((b) => b.checkVisibility() && (b.getAttribute('aria-label') ?? b.textContent) === %q)`
	v.Await(fmt.Sprintf("Boolean("+find+")", name))
	v.Do(chromedp.Click(chromedp.JSPath(fmt.Sprintf(find, name))))
}

// Resize gives the window another size, in CSS pixels.
func (v *View) Resize(width, height int64) {
	v.t.Helper()
	v.Do(chromedp.EmulateViewport(width, height))
	v.Await(fmt.Sprintf(`innerWidth === %d`, width))
}

// Prefer sets what the person prefers, as a page's media query asks: "prefers-color-scheme", "dark".
func (v *View) Prefer(feature, value string) {
	v.t.Helper()
	v.Do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
		})
		return err
	}))
	v.Await(fmt.Sprintf(`matchMedia("(%s: %s)").matches`, feature, value))
}

// Picture returns a screenshot of the window, as PNG, once nothing moves in it. In the folder that KEYWHEEL_PICTURES
// names, if it does, the picture is kept under name.
func (v *View) Picture(name string) []byte {
	v.t.Helper()
	v.Await(`document.getAnimations().every((a) => a.playState !== 'running')`)
	shot := Run(v, chromedp.CaptureScreenshot())
	if dir := os.Getenv(picturesIn); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o600); err != nil {
			v.t.Fatal(err)
		}
	}
	return shot
}
