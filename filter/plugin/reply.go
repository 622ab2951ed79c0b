package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"keywheel/filter/account"
	"keywheel/filter/picker"
	"keywheel/shared/groq"
)

// reply is an answer made here, in the shape of Groq's errors.
type reply struct {
	status  uint32
	code    string
	message string
	headers [][2]string
	outcome account.Outcome
	out     bool // no key can serve for longer than a moment
}

// errorType is the type in the error bodies made here, by which a client can tell them from Groq's own.
const errorType = "keywheel_error"

func (r reply) send() {
	headers := append([][2]string{{"content-type", "application/json"}}, r.headers...)
	if err := proxywasm.SendHttpResponse(r.status, headers, groq.AppendError(nil, r.message, errorType, r.code), -1); err != nil {
		proxywasm.LogErrorf("keywheel: cannot answer %d %s: %v", r.status, r.code, err)
	}
}

// noRetryAfter is the wait in seconds from which the official clients are told not to try again by themselves.
const noRetryAfter = 60

func retryHeaders(seconds int64) [][2]string {
	h := [][2]string{{"retry-after", itoa(seconds)}}
	if seconds > noRetryAfter {
		h = append(h, [2]string{"x-should-retry", "false"})
	}
	return h
}

func refusedBy(r *picker.Refusal, at picker.Instant) reply {
	message := r.Message(at.NowMS)
	switch r.Fault {
	case picker.UnknownKey:
		return reply{400, "unknown_key", message, nil, account.CallerFault, false}
	case picker.ModelNotAllowed:
		return reply{403, "model_not_allowed", message, nil, account.CallerFault, false}
	}
	code := "all_keys_exhausted"
	if r.Busy {
		code = "keys_busy"
	}
	refused := reply{429, code, message, retryHeaders(r.RetryAfter(at.NowMS)), account.Refused, !r.Busy}
	if r.Only != "" { // others may well serve
		refused.outcome, refused.out = account.CallerFault, false
	}
	return refused
}

func noAssignment() reply {
	return reply{503, "no_assignment",
		"Keywheel's control plane has not yet said which keys may be spent. Try again in 1s.", retryHeaders(1), account.Refused, false}
}

func gateMissing() reply {
	return reply{503, "keywheel_gate_missing",
		"This route leads to Groq without Keywheel's gate, so nothing would count what it spends. Enable keywheel.gate on the route.",
		nil, account.Failed, false}
}

func endpointNotAllowed(method, path string) reply {
	const longest = 100
	if len(path) > longest {
		path = path[:longest] + "…"
	}
	return reply{403, "endpoint_not_allowed", "Keywheel does not let " + method + " " + path +
		" through. Allowed below /openai/v1/ and /v1/: POST chat/completions, responses, embeddings, audio/*, and GET models.", nil, account.CallerFault, false}
}

func loopDetected() reply {
	return reply{508, "loop_detected", "This request has passed Keywheel before: KEYWHEEL_UPSTREAM_URL leads back here.", nil, account.CallerFault, false}
}

func internalError() reply {
	return reply{500, "keywheel_internal_error", "Keywheel could not read this request.", nil, account.Failed, false}
}

func bug() reply {
	return reply{500, "keywheel_internal_error", "Keywheel met a bug of its own with this request; Envoy's log says where.", nil, account.Failed, false}
}
