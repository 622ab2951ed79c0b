package plugin_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/trail"
	"keywheel/shared/groq"
	"keywheel/shared/protocol"
)

// exchange is a recorded answer and the usage expected of it.
type exchange struct {
	name, contentType string
	body              string
	prompt, completion,
	cached, total int64
}

const recordingsDir = "../../../shared/groq-recordings"

// recordings reads the recorded answers that state a usage.
func recordings(t *testing.T) []exchange {
	t.Helper()
	metas, err := filepath.Glob(filepath.Join(recordingsDir, "*", "meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(metas) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("the recordings are missing")
		}
		t.Skip("the recordings are not here")
	}
	var out []exchange
	for _, path := range metas {
		x, usage := readExchange(t, filepath.Dir(path))
		if usage {
			out = append(out, x)
		}
	}
	return out
}

func readExchange(t *testing.T, dir string) (x exchange, usage bool) {
	t.Helper()
	var meta struct {
		Stream   bool
		Status   int
		Endpoint string
		Expected map[string]*int64
	}
	b, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err == nil {
		err = json.Unmarshal(b, &meta)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "body.bin"))
	if err != nil {
		t.Fatal(err)
	}
	x = exchange{name: filepath.Base(dir), contentType: "application/json", body: string(body)}
	if meta.Stream {
		x.contentType = "text/event-stream"
	}
	for name, to := range map[string]*int64{"prompt_tokens": &x.prompt, "completion_tokens": &x.completion, "cached_tokens": &x.cached, "total_tokens": &x.total} {
		if v := meta.Expected[name]; v != nil {
			*to = *v
		}
	}
	live := strings.HasPrefix(x.name, "json-") || strings.HasPrefix(x.name, "stream-") || strings.HasPrefix(x.name, "responses-")
	return x, live && meta.Status == 200 && x.total > 0
}

// Positions at which the compiled module is given an answer in two: the first, the last, and the whole.
const (
	firstSplits = 200
	lastSplits  = 2000
)

func splits(n int) []int {
	out := []int{n}
	for i := 1; i < n; i++ {
		if i <= firstSplits || i >= n-lastSplits {
			out = append(out, i)
		}
	}
	return out
}

// perModule is how many recordings one module is given: it takes seconds to load, and the emulator never lets its streams go.
const perModule = 12

// The compiled module counts every recorded answer, wherever it is cut.
func TestModuleMetersTheRecordings(t *testing.T) { meterCut(t, recordings(t)) }

// The compiled module counts the project's own answers as the Go code does, which shared/groq tests at every cut.
func TestModuleMetersTheFixtures(t *testing.T) {
	const dir, least = "../../shared/groq/testdata/answers", 10
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var own []exchange
	for _, path := range files {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		x := exchange{name: filepath.Base(path), contentType: "application/json", body: string(body)}
		if filepath.Ext(path) == ".sse" {
			x.contentType = "text/event-stream"
		}
		m := groq.NewMeter(x.contentType)
		m.Feed(body)
		m.End()
		if u := m.Usage(); u.Known {
			x.prompt, x.completion, x.cached, x.total = u.Prompt, u.Completion, u.Cached, u.Total
			own = append(own, x)
		}
	}
	if len(own) < least {
		t.Fatalf("%d answers with a usage in %s", len(own), dir)
	}
	meterCut(t, own)
}

// meterCut passes each answer by the gate, cut at every position of splits. The sum over all cuts shows a single wrong one.
func meterCut(t *testing.T, exchanges []exchange) {
	t.Helper()
	for some := range slices.Chunk(exchanges, perModule) {
		a := assignment()
		a.Policy.ReportIntervalMS = 1
		a.Keys[0].Fresh[0].Tokens = protocol.Unlimited
		e := start(t, module(t), bundle(t, a))
		e.call(chat(), "")
		mark, err := e.host.GetProperty([]string{trail.Property})
		if err != nil {
			t.Fatal(err)
		}
		tr, _ := trail.Parse(mark)
		tr.Tries = []trail.Try{{Credential: "1.1"}}
		before := e.counted()
		for _, x := range some {
			t.Run(x.name, func(t *testing.T) {
				cuts := splits(len(x.body))
				for _, cut := range cuts {
					e.replay(tr.Append(nil), x, cut)
				}
				after := e.counted()
				n := int64(len(cuts))
				want := protocol.ModelUsage{Prompt: n * x.prompt, Completion: n * x.completion, Cached: n * x.cached, Total: n * x.total}
				got := protocol.ModelUsage{
					Prompt: after.Prompt - before.Prompt, Completion: after.Completion - before.Completion,
					Cached: after.Cached - before.Cached, Total: after.Total - before.Total, Estimated: after.Estimated - before.Estimated,
				}
				if got != want {
					t.Errorf("over %d cuts %+v, want %+v", n, got, want)
				}
				before = after
			})
		}
		e.stop()
	}
}

// counted is the sum over all models of the next report.
func (e *envoy) counted() (sum protocol.ModelUsage) {
	for _, w := range e.report().Windows {
		for _, c := range w.Credentials {
			for _, m := range c.Models {
				sum.Prompt += m.Prompt
				sum.Completion += m.Completion
				sum.Cached += m.Cached
				sum.Total += m.Total
				sum.Estimated += m.Estimated
			}
		}
	}
	return sum
}

// replay passes an answer by the gate in two pieces.
func (e *envoy) replay(mark []byte, x exchange, cut int) {
	id := e.host.InitializeHttpContext()
	if e.host.CallOnRequestHeaders(id, chat(), true) != types.ActionContinue {
		e.t.Fatal("not admitted")
	}
	_ = e.host.SetProperty([]string{trail.Property}, mark)
	e.host.CallOnResponseHeaders(id, [][2]string{{":status", "200"}, {"content-type", x.contentType}, {"x-keywheel-key", "1"}}, false)
	e.host.CallOnResponseBody(id, []byte(x.body[:cut]), cut == len(x.body))
	if cut < len(x.body) {
		e.host.CallOnResponseBody(id, []byte(x.body[cut:]), true)
	}
	e.host.CompleteHttpContext(id)
}
