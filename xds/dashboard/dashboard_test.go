package dashboard_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keywheel/xds/dashboard"
)

// maxWeight is the most bytes that the page may weigh, with all that it loads.
const maxWeight = 200_000

func ask(t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	w.Header().Set("Cache-Control", "no-store") // as an outer handler would have it
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	dashboard.Handler().ServeHTTP(w, r)
	return w.Result()
}

func content(t *testing.T, answer *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// asset returns the path of a file that the page loads.
func asset(t *testing.T, name string) string {
	t.Helper()
	for _, p := range dashboard.Paths() {
		if path.Base(p) == name {
			return p
		}
	}
	t.Fatalf("no %s in %v", name, dashboard.Paths())
	return ""
}

func TestEveryFileIsServed(t *testing.T) {
	types := map[string]string{
		"": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
		".txt": "text/plain; charset=utf-8",
	}
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	if paths := dashboard.Paths(); len(paths) < 10 || paths[0] != "/" {
		t.Fatalf("paths: %v", paths)
	}
	for _, p := range dashboard.Paths() {
		answer := ask(t, http.MethodGet, p, nil)
		if answer.StatusCode != http.StatusOK || len(content(t, answer)) == 0 {
			t.Errorf("%s: %d", p, answer.StatusCode)
		}
		caching := "public, max-age=31536000, immutable"
		if p == "/" {
			caching = "no-cache"
		}
		for name, want := range map[string]string{
			"Content-Type": types[path.Ext(p)], "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": caching, "Vary": "Accept-Encoding", "Content-Encoding": "",
		} {
			if got := answer.Header.Get(name); got != want || want == "" && name == "Content-Type" {
				t.Errorf("%s: %s is %q, want %q", p, name, got, want)
			}
		}
	}
}

func TestThePageIsLight(t *testing.T) {
	total := 0
	for _, p := range dashboard.Paths() {
		total += len(content(t, ask(t, http.MethodGet, p, nil)))
	}
	t.Logf("%d bytes", total)
	if total == 0 || total >= maxWeight {
		t.Errorf("the page weighs %d bytes; it must stay below %d", total, maxWeight)
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	script := asset(t, "main.js")
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/index.html", http.StatusNotFound},
		{http.MethodGet, "/assets/", http.StatusNotFound},
		{http.MethodGet, "/assets/0000000000000000/main.js", http.StatusNotFound},
		{http.MethodGet, path.Dir(script) + "/../" + script, http.StatusNotFound},
		{http.MethodGet, path.Dir(script) + "/index.html", http.StatusNotFound},
		{http.MethodGet, script + "/", http.StatusNotFound},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodDelete, script, http.StatusMethodNotAllowed},
		{http.MethodHead, script, http.StatusOK},
	} {
		if got := ask(t, c.method, c.path, nil).StatusCode; got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

func TestWhatIsKnownIsNotSentAgain(t *testing.T) {
	for _, p := range []string{"/", asset(t, "style.css")} {
		tag := ask(t, http.MethodGet, p, nil).Header.Get("ETag")
		if tag == "" {
			t.Fatalf("%s: no ETag", p)
		}
		answer := ask(t, http.MethodGet, p, http.Header{"If-None-Match": {tag}})
		if body := content(t, answer); answer.StatusCode != http.StatusNotModified || len(body) > 0 {
			t.Errorf("%s: %d, %d bytes", p, answer.StatusCode, len(body))
		}
	}
}

func TestGzipForThoseWhoTakeIt(t *testing.T) {
	p := asset(t, "uplot.js")
	plain := content(t, ask(t, http.MethodGet, p, nil))
	for accepted, want := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "deflate, gzip": "gzip", "gzip;q=0": "", "gzip; q=0.000": "", "br": "", "": "", "xgzip": "",
	} {
		answer := ask(t, http.MethodGet, p, http.Header{"Accept-Encoding": {accepted}})
		body := content(t, answer)
		if got := answer.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%q: Content-Encoding %q, want %q", accepted, got, want)
			continue
		}
		if want == "gzip" {
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if 2*len(body) > len(plain) {
				t.Errorf("%d bytes of %d are left", len(body), len(plain))
			}
			if body, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain) {
			t.Errorf("%q: another content", accepted)
		}
	}
}

// TestTheDocumentNamesWhatThereIs: each file that it names is served, each module is loaded ahead, and nothing comes
// from elsewhere.
func TestTheDocumentNamesWhatThereIs(t *testing.T) {
	html := string(content(t, ask(t, http.MethodGet, "/", nil)))
	var named []string
	for _, match := range regexp.MustCompile(`(?:href|src)="([^"#]+)"`).FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(match[1], "/") {
			t.Errorf("%s is elsewhere", match[1])
		}
		if strings.HasPrefix(match[1], "/assets/") {
			named = append(named, match[1])
		}
	}
	for _, p := range named {
		if !slices.Contains(dashboard.Paths(), p) {
			t.Errorf("%s is named and not served", p)
		}
	}
	later := []string{"uplot.js", "charts.js"} // when there is something to draw
	for _, p := range dashboard.Paths() {
		if path.Ext(p) == ".js" && !slices.Contains(later, path.Base(p)) && !slices.Contains(named, p) {
			t.Errorf("%s is loaded late: name it in the document", p)
		}
	}
	for _, forbidden := range []string{"style=", "<style", "onclick=", "javascript:", "VERSION", "<script>"} {
		if strings.Contains(html, forbidden) {
			t.Errorf("the document has %s", forbidden)
		}
	}
}

// TestNoScriptWritesMarkup: text of the server's reaches the page as text only. What is vendored is not read here: it
// gets no such text.
func TestNoScriptWritesMarkup(t *testing.T) {
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|document\.write|DOMParser|createContextualFragment|\beval\(|new Function|srcdoc`)
	scripts := 0
	for _, p := range dashboard.Paths() {
		if path.Ext(p) != ".js" || path.Base(p) == "uplot.js" {
			continue
		}
		scripts++
		if found := markup.FindAll(content(t, ask(t, http.MethodGet, p, nil)), -1); found != nil {
			t.Errorf("%s has %q", p, found)
		}
	}
	if scripts == 0 {
		t.Error("no scripts were read")
	}
}
