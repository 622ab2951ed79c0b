package fakegroq

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

const (
	fingerprint   = "fp_fa4e000001"
	defaultChunks = 3
)

// generate answers the endpoints that cost tokens.
func (x *exchange) generate(path string) error {
	x.w.Header().Set("content-type", "application/json")
	if !gjson.ValidBytes(x.body) || x.req.Model == "" {
		if !x.rule.Early {
			return x.whole(http.StatusBadRequest, errorBody("property 'model' is missing", "invalid_request_error", "", ""))
		}
	}
	tokens := x.tokens()
	if limited := x.admit(tokens); limited != "" {
		x.fail(limited)
		return x.answerFault(limited)
	}
	x.counts, x.req.Tokens = &tokens, tokens
	x.limitHeaders()
	if x.req.Stream && path != "embeddings" {
		return x.stream(path)
	}
	told := &tokens
	switch path {
	case "responses":
		head, tail := x.responseObject("completed", tokens)
		return x.parts(http.StatusOK, head, x.rule.ContentBytes, tail, told)
	case "embeddings":
		told.Completion = 0
		x.req.Tokens = tokens
		head := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0125,-0.25,0.5]}],"model":` + quote(x.model())
		tail := fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`, tokens.Prompt, tokens.Prompt)
		if x.rule.Usage == UsageNone {
			tail = "}"
		}
		return x.parts(http.StatusOK, []byte(head), 0, []byte(tail), told)
	}
	head := `{"id":"chatcmpl-` + x.req.ID + `","object":"chat.completion","created":` + x.created() + `,"model":` + quote(x.model()) +
		`,"choices":[{"index":0,"message":{"role":"assistant","content":"` + x.answerText()
	tail := `"},"logprobs":null,"finish_reason":"stop"}]` + x.usageField(tokens) + `,"usage_breakdown":null,"system_fingerprint":"` +
		fingerprint + `","x_groq":{"id":"` + x.req.ID + `","seed":1},"service_tier":"on_demand"}` + "\n"
	return x.parts(http.StatusOK, []byte(head), x.rule.ContentBytes, []byte(tail), told)
}

// answerText is the answer's content. It names the request, so that no two answers are alike.
func (x *exchange) answerText() string { return "Answer " + strconv.FormatInt(x.req.Seq, 10) + ". " }

func (x *exchange) created() string { return strconv.FormatInt(x.s.opts.Now().Unix(), 10) }

// usageObject is a usage as /chat/completions states it.
func usageObject(t Tokens) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"queue_time":0.021,"prompt_tokens":%d,"prompt_time":0.004,"completion_tokens":%d,"completion_time":0.06,`+
		`"total_tokens":%d,"total_time":0.064`, t.Prompt, t.Completion, t.Total())
	if t.Cached > 0 { // on a miss the details are absent, not 0
		fmt.Fprintf(&b, `,"prompt_tokens_details":{"cached_tokens":%d}`, t.Cached)
	}
	b.WriteByte('}')
	return b.String()
}

func (x *exchange) usageField(t Tokens) string {
	if x.rule.Usage == UsageNone {
		return ""
	}
	return `,"usage":` + usageObject(t)
}

// responseObject is a response of /responses, in two halves between which filler may go.
func (x *exchange) responseObject(status string, t Tokens) (head, tail []byte) {
	usage := fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,`+
		`"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}`, t.Prompt, t.Cached, t.Completion, t.Total())
	if status != "completed" || x.rule.Usage == UsageNone {
		usage = "null"
	}
	head = []byte(`{"id":"resp_` + x.req.ID + `","object":"response","status":"` + status + `","created_at":` + x.created() +
		`,"output":[{"type":"message","id":"msg_` + x.req.ID + `","status":"` + status +
		`","role":"assistant","content":[{"type":"output_text","text":"` + x.answerText())
	tail = []byte(`","annotations":[]}]}],"previous_response_id":null,"model":` + quote(x.model()) +
		`,"max_output_tokens":null,"tools":[],"tool_choice":"auto","service_tier":"default","error":null,"usage":` + usage +
		`,"parallel_tool_calls":true,"store":false}`)
	return head, tail
}

// models lists the models, for every key that is known.
func (x *exchange) models() error {
	x.w.Header().Set("content-type", "application/json")
	var list []string
	for _, id := range []string{"llama-3.1-8b-instant", "llama-3.3-70b-versatile", "openai/gpt-oss-20b", "whisper-large-v3-turbo"} {
		list = append(list, `{"id":"`+id+`","object":"model","created":1693721698,"owned_by":"Simulated","active":true,`+
			`"context_window":131072,"public_apps":null,"max_completion_tokens":8192}`)
	}
	return x.whole(http.StatusOK, []byte(`{"object":"list","data":[`+strings.Join(list, ",")+"]}\n"))
}

// audio transcribes. Its answers state no usage.
func (x *exchange) audio() error {
	h := x.w.Header()
	h.Set("x-ratelimit-limit-requests", strconv.Itoa(planRequestsPerDay))
	h.Set("x-ratelimit-limit-audio-seconds", "7200")
	h.Set("x-ratelimit-remaining-audio-seconds", "7190")
	h.Set("x-ratelimit-reset-audio-seconds", "5s")
	h.Set("content-type", "application/json")
	return x.whole(http.StatusOK, []byte(`{"text":" `+x.answerText()+`","x_groq":{"id":"`+x.req.ID+"\"}}\n"))
}

// quote writes s as a JSON text.
func quote(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		return `""` // not reached: every text can be written
	}
	return string(out)
}
