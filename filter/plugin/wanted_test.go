package plugin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/plugin"
	"keywheel/filter/shareddata"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

// served makes a call that any key answers, and returns the secret that it went with.
func (e *envoy) served(headers [][2]string, body string) string {
	e.t.Helper()
	if e.call(headers, body) != types.ActionContinue {
		e.t.Fatalf("refused: %+v", e.host.GetSentLocalResponse(e.gate))
	}
	a := e.try()
	secret := e.authorization(a)
	got := e.answer(a, ok, reply)
	e.finish(append([][2]string{{"x-keywheel-key", value(got, "x-keywheel-key")}}, ok...), reply)
	return strings.TrimPrefix(secret, "Bearer ")
}

// refused makes a call that the gate refuses, and returns how.
func (e *envoy) refused(headers [][2]string, body string) string {
	e.t.Helper()
	if e.call(headers, body) != types.ActionPause {
		e.t.Fatal("let through")
	}
	defer e.end()
	return e.said(e.gate)
}

// said is the status, code, Retry-After and message of a local answer.
func (e *envoy) said(id uint32) string {
	e.t.Helper()
	r := e.host.GetSentLocalResponse(id)
	if r == nil {
		e.t.Fatal("no local answer")
	}
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(r.Data, &body); err != nil || body.Error.Type != "keywheel_error" {
		e.t.Fatalf("%v: %s", err, r.Data)
	}
	return fmt.Sprintf("%d %s %q %s", r.StatusCode, body.Error.Code, value(r.Headers, "retry-after"), body.Error.Message)
}

func (e *envoy) want(what, got, want string) {
	e.t.Helper()
	if got != want {
		e.t.Errorf("%s: %s\nwant %s", what, got, want)
	}
}

func asking(model string) string {
	return `{"messages":[{"role":"user","content":"hi"}],"model":"` + model + `"}`
}

func TestModelLists(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Keys[0].Models = []string{"small"}
		a.Keys[1].Models = []string{"small", "large"}
		a.Keys[2].Models = []string{"speech"}
		e := start(t, vm, bundle(t, a))
		e.want("small", e.served(chat(), asking("small")), "gsk_1")
		e.want("large", e.served(chat(), asking("large")), "gsk_2")
		speech := [][2]string{{":method", "POST"}, {":path", "/v1/audio/speech"}, {"content-type", "application/json"}}
		e.want("speech", e.served(speech, `{"input":"hello","model":"speech"}`), "gsk_3")
		e.want("the list of models", e.served([][2]string{{":method", "GET"}, {":path", "/v1/models"}}, ""), "gsk_1")
		e.want("another", e.refused(chat(), asking("other")), `403 model_not_allowed "" No Groq key may serve model other.`)
		const unseen = `403 model_not_allowed "" No Groq key may serve a model that cannot be seen here.` +
			` It is named too late in a large body, or in one that is not JSON; keys that are kept for certain models do not take it.`
		e.want("a form", e.refused([][2]string{{":method", "POST"}, {":path", "/v1/audio/transcriptions"}, {"content-type", "multipart/form-data; boundary=x"}}, ""), unseen)
		e.want("the mark of what is not seen", e.refused(chat(), asking("?")), unseen)

		const limited = `{"error":{"message":"Rate limit reached for model x in organization y on tokens per minute (TPM): Limit 1, Used 1, Requested 1. Please try again in 20s.","type":"tokens","code":"rate_limit_exceeded"}}`
		headers := [][2]string{{":status", "429"}, {"content-type", "application/json"}, {"retry-after", "20"}}
		e.call(chat(), asking("small"))
		if got := e.answer(e.try(), headers, limited); value(got, "x-keywheel-rotate") == "" {
			t.Error("key 2 may serve it too")
		}
		second := e.try()
		e.want("the second try", e.authorization(second), "Bearer gsk_2")
		if got := e.answer(second, headers, limited); value(got, "x-keywheel-rotate") != "" || value(got, "retry-after") != "20" {
			t.Errorf("key 3 may not: %v", got)
		}
		e.end()
		if g := gateUsage(e.report()); g.CallerFaults != 3 || g.Refused != 0 || g.Requests != 8 {
			t.Errorf("%+v", g)
		}
	})
}

// Between the gate's look and the attempt's choice the assignment can become another; here the call does.
func TestAModelThatIsForbiddenMeanwhile(t *testing.T) {
	a := assignment()
	for i := range a.Keys {
		a.Keys[i].Models = []string{"other"}
	}
	e := start(t, plugin.New(), bundle(t, a))
	e.call(chat(), asking("other"))
	raw, err := e.host.GetProperty([]string{trail.Property})
	if err != nil {
		t.Fatal(err)
	}
	tr, ok := trail.Parse(raw)
	if !ok {
		t.Fatal("no trail")
	}
	tr.Model, tr.Call = "llama", 0 // as of a gate in another VM
	if err := e.host.SetProperty([]string{trail.Property}, tr.Append(nil)); err != nil {
		t.Fatal(err)
	}
	attempt := e.try()
	e.want("the attempt", e.said(attempt), `403 model_not_allowed "" No Groq key may serve model llama.`)
	sent := e.host.GetSentLocalResponse(attempt)
	e.finish(append([][2]string{{":status", "403"}}, sent.Headers...), string(sent.Data))
	if got := e.host.GetCurrentResponseHeaders(e.gate); value(got, "x-keywheel-refused") != "" {
		t.Errorf("%v", got)
	}
	if g := gateUsage(e.report()); g.CallerFaults != 1 || g.Refused != 0 {
		t.Errorf("%+v", g)
	}
}

