package admin

import (
	_ "embed"
	"net/http"
)

//go:embed page.html
var pageHTML []byte

// pageCSP lets the page load its own files and call its own API, and nothing else. It has no script or style of its own
// inside, so text that got into it cannot be either.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// mountPage serves page, or without one what says where the API is.
func mountPage(mux *http.ServeMux, page http.Handler) {
	if page == nil {
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(pageHTML) // an error here is the client gone
		})
		return
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !canonical(r.URL.Path) { // %2e%2e: a path out of the page's files
			problem(w, http.StatusNotFound, "The page has no such file.")
			return
		}
		w.Header().Set("Content-Security-Policy", pageCSP)
		page.ServeHTTP(w, r)
	})
	mux.Handle("GET /{$}", own)
	mux.Handle("GET "+assets, own)
}
