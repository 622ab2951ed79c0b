package plugin_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"keywheel/filter/plugin"
	"keywheel/shared/protocol"
)

const (
	ofIstio   = "outbound|18000||keywheel.keywheel.svc.cluster.local"
	groqIstio = "outbound|443||api.groq.com"
	byJSON    = `{"control_plane": "` + ofIstio + `", "token": "proxy-token"}`
)

// startRemote starts a gate alone whose configuration is JSON, on a route to Groq.
func startRemote(t *testing.T, vm types.VMContext, config string) *envoy {
	t.Helper()
	e := startAs(t, vm, protocol.GateOnlyResource, []byte(config))
	e.route(groqIstio)
	return e
}

// route makes the calls that follow lead to a cluster.
func (e *envoy) route(cluster string) {
	e.t.Helper()
	if err := e.host.SetProperty([]string{"xds", "cluster_name"}, []byte(cluster)); err != nil {
		e.t.Fatal(err)
	}
}

// asked waits until the assignment is asked for again and returns the request.
func (e *envoy) asked() proxytest.HttpCalloutAttribute {
	e.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		n := len(e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID))
		e.host.Tick()
		for _, c := range e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)[n:] {
			if value(c.Headers, ":path") == protocol.AssignmentPath {
				return c
			}
		}
	}
	e.t.Fatal("the assignment is not asked for")
	return proxytest.HttpCalloutAttribute{}
}

// fetched answers the next request for the assignment and returns it.
func (e *envoy) fetched(status, etag string, body []byte) proxytest.HttpCalloutAttribute {
	e.t.Helper()
	c := e.asked()
	e.host.CallOnHttpCallResponse(c.CalloutID, [][2]string{{":status", status}, {"etag", etag}}, nil, body)
	return c
}

// answered answers the newest report.
func (e *envoy) answered(r *protocol.Report, a protocol.Answer) {
	e.t.Helper()
	a.Version, a.Epoch, a.Incarnation, a.NowMS = protocol.Version, max(1, a.Epoch), r.Incarnation, r.NowMS
	body, err := json.Marshal(a)
	if err != nil {
		e.t.Fatal(err)
	}
	calls := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
	for i := len(calls) - 1; i >= 0; i-- {
		if value(calls[i].Headers, ":path") == protocol.ReportPath {
			e.host.CallOnHttpCallResponse(calls[i].CalloutID, [][2]string{{":status", "200"}}, nil, body)
			return
		}
	}
	e.t.Fatal("there is no report")
}

func TestTheAssignmentIsFetched(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		e := startRemote(t, vm, byJSON)
		if e.alone(chat(), question) != types.ActionPause {
			t.Fatal("served without keys")
		}
		if got := e.said(e.gate); !strings.HasPrefix(got, `503 no_assignment "1"`) {
			t.Error(got)
		}
		e.end()
		c := e.fetched("200", `"v1"`, bundle(t, assignment()))
		if c.Upstream != ofIstio || value(c.Headers, ":method") != "GET" || value(c.Headers, "authorization") != "Bearer proxy-token" || value(c.Headers, "if-none-match") != "" {
			t.Errorf("asked %s with %v", c.Upstream, c.Headers)
		}
		if e.alone(chat([2]string{"content-length", "61"}), question) != types.ActionContinue {
			t.Fatal("not admitted")
		}
		e.want("the key", e.secret(), "gsk_1")
		e.replied(ok, reply)
		for len(e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)) < 2 {
			e.host.Tick()
		}
		calls := e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
		var r protocol.Report
		last := calls[len(calls)-1]
		if err := json.Unmarshal(last.Body, &r); err != nil || last.Upstream != ofIstio || value(last.Headers, ":path") != protocol.ReportPath {
			t.Fatalf("%v: %s to %s", err, last.Body, last.Upstream)
		}
		if used(&r)["1.1"] != 100 || r.Config != 7 || r.Mode != protocol.ModeGateOnly {
			t.Errorf("%+v", r)
		}
		for _, log := range [][]string{e.host.GetErrorLogs(), e.host.GetInfoLogs(), e.host.GetWarnLogs(), e.host.GetCriticalLogs(), e.host.GetDebugLogs()} {
			for _, line := range log {
				if strings.Contains(line, "gsk_") || strings.Contains(line, "proxy-token") {
					t.Errorf("a secret in the log: %s", line)
				}
			}
		}
	})
}

// remoteReport is the next report of a filter that fetches.
func (e *envoy) remoteReport() *protocol.Report {
	e.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		n := len(e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID))
		e.host.Tick()
		for _, c := range e.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)[n:] {
			if value(c.Headers, ":path") != protocol.ReportPath {
				continue
			}
			var r protocol.Report
			if err := json.Unmarshal(c.Body, &r); err != nil {
				e.t.Fatal(err)
			}
			return &r
		}
	}
	e.t.Fatal("no report")
	return nil
}

