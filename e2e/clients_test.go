package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// caller is an official client: it makes one call with these headers and says what it understood.
type caller func(t *testing.T, call clientCall) understood

type clientCall struct {
	Stream  bool              `json:"stream"`
	Model   string            `json:"model"`
	Headers map[string]string `json:"headers"`
}

type understood struct {
	Status int    `json:"status"`
	Key    string `json:"key"`
	Text   string `json:"text"`
	Total  int64  `json:"total"`
	Error  string `json:"error"`
}

// The official clients, which would give up at an error, see none of those that another key can help with.
func TestOfficialClientsAreRescued(t *testing.T) {
	t.Parallel()
	faults := []fakegroq.Fault{
		fakegroq.RateTPD, fakegroq.InvalidKey, fakegroq.OrgRestricted, fakegroq.SpendLimit, fakegroq.Internal, fakegroq.OverCapacity,
		fakegroq.ResetAfterBody,
	}
	clients := map[string]func(t *testing.T, s *harness.Stack) caller{"OpenAI's for Go": goClient, "Groq's for Python": pythonClient}
	for client, open := range clients {
		for upstream, groq := range upstreams {
			t.Run(client+"/"+upstream, func(t *testing.T) {
				s := harness.Start(t, harness.Options{Groq: groq})
				ask := open(t, s)
				each(t, s, faults, func(t *testing.T, _ *harness.Client, call harness.Call, f fakegroq.Fault) {
					defer s.Recover(t)
					tag := call.Model
					got := ask(t, clientCall{Stream: call.Stream, Model: call.Model, Headers: map[string]string{
						fakegroq.ScriptHeader: fakegroq.Rule{Fault: f, Only: "1"}.String(), fakegroq.TagHeader: tag,
					}})
					attempts := s.Attempts(t, tag)
					if harness.KeysOf(attempts) != "1 2" {
						t.Fatalf("tried keys %q: %+v", harness.KeysOf(attempts), got)
					}
					if got.Error != "" || got.Status != 200 || got.Key != "2" || got.Text == "" || got.Total != attempts[1].Tokens.Total() {
						t.Errorf("the client understood %+v, want one 200 of %d tokens from key 2", got, attempts[1].Tokens.Total())
					}
				})
			})
		}
	}
}

// goClient calls with OpenAI's client for Go.
func goClient(_ *testing.T, s *harness.Stack) caller {
	client := openai.NewClient(option.WithBaseURL(s.H1.URL()+"/openai/v1/"), option.WithAPIKey(harness.ClientSecret), option.WithMaxRetries(0))
	return func(t *testing.T, call clientCall) understood {
		t.Helper()
		var res *http.Response
		opts := []option.RequestOption{option.WithResponseInto(&res)}
		for name, value := range call.Headers {
			opts = append(opts, option.WithHeader(name, value))
		}
		params := openai.ChatCompletionNewParams{
			Model: call.Model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Say hello.")},
		}
		var got understood
		if call.Stream {
			params.StreamOptions.IncludeUsage = openai.Bool(true)
			stream := client.Chat.Completions.NewStreaming(harness.Context(t), params, opts...)
			for stream.Next() {
				chunk := stream.Current()
				for _, choice := range chunk.Choices {
					got.Text += choice.Delta.Content
				}
				got.Total = max(got.Total, chunk.Usage.TotalTokens)
			}
			if err := stream.Err(); err != nil {
				return understood{Error: err.Error()}
			}
		} else {
			completion, err := client.Chat.Completions.New(harness.Context(t), params, opts...)
			if err != nil {
				return understood{Error: err.Error()}
			}
			got.Text, got.Total = completion.Choices[0].Message.Content, completion.Usage.TotalTokens
		}
		got.Status, got.Key = res.StatusCode, res.Header.Get("x-keywheel-key")
		return got
	}
}

// needPython returns the Python of build/venv, which `make python` makes, once it has these modules. Where it has not, the
// test is skipped; with CI=true it fails.
func needPython(t *testing.T, modules ...string) string {
	t.Helper()
	python := filepath.Join(harness.Root(t), "build", "venv", "bin", "python")
	if err := exec.Command(python, "-c", "import "+strings.Join(modules, ", ")).Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Python's %v are not there, run make python: %v", modules, err)
		}
		t.Skipf("Python's %v are not there, run make python: %v", modules, err)
	}
	return python
}

// pythonClient calls with Groq's client for Python.
func pythonClient(t *testing.T, s *harness.Stack) caller {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), needPython(t, "groq"), filepath.Join("testdata", "groq_client.py"), s.H1.URL(), harness.ClientSecret)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // the end of the test may have killed it
	})
	lines := bufio.NewScanner(out)
	return func(t *testing.T, call clientCall) understood {
		t.Helper()
		text, err := json.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(in, "%s\n", text); err != nil {
			t.Fatal(err)
		}
		var got understood
		if !lines.Scan() {
			t.Fatalf("the client has ended: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		return got
	}
}
