package groq

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recordingsCount is how many recorded exchanges there are at least. They belong to others and are not part of the
// repository: where they are not present these tests say so and skip, except in CI.
const recordingsCount = 118

// recording is one recorded exchange.
type recording struct {
	name    string
	body    []byte
	chunks  []int // lengths of the transport's reads, where known
	headers map[string]string
	meta    struct {
		Endpoint string
		Stream   bool
		Status   int
		Kind     string
		Expected struct {
			Prompt     *int64 `json:"prompt_tokens"`
			Completion *int64 `json:"completion_tokens"`
			Total      *int64 `json:"total_tokens"`
			Cached     *int64 `json:"cached_tokens"`
		}
		Extra struct {
			Model  string
			Events int
			Done   *bool
			Error  *struct {
				Code   string
				Status int `json:"status_code"`
			}
		} `json:"expected_extra"`
	}
}

func recordings(t *testing.T) []recording {
	t.Helper()
	dir := os.Getenv("KEYWHEEL_RECORDINGS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "groq-recordings")
	}
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must have the recordings: %v; set KEYWHEEL_RECORDINGS to their folder", err)
		}
		t.Skipf("no recordings (%v); set KEYWHEEL_RECORDINGS to their folder", err)
	}
	metas, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil || len(metas) < recordingsCount {
		t.Fatalf("%d recordings in %s, at least %d expected (%v)", len(metas), dir, recordingsCount, err)
	}
	var all []recording
	for _, path := range metas {
		folder := filepath.Dir(path)
		r := recording{name: filepath.Base(folder)}
		load(t, path, &r.meta)
		load(t, filepath.Join(folder, "headers.json"), &r.headers)
		if r.body, err = os.ReadFile(filepath.Join(folder, "body.bin")); err != nil {
			t.Fatal(err)
		}
		chunks := filepath.Join(folder, "chunks.json")
		if _, err := os.Stat(chunks); err == nil {
			load(t, chunks, &r.chunks)
		}
		all = append(all, r)
	}
	return all
}

func load(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// contentType is the recorded one. Batch output, recorded without headers, is asked for as JSON lines.
func (r recording) contentType() string {
	if strings.HasSuffix(r.meta.Endpoint, "/content") {
		return "application/jsonl"
	}
	return r.headers["content-type"]
}

// expected is what a meter must read, as the recording says. The model is got's where the recording names none.
func (r recording) expected(got reading) reading {
	e, x := r.meta.Expected, r.meta.Extra
	number := func(n *int64) int64 {
		if n == nil {
			return 0
		}
		return *n
	}
	want := reading{Bytes: int64(len(r.body)), Events: x.Events, Usage: Usage{
		Prompt: number(e.Prompt), Completion: number(e.Completion), Cached: number(e.Cached), Total: number(e.Total),
		Model: x.Model, Known: e.Total != nil,
	}}
	if x.Model == "" {
		want.Usage.Model = got.Usage.Model
	}
	if x.Done != nil {
		want.Done = *x.Done
	} else {
		want.Done = r.body[0] == '{' && r.contentType() != "application/jsonl"
	}
	if r.meta.Stream && x.Error != nil {
		want.Failed, want.Status, want.Code = true, x.Error.Status, x.Error.Code
	}
	return want
}

func TestRecordingsAtEverySplit(t *testing.T) {
	streams, usages, midStream := 0, 0, 0
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			got := meterPieces(r.contentType(), r.body)
			want := r.expected(got)
			everySplit(t, r.contentType(), r.body, want)
			if got := meterPieces("", r.body); r.contentType() != "application/jsonl" && got != want {
				t.Errorf("without a content type:\n got %+v\nwant %+v", got, want)
			}
			var pieces [][]byte
			for at, rest := 0, r.body; at < len(r.chunks); at++ {
				pieces = append(pieces, rest[:r.chunks[at]])
				rest = rest[r.chunks[at]:]
			}
			if got := meterPieces(r.contentType(), pieces...); len(pieces) > 0 && got != want {
				t.Errorf("in the recorded pieces:\n got %+v\nwant %+v", got, want)
			}
			if r.meta.Stream {
				streams++
			}
			if want.Usage.Known {
				usages++
			}
			if want.Failed {
				midStream++
			}
		})
	}
	t.Logf("%d streams, %d with usage, %d failed inside a 200", streams, usages, midStream)
	if streams < 28 || usages < 68 || midStream < 2 {
		t.Errorf("too few recordings of a kind")
	}
}