func TestANewerAssignmentIsFetchedWhenAnAnswerTellsOfIt(t *testing.T) {
	e := startRemote(t, plugin.New(), byJSON)
	e.fetched("200", `"v1"`, bundle(t, assignment()))
	e.answered(e.remoteReport(), protocol.Answer{Generation: 9, Assignment: 9})
	newer := assignment()
	newer.Generation = 9
	newer.Keys = newer.Keys[1:]
	if c := e.fetched("304", `"v1"`, nil); value(c.Headers, "if-none-match") != `"v1"` {
		t.Errorf("asked with %v", c.Headers)
	}
	e.fetched("200", `"v2"`, bundle(t, newer))
	e.alone(chat(), question)
	e.want("the key", e.secret(), "gsk_2")
	e.end()
	if r := e.remoteReport(); r.Config != 9 {
		t.Errorf("it runs generation %d", r.Config)
	}
}

// An older assignment, a broken one and one without its secrets leave the last good one in force.
func TestAFetchedAssignmentThatCannotBeUsed(t *testing.T) {
	good := bundle(t, assignment())
	older := assignment()
	older.Generation, older.Keys = 6, older.Keys[2:]
	bare := assignment()
	bare.Generation = 8
	bare.Keys[0].Credential = "1.2"
	for name, c := range map[string]struct {
		body []byte
		bad  int64
	}{
		"older":            {bundle(t, older), 0},
		"cut":              {good[:len(good)/2], 1},
		"empty":            {nil, 1},
		"text":             {[]byte(`{"error":"no"}`), 1},
		"without a secret": {bytes.ReplaceAll(bundle(t, bare), []byte("\n\x031.2"), []byte("\n\x031.1")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := startRemote(t, plugin.New(), byJSON)
			e.fetched("200", `"v1"`, good)
			e.answered(e.remoteReport(), protocol.Answer{Generation: 9, Assignment: 9})
			e.fetched("200", `"v2"`, c.body)
			e.alone(chat(), question)
			e.want("the key", e.secret(), "gsk_1")
			e.end()
			if r := e.remoteReport(); r.BadConfigs != c.bad || r.Config != 7 {
				t.Errorf("%d bad configurations, generation %d", r.BadConfigs, r.Config)
			}
			if got := len(e.host.GetErrorLogs()); got != int(c.bad) {
				t.Errorf("%d lines: %v", got, e.host.GetErrorLogs())
			}
		})
	}
}

// What is wrong is said once, with what to change.
func TestWhyThereIsNoAssignment(t *testing.T) {
	for status, c := range map[string]struct {
		says string
		wasm bool
	}{
		"401": {"does not accept the token (401); give the plugin's KEYWHEEL_PROXY_TOKEN", true},
		"403": {"set its KEYWHEEL_PROXY_TOKEN", false},
		"404": {"set control_plane to the cluster of Keywheel's KEYWHEEL_XDS_ADDR", false},
		"503": {"cannot be reached through cluster " + ofIstio, false},
		"500": {"answered 500", false},
	} {
		t.Run(status, func(t *testing.T) {
			goOr(t, c.wasm, func(t *testing.T, vm types.VMContext) {
				e := startRemote(t, vm, byJSON)
				e.fetched(status, "", []byte(`{"error":"x"}`))
				e.fetched(status, "", []byte(`{"error":"x"}`))
				if logs := e.host.GetErrorLogs(); len(logs) != 1 || !strings.Contains(logs[0], c.says) {
					t.Errorf("said %q", logs)
				}
			})
		})
	}
}

func TestRemoteConfigurations(t *testing.T) {
	t.Setenv(protocol.ProxyTokenVariable, "")
	for name, c := range map[string]struct{ config, says string }{
		"no object":      {`{"control_plane"`, "it is no JSON object"},
		"nothing":        {` {}`, "it has no control_plane"},
		"no token":       {`{"control_plane": "keywheel"}`, "KEYWHEEL_PROXY_TOKEN"},
		"a field amiss":  {`{"control_plane": "keywheel", "token": "x", "controlplane": "y"}`, `the unknown field "controlplane"`},
		"another's text": {"\n{\"rules\": []}", "it has no control_plane"},
	} {
		t.Run(name, func(t *testing.T) {
			e := startAs(t, plugin.New(), protocol.GateOnlyResource, []byte(c.config))
			if got := strings.Join(e.host.GetErrorLogs(), "\n"); !strings.Contains(got, c.says) {
				t.Errorf("said %q", got)
			}
		})
	}
	t.Setenv(protocol.ProxyTokenVariable, " from-the-environment\n")
	e := startAs(t, plugin.New(), protocol.GateOnlyResource, []byte(byJSON))
	if got := value(e.asked().Headers, "authorization"); got != "Bearer from-the-environment" {
		t.Errorf("asked with %q", got)
	}
}

