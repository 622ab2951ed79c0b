package plugin_test

import (
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"google.golang.org/protobuf/proto"

	"keywheel/filter/plugin"
	"keywheel/filter/trail"
	"keywheel/shared/protocol"
)

const modulePath = "../../build/keywheel.wasm"

// both runs a test against the Go code and against the compiled module.
func both(t *testing.T, test func(t *testing.T, vm types.VMContext)) {
	t.Run("go", func(t *testing.T) { test(t, plugin.New()) })
	t.Run("wasm", func(t *testing.T) { test(t, module(t)) })
}

// goOr runs a test against the Go code, and against the compiled module, which takes a second to load, where asked to.
func goOr(t *testing.T, wasm bool, test func(t *testing.T, vm types.VMContext)) {
	if wasm {
		both(t, test)
		return
	}
	test(t, plugin.New())
}

func module(t *testing.T) types.VMContext {
	t.Helper()
	b, err := os.ReadFile(modulePath)
	if os.IsNotExist(err) && os.Getenv("CI") == "" {
		t.Skip("the compiled module is missing; run make build")
	}
	if err != nil {
		t.Fatal(err)
	}
	vm, err := proxytest.NewWasmVMContext(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Close() })
	return vm
}

// assignment gives three keys 10,000 tokens each, from a window before any clock's on.
func assignment() *protocol.Assignment {
	a := &protocol.Assignment{
		Version: protocol.Version, Epoch: 1, Generation: 7,
		Policy: protocol.Policy{Strategy: "priority", ReportIntervalMS: 1000},
	}
	for i, id := range []string{"1", "2", "3"} {
		a.Keys = append(a.Keys, protocol.Key{
			ID: id, Credential: id + ".1", Priority: i + 1, Org: "org" + id, LimitTokens: 10_000,
			Fresh: []protocol.Fresh{{Window: "2020-01-01", Tokens: 10_000, Requests: protocol.Unlimited}},
		})
	}
	return a
}

func bundle(t *testing.T, a *protocol.Assignment) []byte {
	t.Helper()
	j, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]*corev3.DataSource{}
	add := func(name, value string) {
		secrets[name] = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(value)}}
	}
	add(protocol.AssignmentSecret, string(j))
	add(protocol.TokenSecret, "token")
	for _, k := range a.Keys {
		add(k.Credential, "gsk_"+k.ID)
	}
	b, err := proto.Marshal(&tlsv3.Secret{Name: "keywheel", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secrets: secrets}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// envoy is an emulated host with one client call at a time. It plays the gate's plugin context and the attempt's in
// turn: the emulator has only one.
type envoy struct {
	t    *testing.T
	host proxytest.HostEmulator
	stop func()
	gate uint32
}

func start(t *testing.T, vm types.VMContext, config []byte) *envoy {
	t.Helper()
	return startAs(t, vm, protocol.GateResource, config)
}

func startAs(t *testing.T, vm types.VMContext, role string, config []byte) *envoy {
	t.Helper()
	host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(vm).WithPluginConfiguration(config))
	e := &envoy{t: t, host: host, stop: sync.OnceFunc(reset)} // there can be one host at a time
	t.Cleanup(e.stop)
	e.role(role)
	return e
}

func (e *envoy) role(name string) {
	e.t.Helper()
	if err := e.host.SetProperty([]string{"plugin_root_id"}, []byte(name)); err != nil {
		e.t.Fatal(err)
	}
	if e.host.StartPlugin() != types.OnPluginStartStatusOK {
		e.t.Fatal("the plugin refused its configuration")
	}
}

