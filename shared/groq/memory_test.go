package groq

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

// pour feeds a meter an answer of about size bytes, head, as many middles as it takes, and tail, in pieces of 16 KiB.
func pour(feed func([]byte), head, middle, tail string, size int) {
	feed([]byte(head))
	piece := bytes.Repeat([]byte(middle), (16<<10)/len(middle))
	for range size / len(piece) {
		feed(piece)
	}
	feed([]byte(tail))
}

const tailUsage = `"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`

// giants are answers with one part without end, with small usage after it.
var giants = map[string]struct{ contentType, head, middle, tail string }{
	"text":           {"application/json", `{"model":"m","choices":[{"message":{"content":"`, "words ", `"}}],` + tailUsage},
	"escapes":        {"application/json", `{"model":"m","choices":[{"message":{"content":"`, `\n\"\u00e9\\`, `"}}],` + tailUsage},
	"top-level text": {"application/json", `{"model":"m","content":"`, "words ", `",` + tailUsage},
	"numbers":        {"application/json", `{"model":"m","data":[`, "0.125,", `0],` + tailUsage},
	"one number":     {"application/json", `{"model":"m","n":1`, "0", `,` + tailUsage},
	"nesting":        {"application/json", `{"model":"m","data":`, "[", ""}, // never closed: usage is not found, and memory stays

	"names":         {"application/json", `{"model":"m",`, `"usage.prompt_tokens":1,`, tailUsage},
	"one name":      {"application/json", `{"model":"m","`, "usage", `":1,` + tailUsage},
	"usage":         {"application/json", `{"model":"m","usage":{`, `"x":[{"total_tokens":9}],`, tailUsage[9:]},
	"wanted text":   {"application/json", `{"model":"`, "m", `","model":"m",` + tailUsage},
	"wanted number": {"application/json", `{"model":"m","usage":{"total_tokens":`, "9", `},` + tailUsage},
	"blanks":        {"application/json", `{"model":"m",`, " \n", tailUsage},
	"data line":     {"text/event-stream", `data: {"model":"m","content":"`, "words ", `",` + tailUsage + "\n\n"},
	"event":         {"text/event-stream", `data: {"model":"m","data":[1` + "\n", "data:,2\n", "data: ]," + tailUsage + "\n\n"},
	"events":        {"text/event-stream", `data: {"model":"m"}` + "\n\n", "data: {\"usage\":{\"total_tokens\":1}}\n\n", "data: {" + tailUsage + "\n\n"},
	"comment":       {"text/event-stream", ":", "data:", "\n\ndata: {\"model\":\"m\"," + tailUsage + "\n\n"},
	"field name":    {"text/event-stream", ":\n", "data", "\ndata: {\"model\":\"m\"," + tailUsage + "\n\n"},
	"event name":    {"text/event-stream", "event: ", "error", "\ndata: {\"model\":\"m\"," + tailUsage + "\n\n"},
	"line ends":     {"text/event-stream", "\n", "\r\n\r\n\n\r", "data: {\"model\":\"m\"," + tailUsage + "\n\n"},
}

// TestMemoryOfGiantAnswers shows that 64 MiB cost what a meter costs, and that usage after a giant part is found.
func TestMemoryOfGiantAnswers(t *testing.T) {
	const size, most = 64 << 20, 64 << 10
	for name, g := range giants {
		t.Run(name, func(t *testing.T) {
			size := size
			if raceDetector {
				size = 1 << 20
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m := NewMeter(g.contentType)
			pour(m.Feed, g.head, g.middle, g.tail, size)
			m.End()
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > most {
				t.Errorf("allocated %d bytes", grown)
			}
			want := known("m", 3, 4, 0)
			if name == "nesting" {
				want = Usage{Model: "m"}
			}
			if got := m.Usage(); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if m.Bytes() < int64(size)*9/10 {
				t.Errorf("only %d bytes fed", m.Bytes())
			}
		})
	}
}

// TestFeedAllocatesNothing feeds what makes the scanner work hardest.
func TestFeedAllocatesNothing(t *testing.T) {
	pieces := [][]byte{
		[]byte(`data: {"model":"m","choices":[{"delta":{"content":"a\n\"b"}}],"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":4,` + "\n"),
		[]byte(`data: "total_tokens":7,"prompt_tokens_details":{"cached_tokens":1}}}}` + "\r\n\r\n: comment\n"),
		[]byte(`event: error` + "\n" + `data: {"error":{"code":"c","status_code":500}}` + "\n\n" + `data: [DONE]` + "\n\n"),
	}
	m := NewMeter("text/event-stream")
	var p RequestPeek
	request := []byte(`"max_tokens":null,"model":7,"messages":[{"role":"user","content":"x"}],`)
	p.Feed([]byte("{"))
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range pieces {
			m.Feed(b)
		}
		p.Feed(request)
	}); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
	if m.Usage().Total != 7 || p.Done() {
		t.Errorf("the pieces were not read: %+v %v", m.Usage(), p.Done())
	}
}

// TestPeekOfGiantRequest finds a model that comes last.
func TestPeekOfGiantRequest(t *testing.T) {
	var p RequestPeek
	pour(p.Feed, `{"messages":[{"role":"user","content":"`, `text with \"model\":\"x\" `, `"}],"max_tokens":9,"model":"m"}`, 4<<20)
	if p.Model() != "m" || p.MaxTokens() != 9 || !p.Done() {
		t.Errorf("%q %d", p.Model(), p.MaxTokens())
	}
}

// TestLevels shows that no wanted path is deeper than the scanner can follow.
func TestLevels(t *testing.T) {
	var depth func(fields []field) int
	depth = func(fields []field) int {
		deepest := 0
		for _, f := range fields {
			if len(f.name) >= captureLimit || strings.ContainsAny(f.name, `"\`) {
				t.Errorf("%q cannot be found", f.name)
			}
			if f.fields != nil {
				deepest = max(deepest, 1+depth(f.fields))
			}
		}
		return deepest
	}
	for _, root := range []field{answerFields, batchFields, requestFields, errorBodyFields} {
		if n := 1 + depth(root.fields); n > maxLevel {
			t.Errorf("%d levels, at most %d", n, maxLevel)
		}
	}
}
