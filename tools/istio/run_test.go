package istio

import (
	"fmt"
	"net/http"
	"testing"

	"istio.io/istio/pilot/pkg/model"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// installed is a mesh in which Keywheel runs as keywheel.yaml has it.
type installed struct {
	stack     harness.Stack // Groq, Keywheel, the keys and an HTTP/1.1 client of the application's
	agent     *agent
	addresses []string // what to put in place of what, in the example's files
	inbound   string   // host:port of Keywheel's sidecar
	app       string   // host:port at which the application's calls come to its proxy
}

// install runs Groq, Keywheel with further settings, and Keywheel's own sidecar.
func install(t *testing.T, settings map[string]string) *installed {
	t.Helper()
	harness.EnvoyBinary(t) // skips before anything is built
	in := &installed{inbound: harness.FreeAddr(t), app: harness.FreeAddr(t)}
	in.stack.Keys = harness.Keys(2, 0)
	in.stack.Groq = harness.StartGroq(t, fakegroq.Options{TLS: &fakegroq.TLS{}}, in.stack.Keys)
	in.agent = startAgent(t, in.stack.Groq.CA())
	xds := harness.FreeAddr(t)
	in.stack.Keywheel = harness.NewKeywheel(t, harness.KeywheelOptions{Keys: in.stack.Keys, Settings: settings})
	in.stack.Keywheel.Set("KEYWHEEL_XDS_ADDR", xds)
	in.stack.Keywheel.Start(t, "serve")
	in.addresses = []string{"127.0.0.1:18000", xds, "18000", port(in.inbound), "/opt/keywheel/keywheel.wasm", in.stack.Keywheel.Product.Wasm,
		"address: keywheel.keywheel.svc.cluster.local", "address: 127.0.0.1"}

	d := istiod(t, documents(t, in.addresses, "keywheel.yaml"))
	proxy := workload(d, model.SidecarProxy, "keywheel", map[string]string{"app": "keywheel"})
	has := generated(t, d, proxy, map[string]string{"virtualInbound": in.inbound}, nil)
	harness.NewEnvoy(t, in.agent.bootstrap(t, "keywheel", has, nil)).Start(t)
	in.stack.H1 = in.call(t, fakegroq.GroqHost)
	return in
}

// start runs a proxy of which the bootstrap was customised by docs, and returns once it has its keys.
func (in *installed) start(t *testing.T, namespace string, has resources, docs []document) *harness.Envoy {
	t.Helper()
	e := harness.NewEnvoy(t, in.agent.bootstrap(t, namespace, has, docs))
	e.Start(t)
	harness.Eventually(t, "both roles have their assignment", func() error {
		stats, have := e.Stats(t, `extension_config_discovery\..*keywheel\.(gate|attempt)\.config_reload$`), 0
		for _, n := range stats {
			have += int(min(n, 1))
		}
		if have < 2 {
			return fmt.Errorf("config_reload is %v", stats)
		}
		return nil
	})
	in.stack.Keywheel.WaitGranted(t, 0)
	return e
}

// rotates makes calls of which one meets a limit, and compares the account with the truth.
func (in *installed) rotates(t *testing.T) {
	t.Helper()
	s := &in.stack
	if a := s.H1.Do(t, harness.Call{Path: "/v1/chat/completions"}); a.Status != http.StatusOK || a.Key != "1" {
		t.Fatalf("want key 1's answer, got %s", a)
	}
	s.Script(t, "1", fakegroq.Rule{Fault: fakegroq.RateTPM})
	a := s.H1.Do(t, harness.Call{})
	if a.Status != http.StatusOK || a.Key != "2" || a.Header.Get("x-keywheel-rotate") != "" {
		t.Fatalf("want key 2's answer, got %s %v", a, a.Header)
	}
	attempts := s.Attempts(t, a.Tag)
	if keys := harness.KeysOf(attempts); keys != "1 2" {
		t.Errorf("the call was tried with the keys %q, want 1 and 2", keys)
	}
	for _, got := range attempts {
		if got.SNI != fakegroq.GroqHost || got.Host != fakegroq.GroqHost || got.Proto != "HTTP/2.0" || got.Path != harness.ChatPath {
			t.Errorf("Groq saw SNI %q, Host %q, %s %s", got.SNI, got.Host, got.Proto, got.Path)
		}
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Client-Cert", "X-Envoy-Peer-Metadata"} {
			if got.Header.Get(name) != "" {
				t.Errorf("Groq is told %s: %s", name, got.Header.Get(name))
			}
		}
	}
	for _, path := range []string{"/openai/v1/files", "/v1/audio%2fspeech", "/"} {
		if a := s.H1.Do(t, harness.Call{Path: path}); a.Status != http.StatusForbidden || a.ErrorCode() != "endpoint_not_allowed" {
			t.Errorf("%s: want 403 endpoint_not_allowed, got %s", path, a)
		}
	}
	s.AssertOracle(t)
	if pool := s.Keywheel.Pool(t); pool.Rescues != 1 {
		t.Errorf("the account knows %d rescues, want 1", pool.Rescues)
	}
}

// called makes a client's calls ask for a host by its name, on whatever address they come.
type called struct {
	host string
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c called) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = c.host
	return c.RoundTripper.RoundTrip(r)
}

// call asks the application's proxy for a host.
func (in *installed) call(t *testing.T, host string) *harness.Client {
	c := harness.NewClient(t, in.app, false)
	c.HTTP().Transport = called{host, c.HTTP().Transport}
	return c
}
