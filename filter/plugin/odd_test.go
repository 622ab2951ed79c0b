package plugin_test

import (
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/plugin"
)

// Answers of unusual form are counted right, or estimated and marked so where they cannot be read, and never hold anything.
func TestOddAnswers(t *testing.T) {
	prompt := int64(len(question) / 4)
	for name, c := range map[string]struct {
		headers  [][2]string
		pieces   []string
		trailers bool
		used     int64
		estimate bool
	}{
		"204":                          {[][2]string{{":status", "204"}}, nil, false, 0, false},
		"200 without a body":           {[][2]string{{":status", "200"}, {"content-length", "0"}}, nil, false, 0, false},
		"an empty body":                {ok, []string{""}, false, prompt, true},
		"trailers after JSON":          {ok, []string{reply}, true, 100, false},
		"trailers after a stream":      {[][2]string{{":status", "200"}, {"content-type", "text/event-stream"}}, []string{"data: " + reply + "\n\n", "data: [DONE]"}, true, 100, false},
		"JSON that is called text":     {[][2]string{{":status", "200"}, {"content-type", "text/plain"}}, []string{reply}, false, 100, false},
		"JSON that is called stream":   {[][2]string{{":status", "200"}, {"content-type", "text/event-stream"}}, []string{reply}, false, 100, false},
		"a stream that is called JSON": {ok, []string{"data: " + reply + "\n\n"}, false, 100, false},
		"no content type":              {[][2]string{{":status", "200"}}, []string{reply[:10], reply[10:]}, false, 100, false},
		"another 2xx":                  {[][2]string{{":status", "206"}, {"content-type", "application/json"}}, []string{reply}, false, 100, false},
		"compressed unasked": {[][2]string{{":status", "200"}, {"content-type", "application/json"}, {"content-encoding", "gzip"}},
			[]string{"\x1f\x8b" + strings.Repeat("\xa5", 398)}, false, prompt + 100, true},
		"a page": {[][2]string{{":status", "200"}, {"content-type", "text/html"}}, []string{"<html>" + strings.Repeat("x", 94)}, false, prompt + 25, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, plugin.New(), bundle(t, assignment()))
			e.call(chat(), question)
			attempt, served := e.upstream()
			if !served {
				t.Fatal("not served")
			}
			for _, context := range []uint32{attempt, e.gate} {
				headers := c.headers
				if context == e.gate {
					headers = append([][2]string{{"x-keywheel-key", "1"}}, headers...)
				}
				if e.host.CallOnResponseHeaders(context, headers, c.pieces == nil) != types.ActionContinue {
					t.Error("the headers are held")
				}
				for i, p := range c.pieces {
					if e.host.CallOnResponseBody(context, []byte(p), i == len(c.pieces)-1 && !c.trailers) != types.ActionContinue {
						t.Error("the body is held")
					}
				}
				if c.trailers && e.host.CallOnResponseTrailers(context, [][2]string{{"x-t", "v"}}) != types.ActionContinue {
					t.Error("the trailers are held")
				}
			}
			e.end()
			r := e.report()
			settled(t, r)
			if got := used(r)["1.1"]; got != c.used {
				t.Errorf("used %d, want %d", got, c.used)
			}
			if c.used > 0 && (r.Windows[0].Credentials[0].Models[0].Estimated > 0) != c.estimate {
				t.Errorf("estimate: %+v", r.Windows[0].Credentials[0].Models)
			}
			if g := gateUsage(r); g.Succeeded != 1 {
				t.Errorf("%+v", g)
			}
			e.sound()
		})
	}
}

// HEAD and other methods than the endpoint's reach nobody.
func TestOtherMethodsAreRefused(t *testing.T) {
	e := start(t, plugin.New(), bundle(t, assignment()))
	for _, h := range [][2]string{{"HEAD", "/v1/models"}, {"OPTIONS", "/v1/chat/completions"}, {"CONNECT", "/v1/chat/completions"}, {"", ""}} {
		if e.call([][2]string{{":method", h[0]}, {":path", h[1]}}, "") != types.ActionPause {
			t.Errorf("%v passed", h)
		}
		if status, code := local(t, e, e.gate); status != 403 || code != "endpoint_not_allowed" {
			t.Errorf("%v: %d %s", h, status, code)
		}
		e.end()
	}
}
