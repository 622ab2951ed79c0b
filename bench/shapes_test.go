package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
)

// shape is one kind of call: what the client sends and what the upstream answers.
type shape struct {
	name   string
	method string
	path   string // below /openai
	body   string
	answer []string // written one by one
}

const model = "llama-3.1-8b-instant"

// shapes are what is measured. Only the last two have a usage to be read.
var shapes = []shape{
	{
		name: "headers", method: "GET", path: "/v1/models",
		answer: []string{answerOf("application/json", `{"object":"list","data":[{"id":"`+model+`","object":"model","owned_by":"Meta"}]}`)},
	},
	{
		name: "json", method: "POST", path: "/v1/chat/completions", body: question(""),
		answer: []string{answerOf("application/json", `{"id":"chatcmpl-0d1","object":"chat.completion","created":1790000000,"model":"`+model+`",`+
			`"choices":[{"index":0,"message":{"role":"assistant","content":"`+strings.Repeat("Some words of an answer. ", 16)+`"},"logprobs":null,`+
			`"finish_reason":"stop"}],"usage":{"queue_time":0.01,"prompt_tokens":42,"prompt_time":0.002,"completion_tokens":80,`+
			`"completion_time":0.1,"total_tokens":122,"total_time":0.102},"system_fingerprint":"fp_77","x_groq":{"id":"req_01"}}`)},
	},
	{name: "sse", method: "POST", path: "/v1/chat/completions", body: question(`"stream":true,`), answer: stream(32, 4)},
}

func question(extra string) string {
	return `{"messages":[{"role":"user","content":"How far is the moon? ` + strings.Repeat("Think well. ", 8) + `"}],` + extra +
		`"model":"` + model + `","max_tokens":100}`
}

func answerOf(contentType, body string) string {
	return "HTTP/1.1 200 OK\r\ncontent-type: " + contentType + "\r\ncontent-length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// stream is an event stream of n words, written in pieces.
func stream(n, pieces int) []string {
	event := func(rest string) string {
		return `data: {"id":"chatcmpl-0d1","object":"chat.completion.chunk","created":1790000000,"model":"` + model + `",` +
			`"system_fingerprint":"fp_77","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]` + rest + "}\n\n"
	}
	out := []string{"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"}
	for i := range pieces {
		piece := strings.Repeat(event(""), n/pieces)
		if i == pieces-1 {
			piece += event(`,"x_groq":{"id":"req_01","usage":{"prompt_tokens":42,"completion_tokens":80,"total_tokens":122}}`) + "data: [DONE]\n\n"
		}
		out = append(out, fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
	}
	out[len(out)-1] += "0\r\n\r\n"
	return append([]string{out[0] + out[1]}, out[2:]...)
}

// request is the call as bytes.
func (s *shape) request(host string) []byte {
	return fmt.Appendf(nil, "%s /openai%s HTTP/1.1\r\nhost: %s\r\nuser-agent: bench\r\naccept: */*\r\nauthorization: Bearer none\r\n"+
		"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", s.method, s.path, host, len(s.body), s.body)
}

// upstream answers with the shapes' answers on connections that stay open, and does nothing else: what it costs is taken
// from the same machine as what is measured. It returns its address.
func upstream(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	answers := make([][][]byte, len(shapes))
	for i, s := range shapes {
		for _, piece := range s.answer {
			answers[i] = append(answers[i], []byte(piece))
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, answers)
		}
	}()
	return l.Addr().String()
}

// answer serves one connection.
func answer(c net.Conn, answers [][][]byte) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 16<<10)
	for {
		length, get := 0, false
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if first {
				get = bytes.HasPrefix(line, []byte("GET "))
			}
			if v, ok := bytes.CutPrefix(line, []byte("content-length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
			}
			if len(bytes.TrimSpace(line)) == 0 {
				break
			}
		}
		body, err := in.Peek(length)
		if err != nil {
			return
		}
		kind := 1
		switch {
		case get:
			kind = 0
		case bytes.Contains(body, []byte(`"stream":true`)):
			kind = 2
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		for _, piece := range answers[kind] {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	}
}
