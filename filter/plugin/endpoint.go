package plugin

import "strings"

// endpoint is what a path of Groq's API needs of a key.
type endpoint struct {
	method string
	tokens tokens
}

type tokens byte

const (
	noTokens         tokens = iota // free, and no request of a daily limit
	uncountedTokens                // billed by something else: counts as a request
	promptTokens                   // produces none
	completionTokens               // prompt and completion
)

// endpointOf knows what clients may call with the operator's keys, below /openai/v1/ or /v1/. Files and batches belong to
// one organization and would be lost by a rotation; account and model administration is nobody's business here.
func endpointOf(path string) (e endpoint, ok bool) {
	switch path {
	case "chat/completions", "responses":
		return endpoint{"POST", completionTokens}, true
	case "embeddings":
		return endpoint{"POST", promptTokens}, true
	case "audio/transcriptions", "audio/translations", "audio/speech":
		return endpoint{"POST", uncountedTokens}, true
	case "models":
		return endpoint{"GET", noTokens}, true
	}
	model, found := strings.CutPrefix(path, "models/")
	return endpoint{"GET", noTokens}, found && model != "" && !climbs(model)
}

// findEndpoint returns the endpoint of a call; ok is false where it is not allowed.
func findEndpoint(method, path string) (e endpoint, ok bool) {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	rest, found := strings.CutPrefix(path, "/openai/v1/")
	if !found {
		if rest, found = strings.CutPrefix(path, "/v1/"); !found {
			return endpoint{}, false
		}
	}
	e, ok = endpointOf(rest)
	return e, ok && method == e.method
}

// climbs says whether a path may lead out of its folder. A dot can be written as %2e, and not every Envoy writes paths
// anew before it asks us.
func climbs(path string) bool {
	return strings.Contains(path, "..") || strings.Contains(path, "%2e") || strings.Contains(path, "%2E")
}
