// Package dashboard serves the operator's page: one document and the few files that it loads, all embedded. The page is
// plain HTML, CSS and JavaScript modules; what it shows it asks of the admin API, under the same address.
//
// The rules are:
//   - Nothing is loaded from elsewhere, and no script or style stands in the document (Content-Security-Policy).
//   - The files' address holds the hash of all of them: a browser keeps them for good and never mixes two releases.
//   - Text of the server's reaches the page only as text. No script writes markup.
//   - All files together weigh less than 200 kB before compression.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed page uplot/LICENSE uplot/*.js uplot/*.css
var embedded embed.FS

const (
	// policy lets the page load and ask its own address only. Images may be data: style.css draws a few.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

	document    = "index.html"
	placeholder = "VERSION" // stands in the document for the folder of its files
)

// contentTypes are those of the files, by ending. The system's table is not asked: it may lack one.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// file is one answer, ready to be sent.
type file struct {
	contentType  string
	cacheControl string
	plain        body
	gzipped      body // empty if that would be no smaller
}

type body struct {
	content []byte
	etag    string
}

// site returns the files by the paths they are served under.
var site = sync.OnceValue(func() map[string]file {
	assets := map[string][]byte{
		"uplot.js":          append(read("uplot/uPlot.iife.min.js"), "\nexport default uPlot;\n"...), // a module, so that it is loaded when needed
		"uplot.css":         read("uplot/uPlot.min.css"),
		"uplot.license.txt": read("uplot/LICENSE"),
	}
	entries, _ := embedded.ReadDir("page") // it is there: it is embedded
	for _, entry := range entries {
		assets[entry.Name()] = read("page/" + entry.Name())
	}
	html := assets[document]
	delete(assets, document)

	all := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(assets)) {
		sum := sha256.Sum256(assets[name])
		_, _ = all.Write(append([]byte(name), sum[:]...)) // a hash takes everything
	}
	version := hex.EncodeToString(all.Sum(nil))[:16]

	files := map[string]file{}
	for name, content := range assets {
		files["/assets/"+version+"/"+name] = newFile(name, content, "public, max-age=31536000, immutable")
	}
	html = bytes.ReplaceAll(html, []byte(placeholder), []byte(version))
	files["/"] = newFile(document, html, "no-cache") // asked for each time, sent only if it changed
	return files
})

func read(name string) []byte {
	content, _ := embedded.ReadFile(name) // the names are those of embedded files
	return content
}

func newFile(name string, content []byte, cacheControl string) file {
	sum := sha256.Sum256(content)
	tag := hex.EncodeToString(sum[:])[:16]
	f := file{contentTypes[path.Ext(name)], cacheControl, body{content, `"` + tag + `"`}, body{}}
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // the level is a valid one
	_, _ = w.Write(content)                                    // a buffer takes everything
	if err := w.Close(); err == nil && zipped.Len() < len(content) {
		f.gzipped = body{zipped.Bytes(), `"` + tag + `-gzip"`}
	}
	return f
}

// Paths returns every path that Handler serves, "/" first. They hold no secret and need no token. As patterns of an
// http.ServeMux they stand as they are, but "/" is "/{$}".
func Paths() []string { return slices.Sorted(maps.Keys(site())) }

// Handler serves the page and its files, to GET and HEAD. It sets its own Content-Security-Policy and Cache-Control, in
// place of what an outer handler has set. Any other path is answered 404.
func Handler() http.Handler {
	files := site()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	})
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", f.cacheControl)
	h.Set("Vary", "Accept-Encoding")
	sent := f.plain
	if f.gzipped.content != nil && acceptsGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		sent = f.gzipped
	}
	h.Set("ETag", sent.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(sent.content))
}

// acceptsGzip says whether gzip is named, and not with a weight of zero.
func acceptsGzip(values []string) bool {
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, weight, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.TrimPrefix(strings.ToLower(weight), "q="), "0.") != "" || weight == ""
		}
	}
	return false
}
