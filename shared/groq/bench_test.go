package groq

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// benchmarkBodies are answers of the shapes that matter, each some 1 MiB long.
func benchmarkBodies() map[string][]byte {
	const size = 1 << 20
	event := `data: {"id":"chatcmpl-0d1","object":"chat.completion.chunk","created":1790000000,"model":"openai/gpt-oss-20b",` +
		`"system_fingerprint":"fp_77","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	chat := func(content string) []byte {
		return []byte(`{"id":"chatcmpl-0d1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"` +
			strings.Repeat(content, size/len(content)) + `"}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`)
	}
	return map[string][]byte{
		"json-text":      chat("Plain words, one after the other. "),
		"json-code":      chat(`\tif x == \"y\" {\n\t\treturn\n\t}\n`),
		"json-embedding": []byte(`{"data":[{"embedding":[` + strings.Repeat("0.0123456789,", size/13) + `0]}],"usage":{}}`),
		"sse-short":      []byte(strings.Repeat(event, size/len(event))),
		"sse-giant-line": []byte("data: " + string(chat("words ")) + "\n\n"),
		"sse-only-cr":    []byte(strings.ReplaceAll(strings.Repeat(event, size/len(event)), "\n", "\r")),
	}
}

func BenchmarkMeter(b *testing.B) {
	for name, body := range benchmarkBodies() {
		for _, chunk := range []int{256, 16 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", name, chunk), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					m := NewMeter("")
					for rest := body; len(rest) > 0; {
						n := min(chunk, len(rest))
						m.Feed(rest[:n])
						rest = rest[n:]
					}
					m.End()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(body)), "ns/byte")
			})
		}
	}
}

func BenchmarkRequestPeek(b *testing.B) {
	body := []byte(`{"messages":[{"role":"user","content":"` + string(bytes.Repeat([]byte("some words. "), 40<<10)) +
		`"}],"model":"m","max_tokens":5}`)
	for b.Loop() {
		var p RequestPeek
		p.Feed(body)
		if !p.Done() {
			b.Fatal("not done")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(body)), "ns/byte")
}
