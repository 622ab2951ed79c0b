package plugin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"google.golang.org/protobuf/proto"

	"keywheel/filter/plugin"
	"keywheel/shared/protocol"
)

// lastReport ends the plugin and returns the report that it sends then, nil where it has nothing to say.
func (e *envoy) lastReport() *protocol.Report {
	e.t.Helper()
	before := len(e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID))
	e.host.FinishVM()
	calls := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
	if len(calls) == before {
		return nil
	}
	var r protocol.Report
	if body := calls[len(calls)-1].Body; json.Unmarshal(body, &r) != nil {
		e.t.Fatalf("the report is no JSON: %s", body)
	}
	return &r
}

// sound fails the test where a callback panicked: the guard keeps that from the host, and says so.
func (e *envoy) sound() {
	e.t.Helper()
	for _, line := range e.host.GetCriticalLogs() {
		if strings.Contains(line, "bug") {
			e.t.Fatal(line)
		}
	}
}

// upstream sends the call upstream once, and wants it either to go with a key or to be answered here. ok is false for
// the latter.
func (e *envoy) upstream() (attempt uint32, ok bool) {
	e.t.Helper()
	attempt = e.try()
	if e.host.GetSentLocalResponse(attempt) != nil {
		return attempt, false
	}
	if got := e.authorization(attempt); !strings.HasPrefix(got, "Bearer ") || got == "Bearer " || got == "Bearer mine" {
		e.t.Fatalf("a try went with %q", got)
	}
	return attempt, true
}

// settled wants nothing held any more and all counts sane.
func settled(t *testing.T, r *protocol.Report) {
	t.Helper()
	if r == nil {
		return
	}
	if len(r.Reserved) != 0 {
		t.Fatalf("still held: %+v", r.Reserved)
	}
	for _, w := range r.Windows {
		for _, c := range w.Credentials {
			for _, m := range c.Models {
				if m.Total < 0 || m.Total > 1<<54 || m.Prompt+m.Completion > m.Total || m.Estimated > m.Total || min(m.Prompt, m.Completion, m.Cached, m.Estimated) < 0 {
					t.Fatalf("counted %+v", m)
				}
			}
		}
	}
}

// Whatever a client sends, and whatever an upstream answers in whatever pieces: no callback panics, no try goes without a
// key or with the client's, and in the end nothing is held.
func FuzzCall(f *testing.F) {
	log.SetOutput(io.Discard)
	f.Add("POST", "/v1/chat/completions", "application/json", question, 200, "application/json", reply, "", uint64(1))
	f.Add("POST", "/openai/v1/chat/completions?x=y", "application/json; charset=utf-8", `{"model":"m","max_tokens":9223372036854775807}`, 200, "text/event-stream",
		"data: {\"x_groq\":{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}}\n\ndata: [DONE]\n\n", "", uint64(2))
	f.Add("POST", "/v1/embeddings", "application/json", `{"model":"e","input":["a"]}`, 429, "application/json",
		`{"error":{"message":"Rate limit reached. Please try again in 20s.","type":"tokens","code":"rate_limit_exceeded"}}`, "20", uint64(3))
	f.Add("POST", "/v1/audio/transcriptions", "multipart/form-data; boundary=x", "--x--", 401, "", `{"error":{"code":"invalid_api_key"}}`, "", uint64(4))
	f.Add("GET", "/v1/models/a", "", "", 503, "text/html", "<html>", "0", uint64(5))
	f.Add("POST", "/v1/responses", "application/json", `{"model":"`+strings.Repeat("x", 300)+`"}`, 200, "", `{"usage":{"input_tokens":1,"output_tokens":9007199254740992,"total_tokens":9007199254740992}}`, "", uint64(6))
	good := assignment()
	good.Policy.CallerHeader, good.Policy.UseKey = "x-team", true
	config := bundle(&testing.T{}, good)
	f.Fuzz(func(t *testing.T, method, path, contentType, body string, status int, answerType, answerBody, retryAfter string, pattern uint64) {
		e := start(t, plugin.New(), config)
		headers := [][2]string{
			{":method", method}, {":path", path}, {"content-type", contentType}, {"authorization", "Bearer mine"},
			{"x-team", body[:min(len(body), 80)]}, {"content-length", fmt.Sprint(status)},
		}
		admitted := e.call(headers, body) == types.ActionContinue
		if got := value(e.host.GetCurrentRequestHeaders(e.gate), "authorization"); got != "" && e.host.GetSentLocalResponse(e.gate) == nil {
			t.Fatalf("the client's authorization passed: %q", got)
		}
		if !admitted && e.host.GetSentLocalResponse(e.gate) == nil {
			t.Fatal("the call is neither let go nor answered")
		}
		answer := [][2]string{{":status", fmt.Sprint(status)}, {"content-type", answerType}, {"retry-after", retryAfter}}
		if attempt, ok := uint32(0), false; admitted {
			if attempt, ok = e.upstream(); ok {
				answer = e.answer(attempt, answer, answerBody)
			}
			e.finish(answer, pieces(answerBody, pattern)...)
		} else {
			e.end()
		}
		settled(t, e.lastReport())
		e.sound()
	})
}

