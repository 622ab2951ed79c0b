package groq

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pairs is a JSON object as written, repeated names and all.
type pairs []pair

type pair struct {
	name  string
	value any // pairs, []any, json.Number, string, bool, nil
}

// parse reads a JSON document with encoding/json.
func parse(doc []byte) (any, bool) {
	if !json.Valid(doc) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	return parseValue(dec), true
}

func parseValue(dec *json.Decoder) any {
	token, err := dec.Token()
	if err != nil {
		panic(err) // json.Valid said otherwise
	}
	switch token {
	case json.Delim('{'):
		object := pairs{}
		for dec.More() {
			name, _ := dec.Token()
			object = append(object, pair{name.(string), parseValue(dec)})
		}
		_, _ = dec.Token()
		return object
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			list = append(list, parseValue(dec))
		}
		_, _ = dec.Token()
		return list
	}
	return token
}

// oracle reads answers in the plain way, to compare.
type oracle struct {
	usage Usage
	error bool
}

// answer reads an answer or an event's data.
func (o *oracle) answer(v any) {
	object, _ := v.(pairs)
	for _, p := range object {
		inner, _ := p.value.(pairs)
		switch p.name {
		case "model":
			o.model(p.value)
		case "usage":
			o.stated(p.value)
		case "error":
			o.error = o.error || inner != nil
		case "x_groq", "response":
			for _, q := range inner {
				deeper, _ := q.value.(pairs)
				switch {
				case q.name == "usage":
					o.stated(q.value)
				case q.name == "model" && p.name == "response":
					o.model(q.value)
				case q.name == "error" && p.name == "response":
					o.error = o.error || deeper != nil
				}
			}
		}
	}
}

func (o *oracle) model(v any) {
	s, _ := v.(string)
	if o.usage.Model = s; s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }) {
		o.usage.Model = ""
	}
}

// stated reads a usage by the rules of statedUsage.usage, in other words.
func (o *oracle) stated(v any) {
	object, ok := v.(pairs)
	if !ok {
		return
	}
	counts := map[string]any{}
	for _, p := range object {
		name := strings.NewReplacer("input", "prompt", "output", "completion").Replace(p.name)
		if (p.name == "prompt_tokens_details" || p.name == "input_tokens_details") && p.value != nil {
			details, ok := p.value.(pairs)
			if !ok {
				continue
			}
			counts[" cached"] = nil
			for _, q := range details {
				if q.name == "cached_tokens" {
					counts[" cached"] = q.value
				}
			}
			continue
		}
		counts[name] = p.value
	}
	prompt, completion, total := counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]
	if prompt == nil && completion == nil && total == nil {
		return
	}
	model := o.usage.Model
	o.usage = Usage{Model: model}
	n := map[string]int64{}
	for name, v := range map[string]any{"p": prompt, "c": completion, "t": total} {
		if v == nil {
			continue
		}
		if n[name], ok = whole(v); !ok {
			return
		}
	}
	p, c, sum := n["p"], n["c"], n["t"]
	switch {
	case total == nil && (prompt == nil || completion == nil):
		return
	case total == nil:
		sum = p + c
	case prompt == nil && completion != nil:
		p = sum - c
	case completion == nil && prompt != nil:
		c = sum - p
	}
	if p < 0 || c < 0 || sum < p+c || sum > 1<<53 {
		return
	}
	cached, _ := whole(counts[" cached"])
	o.usage = Usage{Prompt: p, Completion: c, Cached: min(cached, p), Total: sum, Model: model, Known: true}
}

// whole is a plain whole number up to 2^53.
func whole(v any) (int64, bool) {
	number, ok := v.(json.Number)
	n, err := strconv.ParseUint(string(number), 10, 63)
	if !ok || err != nil || n > 1<<53 {
		return 0, false
	}
	return int64(n), true
}

// cuts divides b into pieces whose lengths follow from pattern.
func cuts(b []byte, pattern uint64) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		pattern = pattern*6364136223846793005 + 1442695040888963407
		n := min(1+int(pattern>>60), len(b))
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}

// addFixtures makes seeds of the fixtures and of what the tables of the tests hold.
func addFixtures(f *testing.F, pattern string) {
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds match %s: %v", pattern, err)
	}
	for i, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, uint64(i))
	}
}

// FuzzJSONUsage compares what a meter reads of a JSON answer, whole and in pieces, with what encoding/json reads.
func FuzzJSONUsage(f *testing.F) {
	addFixtures(f, "answers/*.json")
	for i, s := range []string{
		`{"usage":{"prompt_tokens":1,"prompt_tokens":2,"total_tokens":1e400},"usage":null}`,
		`{"\u0075sage":{"input_tokens":9007199254740993,"output_tokens":-0,"total_tokens":"7"}}`,
		`{"x_groq":{"usage":{"total_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}},"model":"\\\"\/\b\f\n\r\t"}`,
		`{"a":"\\","b":["}",{"c":"\\\""}],"response":{"model":"m","usage":{"completion_tokens":5,"total_tokens":5}}}`,
		`[{"usage":{"total_tokens":1}}]`, `{"usage":{"total_tokens":01}}`, `{"":{},"usage":{}}`, `{"usage":{"total_tokens":7}`,
	} {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, pattern uint64) {
		got := meterPieces("application/json", body)
		if split := meterPieces("application/json", cuts(body, pattern)...); split != got {
			t.Fatalf("in pieces %+v, whole %+v", split, got)
		}
		doc, ok := parse(body)
		if _, isObject := doc.(pairs); !ok || !isObject {
			return
		}
		var want oracle
		want.answer(doc)
		if got.Usage != want.usage || !got.Done {
			t.Fatalf("got %+v, want %+v done", got, want.usage)
		}
	})
}

