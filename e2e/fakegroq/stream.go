package fakegroq

import (
	"net/http"
	"strconv"

	"github.com/tidwall/gjson"
)

// stream answers with server-sent events.
func (x *exchange) stream(path string) error {
	h := x.w.Header()
	h.Set("content-type", "text/event-stream")
	h.Set("cache-control", "no-cache")
	if err := x.start(http.StatusOK); err != nil {
		return err
	}
	if path == "responses" {
		return x.streamResponse(*x.counts)
	}
	return x.streamChat(*x.counts)
}

// event sends one event and flushes it, as Groq does.
func (x *exchange) event(parts ...string) error {
	for _, p := range parts {
		if err := x.write([]byte(p)); err != nil {
			return err
		}
	}
	return x.rc.Flush()
}

// streamChat sends a chat completion in chunks: the role, the content, the finish with x_groq.usage, with
// include_usage a last one that holds nothing else, and [DONE].
func (x *exchange) streamChat(tokens Tokens) error {
	open := `data: {"id":"chatcmpl-` + x.req.ID + `","object":"chat.completion.chunk","created":` + x.created() + `,"model":` +
		quote(x.model()) + `,"system_fingerprint":"` + fingerprint + `","choices":[`
	const noFinish = `},"logprobs":null,"finish_reason":null}]`
	err := x.event(open, `{"index":0,"delta":{"role":"assistant","content":""`, noFinish,
		`,"x_groq":{"id":"`+x.req.ID+`","seed":1}}`, "\n\n")
	if err != nil {
		return err
	}
	chunks := x.rule.Chunks
	if chunks <= 0 {
		chunks = defaultChunks
	}
	for i := range chunks {
		delta := x.answerText()
		if i > 0 {
			delta = " word" + strconv.Itoa(i)
		}
		if err := x.event(open, `{"index":0,"delta":{"content":"`, delta, `"`, noFinish, "}\n\n"); err != nil {
			return err
		}
		if i == 0 {
			if err := x.reach(AfterFirst); err != nil {
				return err
			}
		}
	}
	if err := x.giantChunk(open, noFinish); err != nil {
		return err
	}
	if err := x.reach(BeforeUsage); err != nil {
		return err
	}
	if x.rule.Fault == StreamError {
		return x.streamError()
	}
	return x.finishChat(open, tokens)
}

// giantChunk sends one chunk whose line is as long as the rule wants.
func (x *exchange) giantChunk(open, end string) error {
	if x.rule.ContentBytes == 0 {
		return nil
	}
	if err := x.event(open, `{"index":0,"delta":{"content":"`); err != nil {
		return err
	}
	if err := x.fill(x.rule.ContentBytes); err != nil {
		return err
	}
	return x.event(`"`, end, "}\n\n")
}

func (x *exchange) finishChat(open string, tokens Tokens) error {
	includeUsage := gjson.GetBytes(x.body, "stream_options.include_usage").Bool()
	finish := open + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"x_groq":{"id":"` + x.req.ID + `"`
	if x.rule.Usage != UsageNone {
		finish += `,"usage":` + usageObject(tokens)
	}
	finish += "}"
	if x.rule.Usage == UsageBoth || includeUsage {
		finish += x.usageField(tokens)
	}
	if err := x.tell(&tokens, []byte(finish+"}\n\n")); err != nil {
		return err
	}
	if includeUsage && x.rule.Usage != UsageNone {
		if err := x.event(open, `]`, x.usageField(tokens), `,"service_tier":"on_demand"}`, "\n\n"); err != nil {
			return err
		}
	}
	if err := x.reach(AfterUsage); err != nil {
		return err
	}
	if err := x.event("data: [DONE]\n\n"); err != nil {
		return err
	}
	return x.reach(AfterDone)
}

// streamError ends a stream as Groq does when it fails inside its 200: no usage, no [DONE].
func (x *exchange) streamError() error {
	return x.event("event: error\n", `data: {"error":{"message":"Tool call validation failed: it was not in request.tools",`+
		`"type":"invalid_request_error","code":"tool_use_failed","failed_generation":"{}","status_code":400}}`, "\n\n")
}

// streamResponse sends a response of /responses; its usage stands in the last event.
func (x *exchange) streamResponse(tokens Tokens) error {
	head, tail := x.responseObject("in_progress", Tokens{})
	err := x.event("event: response.created\n", `data: {"type":"response.created","sequence_number":0,"response":`,
		string(head)+string(tail), "}\n\n")
	if err != nil {
		return err
	}
	err = x.event("event: response.output_text.delta\n", `data: {"type":"response.output_text.delta","sequence_number":1,`+
		`"item_id":"msg_`+x.req.ID+`","output_index":0,"content_index":0,"delta":"`, x.answerText(), "\"}\n\n")
	if err != nil {
		return err
	}
	if err := x.reachAll(AfterFirst, BeforeUsage); err != nil {
		return err
	}
	if x.rule.Fault == StreamError {
		return x.streamError()
	}
	head, tail = x.responseObject("completed", tokens)
	if x.rule.ContentBytes > 0 { // the giant part stands in the same line as the usage, before it
		if err := x.event("event: response.completed\n", `data: {"type":"response.completed","sequence_number":2,"response":`,
			string(head)); err != nil {
			return err
		}
		if err := x.fill(x.rule.ContentBytes); err != nil {
			return err
		}
		err = x.tell(&tokens, append(tail, "}\n\n"...))
	} else {
		err = x.tell(&tokens, []byte("event: response.completed\n"+
			`data: {"type":"response.completed","sequence_number":2,"response":`+string(head)+string(tail)+"}\n\n"))
	}
	if err != nil {
		return err
	}
	return x.reachAll(AfterUsage, AfterDone)
}
