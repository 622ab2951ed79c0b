package groq

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// naivePeek reads a request as a peek does: from front to back until the model and a maximum are known.
func naivePeek(object pairs) (want peeked) {
	for _, p := range object {
		switch p.name {
		case "model":
			var o oracle
			o.model(p.value)
			want.model = o.usage.Model
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			if n, ok := whole(p.value); ok {
				want.max = max(want.max, n)
			}
		case "stream":
			want.stream = p.value == true
		}
		if want.model != "" && want.max > 0 {
			break
		}
	}
	want.done = true
	return want
}

// FuzzRequestPeek compares what is seen of a request, whole and in pieces, with what encoding/json reads.
func FuzzRequestPeek(f *testing.F) {
	for i, s := range []string{
		`{"model":"llama-3.3-70b-versatile","messages":[{"role":"user","content":"model \"x\" \\"}],"max_tokens":512,"stream":true}`,
		`{"max_completion_tokens":9,"max_tokens":7,"model":"openai/gpt-oss-120b"}`, `{"model":null,"max_tokens":"7","model":"m"}`,
		`{"input":["a","b"],"model":"e","max_output_tokens":1e2}`, `{"m\u006fdel":"a b","model":"\u0041"}`,
		`[{"model":"m"}]`, `{"messages":[{"model":"decoy","max_tokens":5}],"tools":[{}]}`, `{"model":"m"`, `{"model":"m","max_tokens":9007199254740993}`,
	} {
		f.Add([]byte(s), uint64(i))
	}
	f.Fuzz(func(t *testing.T, body []byte, pattern uint64) {
		got := peekPieces(string(body))
		var pieces []string
		for _, b := range cuts(body, pattern) {
			pieces = append(pieces, string(b))
		}
		if split := peekPieces(pieces...); split != got {
			t.Fatalf("in pieces %+v, whole %+v", split, got)
		}
		doc, ok := parse(body)
		object, isObject := doc.(pairs)
		if !ok || !isObject {
			return
		}
		if want := naivePeek(object); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// FuzzRateLimits compares what is read of the rate-limit headers with what strconv and time read.
func FuzzRateLimits(f *testing.F) {
	for _, s := range [][3]string{
		{"14400", "14370", "2m59.56s"}, {"6000", "0", "7.66s"}, {"-1", "+5", "577ms"}, {"1e3", "9007199254740993", "1h12m3s"}, {"", " 7 ", "-1s"}, {"0x10", "1_000", "9999999h"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, limit, remaining, reset string) {
		got := ParseRateLimits(func(name string) string {
			return map[string]string{"x-ratelimit-limit-tokens": limit, "x-ratelimit-remaining-tokens": remaining, "x-ratelimit-reset-tokens": reset}[name]
		})
		if got.Requests.Known || got.AudioSeconds.Known {
			t.Fatal("buckets that nothing was said of are known")
		}
		amount := func(s string) (int64, bool) {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			return n, err == nil && n >= 0 && n <= 1<<53
		}
		l, hasLimit := amount(limit)
		r, hasRemaining := amount(remaining)
		var want Limit
		if hasLimit && hasRemaining {
			want = Limit{Limit: l, Remaining: r, Known: true}
			if d, err := time.ParseDuration(strings.TrimSpace(reset)); err == nil && d >= 0 && len(strings.TrimSpace(reset)) <= 64 {
				want.Reset = d
			}
		}
		if got.Tokens != want {
			t.Fatalf("%q %q %q: got %+v, want %+v", limit, remaining, reset, got.Tokens, want)
		}
	})
}

// FuzzAppendError shows that an answer of our own is JSON and says what it was told, whatever a client put into it.
func FuzzAppendError(f *testing.F) {
	f.Add("Keywheel does not let GET /v1/x through.", "keywheel_error", "endpoint_not_allowed")
	f.Add("\"\\\u2028\x00\xff</script>\r\n", "\x7f", "")
	f.Fuzz(func(t *testing.T, message, kind, code string) {
		var got struct {
			Error struct{ Message, Type, Code string }
		}
		b := AppendError(nil, message, kind, code)
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		said := func(s string) string { return string([]rune(s)) }
		if got.Error.Message != said(message) || got.Error.Type != said(kind) || got.Error.Code != said(code) {
			t.Fatalf("%s says %+q", b, got)
		}
		if strings.ContainsAny(string(b), "<>&\r") || strings.Count(string(b), "\n") != 1 {
			t.Fatalf("%q could end a script or a line", b)
		}
	})
}
