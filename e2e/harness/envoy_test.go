package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keywheel/e2e/fakegroq"
)

func TestMain(m *testing.M) { Main(m) }

const extensions = "type.googleapis.com/envoy.extensions."

// upstream is one way for an Envoy to reach the simulated Groq.
type upstream struct {
	name string
	tls  bool
	h2   bool
}

// plainStack is an Envoy without Keywheel before a simulated Groq, which knows the client's own secret as key "1".
func plainStack(t *testing.T, way upstream) *Stack {
	t.Helper()
	EnvoyBinary(t)
	opts := fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}
	if way.tls {
		opts.TLS = &fakegroq.TLS{}
	}
	s := &Stack{Keys: []Key{{ID: "1", Secret: ClientSecret}}}
	s.Groq = StartGroq(t, opts, s.Keys)
	listen, admin := FreeAddr(t), FreeAddr(t)
	b := PlainProxy(t, listen, admin, s.Groq.Addr())
	cluster := b.Cluster(t, "groq")
	http := map[string]any{"http_protocol_options": map[string]any{}}
	if way.h2 {
		http = map[string]any{"http2_protocol_options": map[string]any{}}
	}
	cluster["typed_extension_protocol_options"] = map[string]any{extensions[len("type.googleapis.com/"):] + "upstreams.http.v3.HttpProtocolOptions": map[string]any{
		"@type": extensions + "upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": http,
	}}
	if way.tls {
		cluster["transport_socket"] = map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": map[string]any{
			"@type": extensions + "transport_sockets.tls.v3.UpstreamTlsContext", "sni": fakegroq.GroqHost, "auto_sni_san_validation": true,
			"common_tls_context": map[string]any{"validation_context": map[string]any{"trusted_ca": map[string]any{"filename": "none"}}},
		}}
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, s.Groq.CA().PEM, 0o600); err != nil {
			t.Fatal(err)
		}
		b.TrustCA(t, file)
		b.Route(t, "groq")["host_rewrite_literal"] = fakegroq.GroqHost
	}
	s.Envoy = NewEnvoy(t, b)
	s.Envoy.Start(t)
	s.H1, s.H2 = NewClient(t, listen, false), NewClient(t, listen, true)
	return s
}

// Through a real Envoy, over every way to the simulated Groq: the truth agrees with what the client got.
func TestEnvoyReachesTheSimulatedGroq(t *testing.T) {
	for _, way := range []upstream{{"h1", false, false}, {"h2c", false, true}, {"TLS h1", true, false}, {"TLS h2", true, true}} {
		t.Run(way.name, func(t *testing.T) {
			s := plainStack(t, way)
			for name, client := range s.Clients() {
				for _, stream := range []bool{false, true} {
					a := client.Do(t, Call{Stream: stream, Pad: 100_000})
					if a.Status != 200 || a.Err != nil || (a.Proto == "HTTP/2.0") != (name == "h2") {
						t.Fatalf("%s: %s", name, a)
					}
					got := s.Attempts(t, a.Tag)
					if len(got) != 1 || got[0].ID != a.ID || got[0].AnswerSHA256 != a.SHA256 || got[0].Key != "1" || got[0].Stream != stream {
						t.Errorf("the truth is %+v", got)
					}
					if (got[0].Proto == "HTTP/2.0") != way.h2 || (got[0].SNI == fakegroq.GroqHost) != way.tls {
						t.Errorf("reached by %s, SNI %q", got[0].Proto, got[0].SNI)
					}
				}
			}
			if told := Oracle(s.Groq, s.Keys)["1"]; told != 1000+1001+1002+1003 {
				t.Errorf("%d tokens told", told)
			}
			if s.Envoy.Stats(t, `^cluster\.groq\.upstream_rq_total$`)["cluster.groq.upstream_rq_total"] != 4 {
				t.Error("Envoy counted otherwise")
			}
		})
	}
}

// A stream is read event by event, and one that is aborted is seen to end by the simulated Groq.
func TestStreamIsReadAndAborted(t *testing.T) {
	s := plainStack(t, upstream{"h2c", false, true})
	for _, client := range s.Clients() {
		stream := client.Open(t, Call{Stream: true, IncludeUsage: true})
		stream.ReadUntil(t, `"choices":[],"usage"`)
		stream.ReadUntil(t, "[DONE]")
		if _, err := stream.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after [DONE]: %v", err)
		}

		stream = client.Open(t, Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.BeforeUsage}})
		stream.ReadUntil(t, "Answer")
		stream.Abort()
		if got := s.Attempts(t, stream.Tag); len(got) != 1 || got[0].Complete || got[0].Told {
			t.Errorf("the truth is %+v", got)
		}

		stream = client.Open(t, Call{Stream: true, Script: fakegroq.Rule{Fault: fakegroq.StreamError}})
		if e := stream.ReadUntil(t, "tool_use_failed"); e.Name != "error" {
			t.Errorf("event %q", e.Name)
		}

		stream = client.Open(t, Call{Stream: true, Script: fakegroq.Rule{Fault: fakegroq.ResetMid}})
		var err error
		for err == nil {
			_, err = stream.Next()
		}
		if errors.Is(err, io.EOF) {
			t.Error("a stream that was reset looks whole")
		}
	}
}

// Large bodies pass both ways unchanged.
func TestLargeBodiesPassUnchanged(t *testing.T) {
	s := plainStack(t, upstream{"h1", false, false})
	for _, client := range s.Clients() {
		call := Call{Pad: 5 << 20, HashOnly: true, Script: fakegroq.Rule{ContentBytes: 5 << 20}}
		a := client.Do(t, call)
		got := s.Attempts(t, a.Tag)
		if len(got) != 1 || got[0].AnswerSHA256 != a.SHA256 || a.Bytes < 5<<20 || got[0].Model != Model {
			t.Fatalf("%s, the truth is %+v", a, got)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, call.chat()); err != nil {
			t.Fatal(err)
		}
		if got[0].BodySHA256 != hex.EncodeToString(hash.Sum(nil)) {
			t.Error("the request arrived otherwise than it was sent")
		}
	}
}

// An Envoy is killed and started again with the same configuration.
func TestEnvoyIsKilledAndStartedAgain(t *testing.T) {
	s := plainStack(t, upstream{"h1", false, false})
	first := s.Envoy.Pid()
	s.Envoy.Kill(t)
	if _, err := s.H1.Try(Context(t), Call{}); err == nil {
		t.Error("a dead Envoy answered")
	}
	s.Envoy.Start(t)
	if a := s.H1.Do(t, Call{}); a.Status != 200 || s.Envoy.Pid() == first {
		t.Errorf("%s", a)
	}
	if dump := s.Envoy.AdminGet(t, "/config_dump"); !strings.Contains(dump, "plain") {
		t.Error("no config_dump")
	}
	s.Envoy.Signal(t, syscall.SIGTERM)
	if code := s.Envoy.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
