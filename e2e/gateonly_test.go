package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
)

// proxyToken is what filters fetch their assignment with.
const proxyToken = "CANARYproxyToken8sYt3mXc6pJf9hGa2e5vLq0"

// gateOnly are the two ways in which a gate alone gets its assignment.
func gateOnly(t *testing.T, test func(t *testing.T, o harness.Options)) {
	t.Run("by ECDS", func(t *testing.T) {
		test(t, harness.Options{Bootstrap: func(b harness.Bootstrap) { b.GateOnly(t) }})
	})
	t.Run("by JSON", func(t *testing.T) {
		test(t, harness.Options{
			Settings:  map[string]string{protocol.ProxyTokenVariable: proxyToken},
			Bootstrap: func(b harness.Bootstrap) { b.WasmPlugin(t) },
			EnvoyEnv:  map[string]string{protocol.ProxyTokenVariable: proxyToken},
		})
	})
}

// A gate alone fills one key after the other, with no error to any client, and counts what Groq counts: JSON, streams and
// calls that clients abort.
func TestGateOnlyRotatesAtTheLimit(t *testing.T) {
	t.Parallel()
	gateOnly(t, func(t *testing.T, o harness.Options) {
		o.Keys = []harness.Key{{ID: "1", LimitTokens: 6000}, {ID: "2", LimitTokens: 6000}, {ID: "3"}}
		o.Groq = fakegroq.Options{TokensFor: fakegroq.UniqueTokens(100)}
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings["KEYWHEEL_REQUIRED_TOKENS"] = "300"
		s := harness.Start(t, o)
		proxies := s.Keywheel.Proxies(t)
		if len(proxies) != 1 || proxies[0].Mode != "gate_only" {
			t.Errorf("proxies %+v", proxies)
		}
		keys := ""
		for i := range 160 {
			c := s.H1
			if i%2 == 1 {
				c = s.H2
			}
			call := harness.Call{Stream: i%3 == 1, IncludeUsage: i%2 == 0}
			if i%10 == 9 {
				call.Stream, call.Script = true, fakegroq.Rule{Hold: fakegroq.AfterUsage}
				stream := c.Open(t, call)
				stream.ReadUntil(t, `"total_tokens"`)
				stream.Abort()
				continue
			}
			a := c.Do(t, call)
			if a.Status != 200 || a.Err != nil {
				t.Fatalf("call %d: %s", i, a)
			}
			if !strings.HasSuffix(keys, a.Key) {
				keys += a.Key
			}
		}
		if keys != "123" {
			t.Errorf("keys served in this order: %s", keys)
		}
		s.AssertOracle(t)
		s.Keywheel.WaitPool(t, "two rotations", func(p harness.PoolState) error {
			if p.Rotations != 2 || p.Rescues != 0 || p.Refused != 0 {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
		secrets := append(s.Secrets(), proxyToken)
		harness.AssertNoSecret(t, secrets, harness.Blob{Name: "config_dump", Data: s.Envoy.AdminGet(t, "/config_dump")},
			harness.Blob{Name: "Keywheel's log", Data: s.Keywheel.Log()}, harness.Blob{Name: "Envoy's statistics", Data: s.Envoy.AdminGet(t, "/stats")})
	})
}

// What one key cannot serve reaches the client, once, with Groq's body and the advice to come back at once; the next call
// is served by the next key. A client that follows the advice sees nothing but a second.
func TestGateOnlyPassesAFailureOnOnce(t *testing.T) {
	t.Parallel()
	gateOnly(t, func(t *testing.T, o harness.Options) {
		s := harness.Start(t, o)
		for _, f := range []fakegroq.Fault{fakegroq.RateTPM, fakegroq.RateBare, fakegroq.InvalidKey, fakegroq.OrgRestricted, fakegroq.Permission} {
			t.Run(string(f), func(t *testing.T) {
				defer s.Recover(t)
				call := harness.Call{Script: fakegroq.Rule{Fault: f, Only: "1"}}
				first := s.H1.Do(t, call)
				groq := s.Attempts(t, first.Tag)
				if first.Status != groq[0].Status || first.SHA256 != groq[0].AnswerSHA256 || first.Key != "1" || len(groq) != 1 {
					t.Fatalf("Groq's answer was changed: %s", first)
				}
				if f == fakegroq.RateTPM && (first.Header.Get("retry-after") != "1" || first.Header.Get("x-should-retry") != "true") {
					t.Errorf("it is advised %v", first.Header)
				}
				for _, c := range s.Clients() { // on both workers, sooner or later
					for range 4 {
						if a := c.Do(t, call); a.Status != 200 || a.Key != "2" {
							t.Fatalf("then: %s", a)
						}
					}
				}
			})
		}
		s.AssertOracle(t)
	})
}

// What costs a key something without an answer, and what costs it nothing.
func TestGateOnlyCountsOnlyWhatWasSent(t *testing.T) {
	t.Parallel()
	gateOnly(t, func(t *testing.T, o harness.Options) {
		configure := o.Bootstrap
		o.Keys = harness.Keys(1, 5000)
		o.Groq = fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40)}
		o.Bootstrap = func(b harness.Bootstrap) {
			configure(b)
			abort := map[string]any{
				"name": "envoy.filters.http.fault", "typed_config": map[string]any{
					"@type":   "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
					"headers": []any{map[string]any{"name": "x-abort", "present_match": true}},
					"abort":   map[string]any{"http_status": 503.0, "percentage": map[string]any{"numerator": 100.0}},
				},
			}
			b.AddFilterBehind(t, protocol.GateOnlyResource, abort)
			b.AddFilterBehind(t, harness.WasmPluginFilter, abort)
			route := b.Routes(t)[0].(map[string]any)["route"].(map[string]any)
			route["retry_policy"] = map[string]any{"retry_on": "5xx,reset", "num_retries": 2.0} // the operator's own
		}
		s := harness.Start(t, o)
		for range 5 {
			a := s.H1.Do(t, harness.Call{Header: http.Header{"X-Abort": {"1"}}})
			if a.Status != 503 || a.Key != "" || len(s.Attempts(t, a.Tag)) != 0 {
				t.Fatalf("not aborted before Groq: %s", a)
			}
		}
		a := s.H1.Do(t, harness.Call{Script: fakegroq.Rule{Fault: fakegroq.Internal}})
		if got := harness.KeysOf(s.Attempts(t, a.Tag)); a.Status != 500 || got != "1 1 1" {
			t.Fatalf("Envoy's own retries went with keys %s: %s", got, a)
		}
		for range 3 {
			if a := s.H2.Do(t, harness.Call{}); a.Status != 200 {
				t.Fatal(a)
			}
		}
		s.AssertOracle(t) // 300 tokens: neither the aborted calls nor the failed one cost any
	})
}

// Without its control plane it serves on; what it did is reported afterwards.
func TestGateOnlyServesWithoutTheControlPlane(t *testing.T) {
	t.Parallel()
	gateOnly(t, func(t *testing.T, o harness.Options) {
		o.Groq = fakegroq.Options{TokensFor: fakegroq.UniqueTokens(100)}
		s := harness.Start(t, o)
		for i := range 60 {
			switch i {
			case 10:
				s.Keywheel.Kill(t)
			case 50:
				s.Keywheel.Start(t, "serve")
			}
			if a := s.H1.Do(t, harness.Call{Stream: i%2 == 0}); a.Status != 200 || a.Key != "1" {
				t.Fatalf("call %d: %s", i, a)
			}
		}
		s.AssertOracle(t)
	})
}

// A wrong token, and none at the control plane: no call is served, the log says what to change, and the filter goes on by
// itself once that is done.
func TestGateOnlyWithoutItsToken(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Unassigned: true,
		Bootstrap:  func(b harness.Bootstrap) { b.WasmPlugin(t) },
		EnvoyEnv:   map[string]string{protocol.ProxyTokenVariable: proxyToken},
	})
	says := func(what string) {
		t.Helper()
		s.Envoy.WaitLog(t, what)
		if a := s.H1.Do(t, harness.Call{}); a.Status != 503 || a.ErrorCode() != "no_assignment" || a.Header.Get("retry-after") != "1" {
			t.Errorf("a client gets %s", a)
		}
	}
	says("gives no assignments away (403); set its KEYWHEEL_PROXY_TOKEN")
	restart := func(token string) {
		s.Keywheel.Terminate(t)
		s.Keywheel.Set(protocol.ProxyTokenVariable, token)
		s.Keywheel.Start(t, "serve")
	}
	restart("another-token-of-the-control-plane")
	says("does not accept the token (401); give the plugin's KEYWHEEL_PROXY_TOKEN")
	if got := s.Keywheel.Log(); !strings.Contains(got, "wrong KEYWHEEL_PROXY_TOKEN") {
		t.Errorf("Keywheel's log says %s", got)
	}
	restart(proxyToken)
	s.Keywheel.WaitGranted(t, 0)
	harness.Eventually(t, "both workers serve", func() error {
		for range 8 {
			if a := s.H1.Do(t, harness.Call{Header: http.Header{"Connection": {"close"}}}); a.Status != 200 {
				return fmt.Errorf("%s", a)
			}
		}
		return nil
	})
	s.AssertOracle(t)
}

