package ledger

import "math"

// What usage can be: more is no usage but a fault, and is set aside. See RATIONALE.md.
const (
	// statedTokens is the most that Groq states for one request: eight of its largest contexts (262,144 tokens), as one
	// request to a compound system is several calls of models.
	statedTokens = 1 << 21
	// estimatedTokens is the most that is estimated for one: a prompt of 32 MiB, which is as much as Envoy takes, and an
	// answer several times as large, at a few bytes each.
	estimatedTokens = 1 << 26
	// inFlight is how many requests an Envoy can have under way at once, by envoy.yaml: each was begun within the
	// allowance, and can take more than was held for it.
	inFlight = 10_000
)

// room is what a source may spend, by its allowance or as a newcomer; without a limit everything.
func (s *source) room() int64 {
	if s.account == nil || s.account.tokens.limit == 0 {
		return math.MaxInt64 / 2
	}
	return max(s.tokens.hold(s.spent), s.account.tokens.fresh)
}

// possible says whether so many requests, by a source that could spend room, can have taken so many tokens, of which
// some were estimated.
func possible(tokens, estimated, requests, room int64) bool {
	estimated = min(max(0, estimated), tokens)
	beyond := min(requests, inFlight) + 1 // one more, should a filter ever count tokens before their request
	most := func(requests int64) bool {
		requests = min(requests, math.MaxInt64>>27)
		return tokens-estimated <= requests*statedTokens && estimated <= requests*estimatedTokens
	}
	over := max(0, tokens-room)
	return most(requests+1) && (over == 0 || over <= beyond*statedTokens+min(estimated, beyond*estimatedTokens))
}
