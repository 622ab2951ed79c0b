package dashboard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long the page may take for anything, on a machine that does much else.
const patience = 30 * time.Second

// stopBrowser ends the browser that the tests share, if one was started.
var stopBrowser = func() {}

func TestMain(m *testing.M) {
	m.Run()
	stopBrowser()
}

// browser starts Chromium once for all tests. Each test has a profile of its own in it.
var browser = sync.OnceValues(func() (context.Context, error) {
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-color-profile", "srgb"))
	ctx, cancel := chromedp.NewContext(ctx)
	stopBrowser = func() { cancel(); cancelAllocator() }
	return ctx, chromedp.Do(ctx)
})

// view is the page in a browser, as one person sees it.
type view struct {
	t    *testing.T
	ctx  context.Context
	fake *fake

	mu         sync.Mutex
	complaints []string // of the browser's
}

// open opens the page at path. What the browser has to complain of fails the test when it ends: a violation of the
// page's policy, an exception, a dialog of the browser's own.
func open(t *testing.T, f *fake, path string) *view {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium on the PATH: the page is not tested")
		}
		t.Skip("no chromium on the PATH")
	}
	shared, err := browser()
	if err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	ctx, cancel := chromedp.NewContext(shared, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancelTimeout := context.WithTimeout(ctx, 2*patience)
	t.Cleanup(cancelTimeout)
	v := &view{t: t, ctx: ctx, fake: f}
	v.watch()
	v.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(f.URL+path))
	return v
}

// signedIn opens the page as the terminal's link does, and waits for the first state.
func signedIn(t *testing.T, f *fake, token string) *view {
	t.Helper()
	v := open(t, f, "/#token="+token)
	v.await(`document.querySelector('#title').textContent !== ''`)
	return v
}

func (v *view) watch() {
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
		for _, c := range v.complained() {
			v.t.Errorf("the browser complains: %s", c)
		}
	})
}

// complained returns what the browser has complained of so far, and forgets it.
func (v *view) complained() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.complaints
	v.complaints = nil
	return was
}

func (v *view) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

// eval returns what an expression, which may be a promise, comes to in the page.
func eval[T any](v *view, expression string) T {
	v.t.Helper()
	value, err := chromedp.Run(v.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		v.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// await waits until an expression is true in the page. (The library's own poll makes a function from text, which the
// page's policy forbids.)
func (v *view) await(expression string) {
	v.t.Helper()
	ok := eval[bool](v, fmt.Sprintf(`new Promise((done) => {
		const end = performance.now() + %d;
		(function look() {
			if (%s) done(true);
			else if (performance.now() > end) done(false);
			else setTimeout(look, 10);
		})();
	})`, patience.Milliseconds(), expression))
	if !ok {
		v.t.Fatalf("never came true: %s\nthe page says:\n%s", expression, eval[string](v, `document.body.innerText`))
	}
}

// text returns what a person reads in the element.
func (v *view) text(selector string) string {
	v.t.Helper()
	return eval[string](v, fmt.Sprintf(`document.querySelector(%q).innerText`, selector))
}

// awaitText waits until the element reads so.
func (v *view) awaitText(selector, text string) {
	v.t.Helper()
	v.await(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, text))
}

// press clicks the button with this name, as assistive software knows it.
func (v *view) press(name string) {
	v.t.Helper()
	const find = `[...document.querySelectorAll('button')].find((b) => b.checkVisibility() && (b.getAttribute('aria-label') ?? b.textContent) === %q)`
	v.await(fmt.Sprintf("Boolean("+find+")", name))
	v.do(chromedp.Click(chromedp.JSPath(fmt.Sprintf(find, name))))
}

// node is one of the accessibility tree.
type node struct{ Role, Name, Value string }

// tree returns what assistive software is told, in the page's order.
func (v *view) tree() []node {
	v.t.Helper()
	got, err := chromedp.Call(v.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		v.t.Fatal(err)
	}
	children := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range got.Nodes {
		children[n.NodeID] = n
	}
	var nodes []node
	var walk func(n *accessibility.Node)
	walk = func(n *accessibility.Node) {
		if !n.Ignored {
			nodes = append(nodes, node{word(n.Role), word(n.Name), word(n.Value)})
		}
		for _, id := range n.ChildIDs {
			if child := children[id]; child != nil {
				walk(child)
			}
		}
	}
	walk(got.Nodes[0])
	return nodes
}

func word(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	if json.Unmarshal([]byte(v.Value), &text) != nil {
		return string(v.Value) // a number
	}
	return text
}

// picture keeps a screenshot of the window under name in the folder that DASHBOARD_SCREENSHOTS names, if it does, and
// returns it.
func (v *view) picture(name string) []byte {
	v.t.Helper()
	v.await(`document.getAnimations().every((a) => a.playState !== 'running')`)
	shot, err := chromedp.Run(v.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		v.t.Fatal(err)
	}
	if dir := os.Getenv("DASHBOARD_SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o600); err != nil {
			v.t.Fatal(err)
		}
	}
	return shot
}