// A host that cannot let headers wait: the model is not seen, nothing is ever held.
func TestWithoutHolding(t *testing.T) {
	both(t, func(t *testing.T, vm types.VMContext) {
		a := assignment()
		a.Keys[0].Models = []string{"llama"}
		e := startRemote(t, vm, byJSON)
		e.fetched("200", `"v1"`, bundle(t, a))
		if got := e.host.GetWarnLogs(); len(got) != 1 || !strings.Contains(got[0], "keys 1;") {
			t.Errorf("warned: %q", got)
		}
		named := chat([2]string{"x-keywheel-model", "llama"})
		e.gate = e.host.InitializeHttpContext()
		if e.host.CallOnRequestHeaders(e.gate, named, false) != types.ActionContinue {
			t.Fatal("headers wait for the body")
		}
		e.want("a key that is kept for a model does not go by the caller's word", e.secret(), "gsk_2")
		e.want("the header goes no further", value(e.host.GetCurrentRequestHeaders(e.gate), "x-keywheel-model"), "")
		for _, p := range []string{question[:10], question[10:]} {
			if e.host.CallOnRequestBody(e.gate, []byte(p), p == question[10:]) != types.ActionContinue {
				t.Fatal("the body is held")
			}
		}
		e.replied([][2]string{{":status", "429"}, {"retry-after", "20"}}, "{}")
		e.alone(chat(), question)
		e.want("another model", e.secret(), "gsk_2") // what was learned holds for the model that was named
		e.replied([][2]string{{":status", "429"}, {"retry-after", "20"}}, "{}")
		e.alone(chat(), question)
		e.want("a model that nobody named", e.secret(), "gsk_3")
		e.end()
		for i := range a.Keys {
			a.Keys[i].Models = []string{"llama"}
		}
		a.Generation++
		e.answered(e.remoteReport(), protocol.Answer{Generation: 8, Assignment: 8})
		e.fetched("200", `"v2"`, bundle(t, a))
		if e.alone(named, question) != types.ActionPause {
			t.Fatal("let through")
		}
		e.want("all are kept", e.said(e.gate), `403 model_not_allowed "" No Groq key may serve model llama.`+
			` Bodies are not looked into here, so keys that are kept for certain models take nothing.`)
	})
}

func TestHoldingWhereTheHostCan(t *testing.T) {
	a := assignment()
	a.Keys[0].Models = []string{"other"}
	e := startRemote(t, plugin.New(), strings.Replace(byJSON, "{", `{"hold": true, `, 1))
	e.fetched("200", `"v1"`, bundle(t, a))
	e.gate = e.host.InitializeHttpContext()
	if e.host.CallOnRequestHeaders(e.gate, chat(), false) != types.ActionPause {
		t.Fatal("the body is not awaited")
	}
	e.host.CallOnRequestBody(e.gate, []byte(question), true)
	e.want("the key", e.secret(), "gsk_2")
	e.end()
	e.alone(chat(), asking("other"))
	e.want("the key that is kept for the model", e.secret(), "gsk_1")
	e.end()
}

// A key goes to clusters of Groq's only. What leads elsewhere passes as if there were no filter.
func TestKeysGoNowhereElse(t *testing.T) {
	for _, c := range []struct {
		clusters, cluster string
		served            bool
	}{
		{"", groqIstio, true},
		{"", "groq", true},
		{"", "outbound|443||api.openai.com", false},
		{"", "PassthroughCluster", false},
		{`, "clusters": ["llm", "outbound|*||api.groq.com"]`, groqIstio, true},
		{`, "clusters": ["llm", "outbound|*||api.groq.com"]`, "outbound|443||api.groq.com.evil.example", false},
		{`, "clusters": ["llm", "outbound|*||api.groq.com"]`, "llm", true},
		{`, "clusters": ["llm", "outbound|*||api.groq.com"]`, "llm2", false},
		{`, "clusters": []`, groqIstio, false},
		{`, "clusters": ["*"]`, "anything", true},
	} {
		t.Run(c.clusters+" "+c.cluster, func(t *testing.T) {
			e := startRemote(t, plugin.New(), strings.Replace(byJSON, "}", c.clusters+"}", 1))
			e.fetched("200", `"v1"`, bundle(t, assignment()))
			e.route(c.cluster)
			e.alone(chat([2]string{"authorization", "Bearer mine"}), question)
			if c.served {
				e.want("the key", e.secret(), "gsk_1")
				e.end()
				return
			}
			e.want("it passes untouched", e.secret(), "mine")
			got := e.replied(append([][2]string{{"set-cookie", "a=b"}}, ok...), reply)
			e.want("its answer too", value(got, "set-cookie")+value(got, "x-keywheel-key"), "a=b")
			e.alone([][2]string{{":method", "GET"}, {":path", "/other"}}, "")
			if e.host.GetSentLocalResponse(e.gate) != nil {
				t.Error("another service's path was refused")
			}
			e.end()
			if g := gateUsage(e.remoteReport()); g.Requests != 0 {
				t.Errorf("counted: %+v", g)
			}
		})
	}
}
