package groq

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// known is a trusted usage whose total is the sum of its parts.
func known(model string, prompt, completion, cached int64) Usage {
	return Usage{Prompt: prompt, Completion: completion, Cached: cached, Total: prompt + completion, Model: model, Known: true}
}

// answers is what the fixtures in testdata/answers state.
var answers = map[string]reading{
	"chat.json":                   {Usage: known("llama-3.3-70b-versatile", 41, 17, 0), Done: true},
	"chat-cached.json":            {Usage: known("openai/gpt-oss-20b", 1290, 31, 1024), Done: true},
	"chat-tool-call.json":         {Usage: known("moonshotai/kimi-k2-instruct-0905", 222, 28, 0), Done: true},
	"chat-compound.json":          {Usage: known("groq/compound", 900, 60, 0), Done: true},
	"chat-decoys.json":            {Usage: known("llama-3.1-8b-instant", 12, 34, 0), Done: true},
	"chat-escaped-names.json":     {Usage: known("llama-3.1-8b-instant", 5, 6, 2), Done: true},
	"chat-pretty.json":            {Usage: known("gemma2-9b-it", 9, 4, 0), Done: true},
	"responses.json":              {Usage: known("openai/gpt-oss-120b", 71, 19, 64), Done: true},
	"embedding.json":              {Usage: known("nomic-embed-text-v1_5", 8, 0, 0), Done: true},
	"transcription.json":          {Done: true},
	"transcription.txt":           {},
	"models.json":                 {Done: true},
	"batch-output.jsonl":          {Usage: known("llama-3.1-8b-instant", 123, 12, 0)},
	"stream-x-groq.sse":           {Usage: known("llama-3.3-70b-versatile", 25, 6, 0), Events: 8, Done: true},
	"stream-include-usage.sse":    {Usage: known("llama-3.3-70b-versatile", 25, 6, 0), Events: 9, Done: true},
	"stream-cached.sse":           {Usage: known("openai/gpt-oss-20b", 1536, 12, 1280), Events: 3, Done: true},
	"stream-compound.sse":         {Usage: known("groq/compound", 800, 50, 0), Events: 4, Done: true},
	"stream-responses.sse":        {Usage: known("openai/gpt-oss-120b", 33, 44, 0), Events: 4, Done: true},
	"stream-responses-failed.sse": {Usage: Usage{Model: "openai/gpt-oss-120b"}, Events: 2, Done: true, Failed: true, Code: "server_error"},
	"stream-error.sse":            {Usage: Usage{Model: "openai/gpt-oss-120b"}, Events: 3, Failed: true, Status: 400, Code: "tool_use_failed"},
	"stream-error-unnamed.sse":    {Usage: Usage{Model: "openai/gpt-oss-120b"}, Events: 2, Failed: true, Code: "server_error"},
	"stream-cut.sse":              {Usage: Usage{Model: "llama-3.3-70b-versatile"}, Events: 6},
}

var contentTypes = map[string]string{
	".json": "application/json", ".jsonl": "application/jsonl", ".sse": "text/event-stream; charset=utf-8", ".txt": "text/plain",
}

// fixtures reads a folder of testdata. Files that no table names, and names without a file, are errors.
func fixtures[T any](t *testing.T, folder string, table map[string]T) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", folder))
	if err != nil || len(entries) == 0 {
		t.Fatalf("no fixtures in %s: %v", folder, err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join("testdata", folder, e.Name()))
		if err != nil || len(body) == 0 {
			t.Fatalf("%s: %d bytes, %v", e.Name(), len(body), err)
		}
		if _, ok := table[e.Name()]; !ok {
			t.Errorf("%s: no expectation", e.Name())
		}
		files[e.Name()] = body
	}
	for name := range table {
		if files[name] == nil {
			t.Errorf("%s: no fixture", name)
		}
	}
	return files
}

func TestAnswersAtEverySplit(t *testing.T) {
	for name, body := range fixtures(t, "answers", answers) {
		t.Run(name, func(t *testing.T) {
			want := answers[name]
			want.Bytes = int64(len(body))
			contentType := contentTypes[filepath.Ext(name)]
			if contentType == "" {
				t.Fatal("no content type")
			}
			everySplit(t, contentType, body, want)
			if filepath.Ext(name) == ".jsonl" {
				return
			}
			for _, wrong := range []string{"", "text/plain", "application/json; charset=utf-8", "Text/Event-Stream", ";;;"} {
				if got := meterPieces(wrong, body); got != want && name != "transcription.txt" {
					t.Errorf("content-type %q:\n got %+v\nwant %+v", wrong, got, want)
				}
			}
		})
	}
}

// variants are other ways to write the same event stream.
var variants = map[string]func(string) string{
	"CRLF":      func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	"CR":        func(s string) string { return strings.ReplaceAll(s, "\n", "\r") },
	"BOM":       func(s string) string { return byteOrderMark + s },
	"BOM, CRLF": func(s string) string { return byteOrderMark + strings.ReplaceAll(s, "\n", "\r\n") },
	"no space":  func(s string) string { return strings.ReplaceAll(s, "data: ", "data:") },
	"no end":    func(s string) string { return strings.TrimRight(s, "\n") },
	"one line end": func(s string) string {
		return strings.TrimRight(s, "\n") + "\n"
	},
	"leading blanks": func(s string) string { return "\n\r\n\n" + s },
	"comments": func(s string) string {
		return ": open\n\n" + strings.ReplaceAll(s, "\n\n", "\n: data: {\"usage\":{\"total_tokens\":1}}\n:\n\n")
	},
	"other fields": func(s string) string {
		return strings.ReplaceAll(s, "data: {", "id: 7\nretry: 100\nretry\ndatas: {\"usage\":null}\ndata: {")
	},
	"several data lines": func(s string) string {
		return strings.ReplaceAll(s, `,"choices":`, ",\ndata: \"choices\":\ndata:\ndata\ndata: ")
	},
	"mixed line ends": func(s string) string {
		return strings.Replace(strings.Replace(s, "\n\n", "\r\n\r\n", 2), "\n\n", "\r\r", 1)
	},
}

func TestEventStreamVariants(t *testing.T) {
	files := fixtures(t, "answers", answers)
	for _, name := range []string{"stream-include-usage.sse", "stream-x-groq.sse", "stream-error.sse", "stream-responses.sse"} {
		for variant, change := range variants {
			t.Run(name+"/"+variant, func(t *testing.T) {
				body := []byte(change(string(files[name])))
				if bytes.Equal(body, files[name]) && name != "stream-responses.sse" {
					t.Fatal("the variant changes nothing")
				}
				want := answers[name]
				want.Bytes = int64(len(body))
				everySplit(t, "text/event-stream", body, want)
			})
		}
	}
}

func TestEveryChangedByteIsSurvived(t *testing.T) {
	for name, body := range fixtures(t, "answers", answers) {
		for i := range body {
			for _, c := range []byte("\x00\"\\{}[]:,\n\r 9\xff") {
				changed := bytes.Clone(body)
				changed[i] = c
				whole := meterPieces("", changed)
				if split := meterPieces("", changed[:i], changed[i:i+1], changed[i+1:]); split != whole {
					t.Fatalf("%s with %q at %d:\nsplit %+v\nwhole %+v", name, c, i, split, whole)
				}
			}
		}
	}
}
