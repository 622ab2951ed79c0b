package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// documentPath is where the API describes itself.
const documentPath = "/api/openapi.json"

// Tags group the operations in the description.
const (
	tagAccount = "account"
	tagEvents  = "events"
	tagHealth  = "health"
	tagClock   = "clock"
	tagSession = "session"
	tagStore   = "store"
)

// The names of the security schemes.
const (
	bearer     = "bearer"
	cookieAuth = "cookieAuth"
)

// The library takes members in any case unless it is told, for all of a process. Of two that differ in it alone, one would be
// examined and the other one read.
func init() { huma.ValidateStrictCasing = true }

// describe returns the description that the operations are added to. The library's own pages stay off: they load
// scripts from the internet.
func describe(version string) huma.Config {
	if version == "" {
		version = "unknown"
	}
	config := huma.DefaultConfig("Keywheel", version)
	config.Info.Description = "What Keywheel knows of its Groq keys, and what an operator can do about it. " +
		"Percentages, health and score are 0 to 100 with one decimal; times are RFC 3339 in UTC; null is unknown or none."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearer: {Type: "http", Scheme: "bearer", Description: "The admin token, or for reading the read-only token."},
		cookieAuth: {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "The page's session, for requests of its own origin " +
			"only. All but GET and HEAD need the header " + pageHeader + ": 1, and a body must be application/json; else the answer is 403."},
	}
	config.Tags = []*huma.Tag{
		{Name: tagAccount, Description: "Keys, their pool, and the Envoys that spend them."},
		{Name: tagEvents, Description: "What happened, who was told, and what days came to."},
		{Name: tagStore, Description: "Backups of all that is kept."},
		{Name: tagSession, Description: "For the page, which shows its token once and then has a cookie."},
		{Name: tagHealth, Description: "For probes; no token needed."},
	}
	config.Formats = formats(config.Formats)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema members in answers
	config.Transformers = []huma.Transformer{forgetValues}
	return config
}

// document serves the description.
func document(description *huma.OpenAPI, log *slog.Logger) http.HandlerFunc {
	doc, err := json.Marshal(description)
	return func(w http.ResponseWriter, _ *http.Request) {
		if err != nil {
			log.Error("The API's description cannot be written", "error", err)
			problem(w, http.StatusInternalServerError, "The description cannot be written.")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc) // an error here is the client gone
	}
}

// guardedOperation returns op with what every operation behind a token has in common, and the further errors it answers.
func guardedOperation(op huma.Operation, errors ...int) huma.Operation {
	op.Security = []map[string][]string{{bearer: {}}, {cookieAuth: {}}}
	op.Errors = append([]int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError,
	}, errors...)
	op.MaxBodyBytes = maxBody
	return op
}
