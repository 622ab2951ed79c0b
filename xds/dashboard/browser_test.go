package dashboard_test

import (
	"testing"

	"keywheel/e2e/browser"
)

func TestMain(m *testing.M) {
	m.Run()
	browser.Stop()
}

// open opens the page at path.
func open(t *testing.T, f *fake, path string) *browser.View {
	t.Helper()
	return browser.Open(t, f.URL+path)
}

// signedIn opens the page as the terminal's link does, and waits for the first state.
func signedIn(t *testing.T, f *fake, token string) *browser.View {
	t.Helper()
	v := open(t, f, "/#token="+token)
	v.Await(`document.querySelector('#title').textContent !== ''`)
	return v
}
