package groq

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// writer writes random JSON and event streams, made mostly of what meters look for.
type writer struct {
	*rand.Rand
	strings.Builder
}

func (w *writer) pick(s ...string) { w.WriteString(s[w.IntN(len(s))]) }

var randomNames = []string{
	"usage", "usage", "usage", "x_groq", "response", "model", "error", "code", "usage_breakdown", "choices", "",
	"prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "prompt_tokens_details",
	"input_tokens_details", "cached_tokens", `us\u0061ge`, `t\u006ftal_tokens`, `\"usage\"`, `usage\u0000`, `usage\\`, "Usage", "é🔑",
}

var randomScalars = []string{
	"0", "1", "2", "3", "5", "8", "13", "21", "34", "55", "null", "null", "true", "-1", "1.5", "1e2", "1e400",
	"9007199254740992", "9007199254740993", `""`, `"5"`, `"a/b-1"`, `"\\"`, `"\"usage\":{\"total_tokens\":9}"`, `"\ud83d\udd11"`, `"]}"`,
}

// value writes a value: below usage mostly counts, above it mostly objects.
func (w *writer) value(depth int) {
	w.pick("", "", "", " ", "\n\t")
	switch n := w.IntN(10); {
	case depth >= 6 || n < depth+2:
		w.pick(randomScalars...)
	case n == 9:
		w.WriteByte('[')
		for i := range w.IntN(4) {
			if i > 0 {
				w.WriteByte(',')
			}
			w.value(depth + 1)
		}
		w.WriteByte(']')
	default:
		w.object(depth)
	}
	w.pick("", "", "", " ", "\r\n")
}

func (w *writer) object(depth int) {
	w.WriteByte('{')
	for i := range w.IntN(7) {
		if i > 0 {
			w.WriteByte(',')
		}
		w.pick("", "", " ")
		name := randomNames[w.IntN(len(randomNames))]
		w.WriteString(`"` + name + `"`)
		w.pick("", "", " ")
		w.WriteByte(':')
		switch {
		case w.IntN(3) == 0:
			w.value(depth + 1)
		case name == "usage" || name == `us\u0061ge`:
			w.usage()
		case name == "x_groq" || name == "response":
			w.WriteString(`{"usage":`)
			w.usage()
			w.WriteByte('}')
		default:
			w.value(depth + 1)
		}
	}
	w.WriteByte('}')
}

// usage writes a usage, mostly one to be trusted.
func (w *writer) usage() {
	w.WriteByte('{')
	w.pick("", `"prompt_tokens":3,`, `"prompt_tokens":8,`, `"input_tokens" : 5,`, `"prompt_tokens":null,`)
	w.pick("", `"completion_tokens":2,`, `"completion_tokens":1,"completion_tokens":4,`, `"output_tokens":6,`, `"queue_time":0.5,`)
	w.pick("", "", `"prompt_tokens_details":{"cached_tokens":2},`, `"input_tokens_details":{"cached_tokens":null},`,
		`"prompt_tokens_details":null,`, `"prompt_tokens":"3",`, `"completion_tokens":{},`)
	w.pick(`"total_tokens":9`, `"total_tokens":20`, `"total_tokens":14`, `"t\u006ftal_tokens":40`, `"total_time":1e-3`)
	w.WriteByte('}')
}

// event writes one event, its data in one line or several, and other lines about it.
func (w *writer) event() {
	end := []string{"\n", "\r\n", "\r"}[w.IntN(3)]
	w.pick("", "", ": c"+end, "event: error"+end, "event:response.completed"+end, "id: 1"+end)
	doc := writer{Rand: w.Rand}
	doc.object(0)
	data := strings.NewReplacer("\r", " ", "\n", " ").Replace(doc.String())
	if w.IntN(3) == 0 {
		data = strings.ReplaceAll(data, ",", ","+end+"data:")
	}
	switch w.IntN(8) {
	case 0:
		data = "[DONE]"
	case 1:
		w.WriteString("data" + end)
	}
	w.pick("data:", "data: ")
	w.WriteString(data + end)
	w.pick("", "", "event: message"+end)
	w.WriteString(end)
}

// TestRandomAnswers compares what a meter reads of random valid JSON and event streams with the oracle.
func TestRandomAnswers(t *testing.T) {
	const seed, rounds = 20251118, 10000
	random, trusted := rand.New(rand.NewPCG(seed, 0)), 0
	for round := range rounds {
		w := writer{Rand: random}
		w.object(0)
		body := []byte(w.String())
		doc, ok := parse(body)
		if !ok {
			t.Fatalf("seed %d, round %d: the test writes invalid JSON: %s", seed, round, body)
		}
		var o oracle
		o.answer(doc)
		want := reading{Usage: o.usage, Done: true, Bytes: int64(len(body))}
		checkRandom(t, "application/json", body, want, random.Uint64())
		if want.Usage.Known {
			trusted++
		}

		w = writer{Rand: random}
		for range 1 + w.IntN(4) {
			w.event()
		}
		body = []byte(w.String())
		want, ok = readStream(w.String())
		if !ok {
			t.Fatalf("seed %d, round %d: the test writes an invalid event: %s", seed, round, body)
		}
		want.Bytes = int64(len(body))
		checkRandom(t, "text/event-stream", body, want, random.Uint64())
		if want.Usage.Known {
			trusted++
		}
	}
	t.Logf("seed %d: %d of %d answers with a usage", seed, trusted, 2*rounds)
	if trusted < rounds/2 {
		t.Error("too few answers with a usage: the test tests little")
	}
}

func checkRandom(t *testing.T, contentType string, body []byte, want reading, pattern uint64) {
	t.Helper()
	for how, got := range map[string]reading{
		"whole": meterPieces(contentType, body), "in pieces": meterPieces(contentType, cuts(body, pattern)...),
	} {
		got.Status, got.Code = 0, ""
		if got != want {
			t.Fatalf("%s, pattern %d:\n%q\n got %+v\nwant %+v", how, pattern, body, got, want)
		}
	}
}