// Keys that are changed while a gate alone fetches them: a replaced secret and a disabled key are in force within moments,
// no call fails, and no secret shows at the level at which Envoy logs by default.
func TestGateOnlyKeysChangeWhileRunning(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(2, 0), Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(100)}, LogLevel: "info", // from debug on Envoy itself logs the headers that a downstream filter sets
		Settings:  map[string]string{protocol.ProxyTokenVariable: proxyToken, "KEYWHEEL_MASTER_KEY": masterKey, "KEYWHEEL_LOG_LEVEL": "debug"},
		Bootstrap: func(b harness.Bootstrap) { b.WasmPlugin(t) },
		EnvoyEnv:  map[string]string{protocol.ProxyTokenVariable: proxyToken},
	})
	extra := harness.Keys(3, 0)[2]
	s.Groq.AddKey(fakegroq.Key{Secret: extra.Secret, Name: "new"})
	now := func(key string) {
		t.Helper()
		in := 0
		harness.Eventually(t, "Groq sees key "+key, func() error {
			a := s.H1.Do(t, harness.Call{Header: http.Header{"Connection": {"close"}}})
			if a.Status != 200 {
				t.Fatalf("a client gets %s", a)
			}
			if got := harness.KeysOf(s.Attempts(t, a.Tag)); got != key {
				in = 0
				return fmt.Errorf("it sees %s", got)
			}
			if in++; in < 8 { // both workers
				return fmt.Errorf("%d times", in)
			}
			return nil
		})
	}
	now("1")
	patch := func(id, body string) {
		t.Helper()
		if status, answer := ask(t, s.Keywheel, "PATCH", "/api/v1/keys/"+id, s.Keywheel.Token(t), body); status != 202 {
			t.Fatalf("%d %s", status, answer.Data)
		}
	}
	patch("1", `{"secret":"`+extra.Secret+`"}`)
	now("new")
	patch("1", `{"disabled":true}`)
	now("2")
	harness.AssertNoSecret(t, append(s.Secrets(), extra.Secret, proxyToken),
		harness.Blob{Name: "Envoy's log", Data: s.Envoy.Log()}, harness.Blob{Name: "Keywheel's log", Data: s.Keywheel.Log()},
		harness.Blob{Name: "config_dump", Data: s.Envoy.AdminGet(t, "/config_dump?include_eds")}, harness.Blob{Name: "stats", Data: s.Envoy.AdminGet(t, "/stats")},
		harness.Blob{Name: "proxies", Data: s.Keywheel.Page(t, "/api/v1/proxies")}, harness.Blob{Name: "metrics", Data: s.Keywheel.Page(t, "/metrics")})
}