func TestAKeyThatIsAskedFor(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Policy.UseKey = true
		e := start(t, vm, bundle(t, a))
		use := func(key string) [][2]string { return chat([2]string{"x-keywheel-use-key", key}) }
		e.want("none", e.served(chat(), question), "gsk_1")
		e.want("2", e.served(use(" 2 "), question), "gsk_2")
		e.want("3", e.served(use("3"), question), "gsk_3")
		e.want("empty", e.served(use(""), question), "gsk_1")
		if got := value(e.host.GetCurrentRequestHeaders(e.gate), "x-keywheel-use-key"); got != "" {
			t.Errorf("it goes on to Groq: %s", got)
		}
		e.want("9", e.refused(use("9"), question), `400 unknown_key "" There is no Groq key 9; there is key 1, key 2, key 3.`)
		e.want("two of them", e.refused(append(use("1"), [2]string{"x-keywheel-use-key", "2"}), question),
			`400 unknown_key "" There is no Groq key 1, 2; there is key 1, key 2, key 3.`)

		e.call(use("2"), question)
		if got := e.answer(e.try(), [][2]string{{":status", "503"}}, ""); value(got, "x-keywheel-rotate") != "" {
			t.Errorf("another key was asked for: %v", got)
		}
		e.end()
		e.call(use("2"), question)
		if got := e.answer(e.try(), [][2]string{{":status", "429"}, {"retry-after", "20"}}, "{}"); value(got, "x-keywheel-rotate") != "" || value(got, "retry-after") != "20" {
			t.Errorf("%v", got)
		}
		e.end()
		r := e.report()
		if len(r.Notes) != 2 || r.Notes[0].To != "1.1" || r.Notes[1].Kind != protocol.NoteCompletion {
			t.Errorf("the key in use changed: %+v", r.Notes)
		}
		got := e.refused(use("2"), question)
		if !strings.HasPrefix(got, `429 all_keys_exhausted "`) || !strings.Contains(got, "The Groq key that was asked for is out: key 2 cooling until ") {
			t.Errorf("while it cools down: %s", got)
		}
		e.want("another afterwards", e.served(chat(), question), "gsk_1")
		if g := gateUsage(e.report()); g.CallerFaults != 3 || g.Refused != 0 || g.Succeeded != 5 {
			t.Errorf("a wanted key that is out is no outage: %+v", g)
		}
	})
}

func TestNobodyAsksForAKeyUnlessAllowed(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	e.want("switched off", e.served(chat([2]string{"x-keywheel-use-key", "2"}), question), "gsk_1")
	if got := value(e.host.GetCurrentRequestHeaders(e.gate), "x-keywheel-use-key"); got != "" {
		t.Errorf("it goes on to Groq: %s", got)
	}
}

func TestCallersAreCounted(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Policy.CallerHeader = "x-team"
		e := start(t, vm, bundle(t, a))
		team := func(names ...string) (headers [][2]string) {
			for _, n := range names {
				headers = append(headers, [2]string{"x-team", n})
			}
			return chat(headers...)
		}
		e.served(team("red"), question)
		e.served(team(" red\t"), question)
		if got := value(e.host.GetCurrentRequestHeaders(e.gate), "x-team"); got != "" {
			t.Errorf("it goes on to Groq: %s", got)
		}
		e.served(team("blue", "green"), question)
		e.served(team(strings.Repeat("x", 64)), question)
		e.served(team(strings.Repeat("x", 65)), question)
		e.served(team("t\xc3\xa9l\xc3\xa9"), question)
		e.served(team("a\x01b"), question)
		e.served(team(""), question)
		e.served(chat(), question)
		e.refused([][2]string{{":method", "GET"}, {":path", "/v1/files"}, {"x-team", "red"}}, "")
		e.call(team("lost"), question)
		e.try() // which gets no answer
		e.end()
		var got []protocol.CallerUsage
		for _, w := range e.report().Windows {
			got = append(got, w.Callers...)
		}
		use := func(name string, refused, calls int64) protocol.CallerUsage {
			return protocol.CallerUsage{Caller: name, Requests: refused + calls, Prompt: 10 * calls, Completion: 90 * calls, Total: 100 * calls}
		}
		lost := int64(len(question) / 4)
		want := []protocol.CallerUsage{
			use("red", 1, 2), use("blue, green", 0, 1), use(strings.Repeat("x", 64), 0, 1), use("other", 0, 3), use("none", 0, 2),
			{Caller: "lost", Requests: 1, Total: lost},
		}
		less := cmpopts.SortSlices(func(a, b protocol.CallerUsage) bool { return a.Caller < b.Caller })
		if d := cmp.Diff(want, got, less); d != "" {
			t.Error(d)
		}
	})
}

func TestCallersCostNothingUnlessAskedFor(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	e.served(chat([2]string{"x-team", "red"}), question)
	if got := value(e.host.GetCurrentRequestHeaders(e.gate), "x-team"); got != "red" {
		t.Error("a header that means nothing here was taken off")
	}
	for _, w := range e.report().Windows {
		if len(w.Callers) > 0 {
			t.Errorf("%+v", w.Callers)
		}
	}
	for _, name := range []string{"kw/callers/0", "kw/callers/1"} {
		if _, _, there := (shareddata.Host{}).Get(name); there {
			t.Errorf("there is an entry %s", name)
		}
	}
}