// pieces divides s into at most 64 pieces whose lengths follow from pattern.
func pieces(s string, pattern uint64) (out []string) {
	for s != "" && len(out) < 63 {
		pattern = pattern*6364136223846793005 + 1442695040888963407
		n := min(1+int(pattern>>58), len(s))
		out, s = append(out, s[:n]), s[n:]
	}
	if s != "" {
		out = append(out, s)
	}
	return out
}

// Whatever is pushed, as an assignment or in the place of the Secret that holds one: the plugin starts, no callback
// panics, and calls go with a key or are refused. The next good assignment works.
func FuzzConfiguration(f *testing.F) {
	log.SetOutput(io.Discard)
	j, err := json.Marshal(assignment())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j, false)
	f.Add(j[:len(j)/2], false)
	f.Add([]byte(`{"v":1,"epoch":1,"generation":9,"policy":{"strategy":"balanced","required_tokens":9223372036854775807,"report_interval_ms":9223372036854775807,"caller_header":"x-team","use_key":true},`+
		`"clock":{"anchor_host_ms":-9223372036854775808,"anchor_now_ms":9223372036854775807,"speed":1e308},`+
		`"keys":[{"id":"1","credential":"1.1","priority":-9223372036854775808,"limit_tokens":9223372036854775807,"limit_requests":9223372036854775807,"models":["llama","*"],`+
		`"fresh":[{"window":"0001-01-01","tokens":9223372036854775807,"requests":-1}]},{"id":"2","credential":"2.1"}]}`), false)
	f.Add(bundle(&testing.T{}, assignment()), true)
	f.Add([]byte{}, true)
	newest := assignment()
	newest.Epoch, newest.Generation = 1<<62, 1<<62
	good, last := bundle(&testing.T{}, assignment()), bundle(&testing.T{}, newest)
	f.Fuzz(func(t *testing.T, pushed []byte, raw bool) {
		config := pushed
		if !raw {
			config = secretOf(t, pushed)
		}
		e := pushes(t, good, config)
		e.exchange()
		settled(t, e.lastReport())
		e.sound()
		e.stop()
		e = pushes(t, good, config, last)
		if served := e.exchange(); !served && !newer(config) {
			t.Fatal("a good assignment does not serve any more")
		}
		e.sound()
	})
}

// pushes is a host to whose only VM these configurations came, one after the other.
func pushes(t *testing.T, configs ...[]byte) *envoy {
	t.Helper()
	vm := plugin.New()
	for _, c := range configs[:len(configs)-1] {
		start(t, vm, c).stop()
	}
	return start(t, vm, configs[len(configs)-1])
}

// exchange makes one call with two tries, and says whether it was let go.
func (e *envoy) exchange() bool {
	e.t.Helper()
	if e.call(chat(), question) != types.ActionContinue {
		if e.host.GetSentLocalResponse(e.gate) == nil {
			e.t.Fatal("the call is neither let go nor answered")
		}
		e.end()
		return false
	}
	served := false
	for _, status := range []string{"429", "200"} {
		if attempt, ok := e.upstream(); ok {
			e.answer(attempt, [][2]string{{":status", status}, {"content-type", "application/json"}}, reply)
			served = true
		}
	}
	e.finish(okServed, reply)
	return served
}

// newer says whether a configuration holds an assignment that the last one of FuzzConfiguration cannot follow.
func newer(config []byte) bool {
	b, err := protocol.ParseBundle(config)
	if err != nil {
		return false
	}
	a, err := protocol.ParseAssignment(b[protocol.AssignmentSecret])
	return err == nil && a.Epoch >= 1<<62
}

// secretOf is a configuration with this in the place of the assignment.
func secretOf(t *testing.T, assignment []byte) []byte {
	t.Helper()
	secrets := map[string]*corev3.DataSource{}
	for name, b := range map[string][]byte{protocol.AssignmentSecret: assignment, protocol.TokenSecret: []byte("token"), "1.1": []byte("gsk_1"), "2.1": []byte("gsk_2")} {
		secrets[name] = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	b, err := proto.Marshal(&tlsv3.Secret{Name: "keywheel", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secrets: secrets}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