// Other services behind the same listener are not Groq: their calls pass as they are, with the client's own credentials.
func TestGateOnlyLeavesOtherClustersAlone(t *testing.T) {
	t.Parallel()
	other := harness.StartGroq(t, fakegroq.Options{}, []harness.Key{{ID: "own", Secret: harness.ClientSecret}})
	s := harness.Start(t, harness.Options{
		Settings: map[string]string{protocol.ProxyTokenVariable: proxyToken},
		Bootstrap: func(b harness.Bootstrap) {
			b.WasmPlugin(t)
			b.AddCluster(t, "outbound|80||other", other.Addr())
			b.PrependRoute(t, map[string]any{
				"match": map[string]any{"prefix": "/", "headers": []any{map[string]any{"name": "x-other", "present_match": true}}},
				"route": map[string]any{"cluster": "outbound|80||other"},
			})
		},
		EnvoyEnv: map[string]string{protocol.ProxyTokenVariable: proxyToken},
	})
	for _, c := range s.Clients() {
		a := c.Do(t, harness.Call{Header: http.Header{"X-Other": {"1"}}})
		if a.Status != 200 || a.Key != "" {
			t.Errorf("the other service answered %s", a)
		}
		if a := c.Do(t, harness.Call{}); a.Status != 200 || a.Key != "1" {
			t.Errorf("Groq answered %s", a)
		}
	}
	if n := len(other.Truth().Requests); n != 2 {
		t.Errorf("the other service got %d calls", n)
	}
	s.AssertOracle(t)
}