func chat(extra ...[2]string) [][2]string {
	return append([][2]string{
		{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"},
	}, extra...)
}

// call begins a client call.
func (e *envoy) call(headers [][2]string, body string) types.Action {
	e.t.Helper()
	e.role(protocol.GateResource)
	_ = e.host.SetProperty([]string{trail.Property}, []byte{0})
	e.gate = e.host.InitializeHttpContext()
	action := e.host.CallOnRequestHeaders(e.gate, headers, body == "")
	if body == "" || e.host.GetSentLocalResponse(e.gate) != nil {
		return action
	}
	return e.host.CallOnRequestBody(e.gate, []byte(body), true)
}

// try sends the call upstream once and returns the attempt.
func (e *envoy) try() uint32 {
	e.t.Helper()
	e.role(protocol.AttemptResource)
	id := e.host.InitializeHttpContext()
	e.host.CallOnRequestHeaders(id, [][2]string{{":path", "/openai/v1/chat/completions"}}, false)
	return id
}

func (e *envoy) authorization(attempt uint32) string {
	return value(e.host.GetCurrentRequestHeaders(attempt), "authorization")
}

// answer passes an attempt's answer by it and returns its headers then.
func (e *envoy) answer(attempt uint32, headers [][2]string, body string) [][2]string {
	e.t.Helper()
	if e.host.CallOnResponseHeaders(attempt, headers, body == "") == types.ActionPause {
		if e.host.CallOnResponseBody(attempt, []byte(body), true) == types.ActionPause {
			e.t.Fatal("the answer is still held at its end")
		}
	}
	return e.host.GetCurrentResponseHeaders(attempt)
}

// finish passes an answer by the gate, in pieces, and ends the call.
func (e *envoy) finish(headers [][2]string, pieces ...string) {
	e.t.Helper()
	e.host.CallOnResponseHeaders(e.gate, headers, len(pieces) == 0)
	for i, p := range pieces {
		e.host.CallOnResponseBody(e.gate, []byte(p), i == len(pieces)-1)
	}
	e.end()
}

func (e *envoy) end() { e.host.CompleteHttpContext(e.gate) }

// report waits until the next usage report is due and returns it.
func (e *envoy) report() *protocol.Report {
	e.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		n := len(e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID))
		e.host.Tick()
		calls := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
		if len(calls) == n {
			continue
		}
		last := calls[len(calls)-1]
		if last.Upstream != protocol.ControlPlaneCluster || value(last.Headers, "authorization") != "Bearer token" {
			e.t.Fatalf("report to %s with %v", last.Upstream, last.Headers)
		}
		var r protocol.Report
		if err := json.Unmarshal(last.Body, &r); err != nil {
			e.t.Fatalf("%v in %s", err, last.Body)
		}
		return &r
	}
	e.t.Fatal("no report within ten seconds")
	return nil
}

func value(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func used(r *protocol.Report) map[string]int64 {
	out := map[string]int64{}
	for _, w := range r.Windows {
		for _, c := range w.Credentials {
			for _, m := range c.Models {
				out[c.Credential] += m.Total
			}
		}
	}
	return out
}

func gateUsage(r *protocol.Report) (sum protocol.GateUsage) {
	for _, w := range r.Windows {
		for i := range 8 {
			*sum.Field(i) += *w.Gate.Field(i)
		}
	}
	return sum
}

func local(t *testing.T, e *envoy, id uint32) (status uint32, code string) {
	t.Helper()
	r := e.host.GetSentLocalResponse(id)
	if r == nil {
		t.Fatal("no local answer")
	}
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(r.Data, &body); err != nil || body.Error.Message == "" || body.Error.Type == "" {
		t.Fatalf("%v: %s", err, r.Data)
	}
	return r.StatusCode, body.Error.Code
}

var (
	ok       = [][2]string{{":status", "200"}, {"content-type", "application/json"}}
	okServed = append([][2]string{{"x-keywheel-key", "1"}}, ok...)
)

const (
	question = `{"messages":[{"role":"user","content":"hi"}],"model":"llama"}`
	reply    = `{"model":"llama","usage":{"prompt_tokens":10,"completion_tokens":90,"total_tokens":100}}`
)
