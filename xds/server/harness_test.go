package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/server"
	"keywheel/xds/snapshot"
)

// TestMain lets the test binary be a control plane of its own.
func TestMain(m *testing.M) {
	if addr := os.Getenv("TEST_CONTROL_PLANE"); addr != "" {
		controlPlane(addr)
	}
	goleak.VerifyTestMain(m)
}

// account is a made-up ledger: a Source that tests change, and an Observer that writes down what it is told.
type account struct {
	mu         sync.Mutex
	generation int64
	changed    chan struct{}
	told       []string
}

func newAccount() *account { return &account{generation: 1, changed: make(chan struct{}, 1)} }

func (a *account) Assignment() protocol.Assignment {
	a.mu.Lock()
	defer a.mu.Unlock()
	return protocol.Assignment{
		Version: protocol.Version, Epoch: 1, Generation: a.generation, Policy: protocol.Policy{ReportIntervalMS: 1000},
		Keys: []protocol.Key{{ID: "1", Credential: "1.1"}},
	}
}
func (a *account) Changed() <-chan struct{} { return a.changed }
func (a *account) change(generation int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.generation = generation
}

func (a *account) note(format string, args ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, fmt.Sprintf(format, args...))
	return nil
}

func (a *account) NodeSeen(node, version string, stream int64) {
	_ = a.note("seen %s %s %d", node, version, stream)
}
func (a *account) NodeGone(node string, stream int64) { _ = a.note("gone %s %d", node, stream) }
func (a *account) OldEnvoy(_ context.Context, node, version string) error {
	return a.note("old %s %s", node, version)
}
func (a *account) Rejected(_ context.Context, node, message string) error {
	return a.note("rejected by %s: %s", node, message)
}
func (a *account) ConnClosed(_ context.Context, id uint64) error { return a.note("closed %d", id) }

// hears waits until the account was told something.
func (a *account) hears(t *testing.T, want string, meanwhile ...func()) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; {
		a.mu.Lock()
		told := slices.Clone(a.told)
		a.mu.Unlock()
		if slices.Contains(told, want) {
			return
		}
		for _, do := range meanwhile {
			do()
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never told %q, only %q", want, told)
		}
	}
}

// running is a server under test.
type running struct {
	*account
	publisher *snapshot.Publisher
	server    *server.Server
	addr      string // as grpc.NewClient takes it
}

// serve starts a server on addr, an address as Listen takes it, until the test ends.
func serve(t *testing.T, addr string, change func(*server.Config)) *running {
	t.Helper()
	r := &running{account: newAccount()}
	r.publisher = snapshot.NewPublisher(snapshot.Config{
		Source: r.account, Token: func() secret.Key { return secret.New("CANARY_token") }, WasmPath: "/x.wasm",
		Secrets: func() map[protocol.CredentialID]secret.Key {
			return map[protocol.CredentialID]secret.Key{"1.1": secret.New("gsk_CANARY_1")}
		},
	})
	l, err := server.Listen(addr, false)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{
		Cache: r.publisher.Cache(), Redact: r.publisher.Redact, Observer: r.account, Reports: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
		Refresh:    func(ctx context.Context) error { _, err := r.publisher.Refresh(ctx); return err },
		RetryAfter: func(int) time.Duration { return time.Hour },
	}
	if change != nil {
		change(&c)
	}
	r.server = server.New(c)
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r.addr = l.Addr().String()
	if l.Addr().Network() == "unix" {
		r.addr = "unix:" + r.addr
	}
	return r
}

func socket(t *testing.T) string { return "unix:" + filepath.Join(t.TempDir(), "x.sock") }

// refresh pushes the state of the moment.
func (r *running) refresh(t *testing.T) {
	t.Helper()
	if _, err := r.publisher.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// client is one ECDS stream as an Envoy opens it.
type client struct {
	extensionv3.ExtensionConfigDiscoveryService_StreamExtensionConfigsClient
	role string
	last *discoveryv3.DiscoveryResponse
	has  string // version in force
}

// connect opens a stream that asks for a role's configuration.
func (r *running) connect(t *testing.T, node *corev3.Node, role string) *client {
	t.Helper()
	return r.connectWith(t, insecure.NewCredentials(), node, role)
}

func (r *running) connectWith(t *testing.T, by credentials.TransportCredentials, node *corev3.Node, role string) *client {
	t.Helper()
	conn, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(by))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(func() { cancel(); conn.Close() })
	s, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := &client{ExtensionConfigDiscoveryService_StreamExtensionConfigsClient: s, role: role}
	e.send(t, &discoveryv3.DiscoveryRequest{Node: node})
	return e
}

func (e *client) send(t *testing.T, r *discoveryv3.DiscoveryRequest) {
	t.Helper()
	r.ResourceNames, r.VersionInfo = []string{e.role}, e.has
	r.TypeUrl = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	if e.last != nil {
		r.ResponseNonce = e.last.GetNonce()
	}
	if err := e.Send(r); err != nil {
		t.Fatal(err)
	}
}

// next waits for a configuration, which it neither takes over nor refuses, and returns its version.
func (e *client) next(t *testing.T) string {
	t.Helper()
	r, err := e.Recv()
	if err != nil {
		t.Fatal(err)
	}
	extension := &corev3.TypedExtensionConfig{}
	if len(r.GetResources()) != 1 || r.GetResources()[0].UnmarshalTo(extension) != nil || extension.GetName() != e.role {
		t.Fatalf("%d resources, %s", len(r.GetResources()), extension.GetName())
	}
	e.last = r
	return r.GetVersionInfo()
}

func (e *client) accept(t *testing.T) {
	t.Helper()
	e.has = e.last.GetVersionInfo()
	e.send(t, &discoveryv3.DiscoveryRequest{})
}

func (e *client) refuse(t *testing.T, why string) {
	t.Helper()
	e.send(t, &discoveryv3.DiscoveryRequest{ErrorDetail: &status.Status{Message: why}})
}

func node(id string, major, minor uint32) *corev3.Node {
	return &corev3.Node{Id: id, UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{
		Version: &typev3.SemanticVersion{MajorNumber: major, MinorNumber: minor, Patch: 3},
	}}}
}