// recordedErrors is the verdict on each recorded error: its class, the limit and the wait in milliseconds.
var recordedErrors = map[string]struct {
	class Class
	limit string
	wait  int64
}{
	"err-400-audio-prompt-too-long":         {class: ClassCaller},
	"err-400-blocked-api-access-docs":       {class: ClassRestricted},
	"err-400-context-length-2024":           {class: ClassCaller},
	"err-400-context-length-2026-no-code":   {class: ClassCaller},
	"err-400-json-validate-failed":          {class: ClassCaller},
	"err-400-model-decommissioned":          {class: ClassCaller},
	"err-400-model-terms-required":          {class: ClassPermission},
	"err-400-organization-restricted":       {class: ClassRestricted},
	"err-400-spend-limit-reached":           {class: ClassRestricted},
	"err-400-tool-calling-not-supported":    {class: ClassCaller},
	"err-400-tool-choice-required":          {class: ClassCaller},
	"err-400-tool-not-in-request":           {class: ClassCaller},
	"err-400-tool-use-failed-schema":        {class: ClassCaller},
	"err-400-unsupported-property":          {class: ClassCaller},
	"err-400-unsupported-property-toplevel": {class: ClassCaller},
	"err-401-invalid-key":                   {class: ClassInvalid},
	"err-401-models-rejected-key":           {class: ClassInvalid},
	"err-403-cloudflare-block-html":         {class: ClassEdge},
	"err-403-model-blocked-org":             {class: ClassPermission},
	"err-403-model-blocked-project":         {class: ClassPermission},
	"err-404-model-not-found":               {class: ClassCaller},
	"err-404-model-rig":                     {class: ClassCaller},
	"err-404-model-typo":                    {class: ClassCaller},
	"err-413-asph-audio-too-long":           {class: ClassTooLarge, limit: "ASPH"},
	"err-413-entity-too-large-audio":        {class: ClassTooLarge},
	"err-413-tpm-2026":                      {class: ClassTooLarge, limit: "TPM"},
	"err-413-tpm-llama33":                   {class: ClassTooLarge, limit: "TPM"},
	"err-429-asph-whisper":                  {ClassLimited, "ASPH", 99738},
	"err-429-otpm-request-too-large":        {class: ClassTooLarge, limit: "OTPM"},
	"err-429-rpd-scout":                     {ClassLimited, "RPD", 86400},
	"err-429-rpm-llama31-8b":                {ClassLimited, "RPM", 2000},
	"err-429-rpm-scout":                     {ClassLimited, "RPM", 2000},
	"err-429-tpd-25min":                     {ClassLimited, "TPD", 1521504},
	"err-429-tpd-llama33":                   {ClassLimited, "TPD", 578016},
	"err-429-tpd-unnamed-2024":              {ClassLimited, "", 107585},
	"err-429-tpm-2024-llama3-70b":           {ClassLimited, "TPM", 50597},
	"err-429-tpm-gemma2":                    {ClassLimited, "TPM", 5289},
	"err-429-tpm-gptoss-retry-after":        {ClassLimited, "TPM", 34147},
	"err-429-tpm-llama31-8b":                {ClassLimited, "TPM", 4770},
	"err-502-cloudflare-html":               {class: ClassTransient},
	"err-503-over-capacity":                 {class: ClassTransient},
}

func TestRecordedErrors(t *testing.T) {
	seen := 0
	for _, r := range recordings(t) {
		if !strings.HasPrefix(r.name, "err-") {
			if got := Classify(r.meta.Status, headersOf(r.headers), r.body); got != (Verdict{Class: ClassOK}) {
				t.Errorf("%s: %+v", r.name, got)
			}
			continue
		}
		want, ok := recordedErrors[r.name]
		if !ok {
			t.Errorf("%s: no expectation", r.name)
			continue
		}
		seen++
		got := Classify(r.meta.Status, headersOf(r.headers), r.body)
		if got.Class != want.class || got.Limit != want.limit || got.Wait.Truncate(time.Millisecond).Milliseconds() != want.wait ||
			got.HasWait != (want.wait > 0) {
			t.Errorf("%s: %+v, want %+v", r.name, got, want)
		}
		if code := r.meta.Extra.Error; code != nil && got.Code != code.Code {
			t.Errorf("%s: code %q, want %q", r.name, got.Code, code.Code)
		}
	}
	if seen != len(recordedErrors) {
		t.Errorf("%d of %d recorded errors found", seen, len(recordedErrors))
	}
}

func headersOf(h map[string]string) ResponseHeaders {
	return ResponseHeaders{ContentType: h["content-type"], RetryAfter: h["retry-after"], ShouldRetry: h["x-should-retry"], Date: h["date"]}
}
