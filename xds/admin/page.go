package admin

import (
	_ "embed"
	"net/http"
)

//go:embed page.html
var pageHTML []byte

// page says where the API is.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(pageHTML) // an error here is the client gone
}