// FuzzSSE compares what a meter reads of an event stream, whole and in pieces, with what a reader of whole lines does.
func FuzzSSE(f *testing.F) {
	addFixtures(f, "answers/*.sse")
	for i, s := range []string{
		byteOrderMark + "data: {}\r\rdata\r\n\r\n", "event: error\rdata: x\r\r", "data:[DONE]", "data: {\ndata: \"usage\":{\"total_tokens\":7}}\n\n",
		": c\nid: 1\nretry: 5\nevent\ndata: {\"error\":{}}\n\n", "\n\n data: {}\n\n", "data: {\"response\":{\"error\":{\"code\":\"c\"}}}\n\n",
	} {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, pattern uint64) {
		got := meterPieces("text/event-stream", body)
		if split := meterPieces("text/event-stream", cuts(body, pattern)...); split != got {
			t.Fatalf("in pieces %+v, whole %+v", split, got)
		}
		first := bytes.TrimLeft(bytes.TrimPrefix(body, []byte(byteOrderMark)), " \t\r\n")
		if bytes.HasPrefix(first, []byte("{")) || bytes.HasPrefix(first, []byte("[")) {
			return // read as JSON
		}
		want, judged := readStream(string(body))
		if !judged {
			got.Usage, want.Usage, got.Failed, want.Failed = Usage{}, Usage{}, false, false
		}
		got.Status, got.Code, want.Bytes = 0, "", int64(len(body))
		if got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// readStream reads an event stream line by line. It returns false where some event's data is no JSON, of which a
// scanner may read the valid beginning.
func readStream(body string) (reading, bool) {
	body = strings.TrimPrefix(body, byteOrderMark)
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n")
	var r reading
	var o oracle
	var data []string
	name, judged := "", true
	for _, line := range append(strings.Split(body, "\n"), "") {
		if line == "" {
			if joined := strings.Join(data, "\n"); data != nil {
				o.error = false
				doc, ok := parse([]byte(joined))
				done := strings.HasPrefix(joined, "[DONE]")
				judged = judged && (ok || done)
				o.answer(doc)
				r.Events++
				r.Failed = r.Failed || o.error || name == "error"
				r.Done = r.Done || done || name == "response.completed" || name == "response.incomplete" || name == "response.failed"
			}
			data, name = nil, ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data = append(data, value)
		case "event":
			name = value
		}
	}
	r.Usage = o.usage
	return r, judged
}

// FuzzErrorBody shows that no body breaks the classification, or makes a verdict that makes no sense, and compares
// codes with what encoding/json reads.
func FuzzErrorBody(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "errors", "*"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		status, statusErr := strconv.Atoi(filepath.Base(path)[:3])
		if err != nil || statusErr != nil {
			f.Fatal(err, statusErr)
		}
		f.Add(status, "35", "application/json", body)
	}
	f.Add(429, "Wed, 21 Oct 2026 07:28:00 GMT", "", []byte(`{"error":{"message":"try again in 5s","message":"(TPM): Limit "}}`))
	f.Fuzz(func(t *testing.T, status int, retryAfter, contentType string, body []byte) {
		h := ResponseHeaders{ContentType: contentType, RetryAfter: retryAfter}
		v := Classify(status, h, body)
		if (v.Class == ClassLimited) != (v.Wait != 0) || v.Wait != 0 && (v.Wait < MinWait || v.Wait > MaxWait) || v.HasWait && v.Wait == 0 {
			t.Fatalf("wait of %+v", v)
		}
		if v.RetryElsewhere != v.Class.retryElsewhere() || len(v.Code) > maxCode {
			t.Fatalf("%+v", v)
		}
		doc, ok := parse(body)
		object, isObject := doc.(pairs)
		if !ok || !isObject || status < 400 || status == 401 {
			return
		}
		code := ""
		for _, p := range object {
			inner, _ := p.value.(pairs)
			for _, q := range inner {
				if p.name == "error" && q.name == "code" {
					code, _ = q.value.(string)
					if n, ok := q.value.(json.Number); ok {
						code = string(n)
					}
				}
			}
		}
		if v.Code != "" && v.Code != code && code != "" {
			t.Fatalf("code %q, want %q", v.Code, code)
		}
	})
}

// FuzzRetryAfter shows that no header or message makes a wait out of bounds.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "35", "1.5", "-1", "99999999999999999999", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "2m59.56s", "1e9", "577ms"} {
		f.Add(s, "Wed, 21 Oct 2026 07:27:00 GMT")
	}
	f.Fuzz(func(t *testing.T, s, date string) {
		if d, ok := ParseRetryAfter(s, date); d < 0 || d > MaxWait || !ok && d != 0 {
			t.Errorf("%q: %v %v", s, d, ok)
		}
		if d, ok := ParseReset(s); d < 0 || !ok && d != 0 {
			t.Errorf("%q: %v %v", s, d, ok)
		}
		wait, stated := limitedWait(ResponseHeaders{RetryAfter: s, Date: date}, "Please try again in "+s)
		if wait < MinWait || wait > MaxWait || !stated && wait != DefaultWait {
			t.Errorf("%q: %v %v", s, wait, stated)
		}
	})
}
