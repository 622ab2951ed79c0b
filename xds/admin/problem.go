package admin

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// problem writes an RFC 9457 answer, in the shape of the library's own.
func problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
	if err != nil {
		http.Error(w, detail, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error here is the client gone
}

// problems answers for mux where it knows no path or not the method, which mux itself would do in plain text. A path that
// is not spelled as it is served (//, .., a slash at the end) is not known; mux would send the client elsewhere.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if !canonical(r.URL.EscapedPath()) {
			handler, pattern = http.NotFoundHandler(), ""
		}
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := refusal{header: make(http.Header), status: http.StatusNotFound}
		handler.ServeHTTP(&refused, r)
		if allow := refused.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			problem(w, refused.status, "This path takes only "+allow+".")
			return
		}
		problem(w, refused.status, "There is nothing at this path; "+documentPath+" lists what there is.")
	})
}

func canonical(p string) bool { return path.Clean(p) == p }

// refusal keeps what a mux says of a request that it does not serve, without its text.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }

// forgetValues takes out of an error what the client had sent: it may be a secret in the wrong place. That goes for the
// name of a member that there should not be, too, unless it is as short and plain as a slip of the pen.
func forgetValues(_ huma.Context, _ string, body any) (any, error) {
	if e, ok := body.(*huma.ErrorModel); ok {
		for _, detail := range e.Errors {
			detail.Value = nil
			if e.Status == http.StatusUnsupportedMediaType {
				detail.Message = "The body must be JSON: Content-Type: application/json." // the library's names the other type
			}
			if strings.HasPrefix(detail.Message, "json: ") {
				detail.Message = "A number here is written without a decimal point or an exponent, and has at most 18 digits." // the library's words have the number
			}
			if detail.Message == validation.MsgUnexpectedProperty && !plain(detail.Location) {
				detail.Location = "body"
			}
		}
	}
	return body, nil
}

// plain says whether a location has only names that are like our own, and short. Keys and tokens are not.
func plain(location string) bool {
	return len(location) <= len("body.")+20 && strings.Trim(location, "abcdefghijklmnopqrstuvwxyz_.") == ""
}
