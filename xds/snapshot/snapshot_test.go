package snapshot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"keywheel"
	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/envoy"
	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/snapshot"
)

// input is a state with n keys.
func input(n int) snapshot.Input {
	in := snapshot.Input{
		Assignment: protocol.Assignment{
			Version: protocol.Version, Epoch: 1, Generation: 1, Policy: protocol.Policy{Strategy: "priority", ReportIntervalMS: 1000},
		},
		Secrets:  map[protocol.CredentialID]secret.Key{},
		Token:    secret.New("CANARY_token"),
		WasmPath: "/x/keywheel.wasm",
	}
	for i := range n {
		id := fmt.Sprint(i + 1)
		in.Assignment.Keys = append(in.Assignment.Keys, protocol.Key{ID: id, Credential: id + ".1"})
		in.Secrets[id+".1"] = secret.New("gsk_CANARY_" + id)
	}
	return in
}

func build(t *testing.T, in snapshot.Input) *cachev3.Snapshot {
	t.Helper()
	s, err := snapshot.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bundle returns what the filter gets in its role.
func bundle(t *testing.T, s *cachev3.Snapshot, role string) protocol.Bundle {
	t.Helper()
	extension, ok := s.GetResources(resourcev3.ExtensionConfigType)[role].(*corev3.TypedExtensionConfig)
	if !ok {
		t.Fatalf("no resource %s", role)
	}
	filter := &wasmfilterv3.Wasm{}
	if err := extension.GetTypedConfig().UnmarshalTo(filter); err != nil {
		t.Fatal(err)
	}
	configuration := filter.GetConfig().GetConfiguration()
	if !strings.HasSuffix(configuration.GetTypeUrl(), "/envoy.extensions.transport_sockets.tls.v3.Secret") {
		t.Errorf("the configuration of %s is a %s", role, configuration.GetTypeUrl())
	}
	b, err := protocol.ParseBundle(configuration.GetValue())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheSameStateHasTheSameVersion(t *testing.T) {
	want := snapshot.Version(build(t, input(20)))
	for range 20 { // maps come in another order each time
		if got := snapshot.Version(build(t, input(20))); got != want {
			t.Fatalf("%s, then %s", want, got)
		}
	}
	for name, change := range map[string]func(*snapshot.Input){
		"secret":     func(in *snapshot.Input) { in.Secrets["3.1"] = secret.New("gsk_other") },
		"token":      func(in *snapshot.Input) { in.Token = secret.New("other") },
		"module":     func(in *snapshot.Input) { in.WasmPath = "/x/other.wasm" },
		"generation": func(in *snapshot.Input) { in.Assignment.Generation++ },
		"limit":      func(in *snapshot.Input) { in.Assignment.Keys[1].LimitTokens = 5 },
		"a key less": func(in *snapshot.Input) { in.Assignment.Keys = in.Assignment.Keys[1:] },
	} {
		in := input(20)
		change(&in)
		if snapshot.Version(build(t, in)) == want {
			t.Errorf("another %s does not change the version", name)
		}
	}
	in := input(20)
	in.Secrets["99.1"] = secret.New("gsk_of_nobody")
	if snapshot.Version(build(t, in)) != want {
		t.Error("a secret that the assignment does not name is pushed")
	}
}

func TestWhatEachRoleGets(t *testing.T) {
	in := input(3)
	in.Assignment.Keys[2].Disabled = true
	delete(in.Secrets, "3.1")
	s := build(t, in)
	text, err := json.Marshal(in.Assignment)
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.Bundle{protocol.AssignmentSecret: text, protocol.TokenSecret: []byte("CANARY_token")}
	if diff := cmp.Diff(want, bundle(t, s, protocol.GateResource)); diff != "" {
		t.Error(diff)
	}
	want["1.1"], want["2.1"] = []byte("gsk_CANARY_1"), []byte("gsk_CANARY_2")
	for _, role := range []string{protocol.AttemptResource, protocol.GateOnlyResource} {
		if diff := cmp.Diff(want, bundle(t, s, role)); diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	fetched, err := snapshot.GateOnly(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := protocol.ParseBundle(fetched); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("what a gate alone fetches: %v, %s", err, cmp.Diff(want, got))
	}
}

func TestAnAssignmentThatFiltersWouldRefuseIsNotPushed(t *testing.T) {
	for name, spoil := range map[string]func(*protocol.Assignment){
		"no generation":     func(a *protocol.Assignment) { a.Generation = 0 },
		"another version":   func(a *protocol.Assignment) { a.Version++ },
		"a key twice":       func(a *protocol.Assignment) { a.Keys = append(a.Keys, a.Keys[0]) },
		"a credential only": func(a *protocol.Assignment) { a.Keys[0].ID = "" },
	} {
		in := input(2)
		spoil(&in.Assignment)
		if _, err := snapshot.Build(in); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASecretMayHoldAnyBytes(t *testing.T) {
	in := input(1)
	in.Secrets["1.1"] = secret.New("gsk_\xff\x00")
	if got := bundle(t, build(t, in), protocol.AttemptResource)["1.1"]; string(got) != "gsk_\xff\x00" {
		t.Errorf("%q", got)
	}
}

func TestAKeyWithoutItsSecretIsRefused(t *testing.T) {
	in := input(3)
	delete(in.Secrets, "2.1")
	_, err := snapshot.Build(in)
	if err == nil || !strings.Contains(err.Error(), "credential 2.1") || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

// TestEnvoyYAMLHasTheSameFilters: with another vm_config Envoy would put the pushed roles into another VM than the
// default ones.
func TestEnvoyYAMLHasTheSameFilters(t *testing.T) {
	b, err := envoy.Parse(keywheel.EnvoyYAML)
	if err != nil {
		t.Fatal(err)
	}
	for name, filter := range filters(t, b) {
		got := &wasmfilterv3.Wasm{}
		discovery := filter.GetConfigDiscovery()
		if err := discovery.GetDefaultConfig().UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		path := got.GetConfig().GetVmConfig().GetCode().GetLocal().GetFilename()
		want := snapshot.Filter(name, path, got.GetConfig().GetConfiguration())
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		empty, err := protocol.ParseBundle(got.GetConfig().GetConfiguration().GetValue())
		if err != nil || len(empty) != 0 {
			t.Errorf("%s: the default configuration holds %v, %v", name, empty, err)
		}
		source := discovery.GetConfigSource().GetApiConfigSource()
		if source == nil || source.GetGrpcServices()[0].GetEnvoyGrpc().GetClusterName() != protocol.ControlPlaneCluster || !discovery.GetApplyDefaultConfigWithoutWarming() {
			t.Errorf("%s: %v", name, discovery.GetConfigSource())
		}
	}
}

// filters returns the two roles' filters of envoy.yaml.
func filters(t *testing.T, b *bootstrapv3.Bootstrap) map[string]*hcmv3.HttpFilter {
	t.Helper()
	manager, options := &hcmv3.HttpConnectionManager{}, &httpv3.HttpProtocolOptions{}
	static := b.GetStaticResources()
	unpack := func(a *anypb.Any, m proto.Message) {
		if err := a.UnmarshalTo(m); err != nil {
			t.Fatal(err)
		}
	}
	unpack(static.GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), manager)
	unpack(static.GetClusters()[0].GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"], options)
	found := map[string]*hcmv3.HttpFilter{}
	for _, f := range append(manager.GetHttpFilters(), options.GetHttpFilters()...) {
		if f.GetConfigDiscovery() != nil {
			found[f.GetName()] = f
		}
	}
	if found[protocol.GateResource] == nil || found[protocol.AttemptResource] == nil || len(found) != 2 {
		t.Fatalf("filters by ECDS: %v", found)
	}
	if !found[protocol.GateResource].GetDisabled() {
		t.Error("the gate is not disabled where no route enables it")
	}
	return found
}

// state is a Source that a test changes.
type state struct {
	mu      sync.Mutex
	in      snapshot.Input
	changed chan struct{}
}

func (s *state) Assignment() protocol.Assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.Assignment
}
func (s *state) Changed() <-chan struct{} { return s.changed }
func (s *state) change(f func(*snapshot.Input)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.in)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// pass lets a bubble's time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// publish runs a Publisher over s.
func publish(t *testing.T, s *state, logger *slog.Logger) *snapshot.Publisher {
	p := snapshot.NewPublisher(snapshot.Config{
		Source: s, Token: func() secret.Key { return s.in.Token }, WasmPath: "/x.wasm", Interval: time.Second, Logger: logger,
		Secrets: func() map[protocol.CredentialID]secret.Key { s.mu.Lock(); defer s.mu.Unlock(); return s.in.Secrets },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func TestChangesArePushedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log loggingtest.Buffer
		s := &state{in: input(2), changed: make(chan struct{}, 1)}
		p := publish(t, s, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		pushes := func() int { return strings.Count(log.String(), "Assignment pushed") }
		generation := func(g int64) { s.change(func(in *snapshot.Input) { in.Assignment.Generation = g }); synctest.Wait() }
		synctest.Wait()
		first := p.Version()
		if pushes() != 1 || first == "" {
			t.Fatalf("%d pushes at the start", pushes())
		}
		for g := range int64(100) {
			generation(g + 2)
			pass(9 * time.Millisecond)
		}
		if pushes() != 1 {
			t.Errorf("%d pushes within the interval", pushes())
		}
		pass(time.Second)
		if pushes() != 2 || p.Version() == first {
			t.Errorf("%d pushes after it", pushes())
		}
		pass(time.Hour)
		if pushes() != 3 {
			t.Errorf("%d pushes when the gate was given what attempts had", pushes())
		}
		generation(500)
		if pushes() != 4 {
			t.Errorf("a change after a quiet hour was not pushed at once: %d pushes", pushes())
		}
		for range 10 {
			generation(500)
			pass(2 * time.Second)
		}
		if pushes() != 4 {
			t.Errorf("unchanged content was pushed: %d pushes", pushes())
		}
	})
}

// An Envoy keeps a little of each configuration for ever, so a gate, which goes by the attempt's, gets a new assignment at
// most once a minute, and the newest in the end.
func TestGatesAreGivenAssignmentsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &state{in: input(2), changed: make(chan struct{}, 1)}
		p := publish(t, s, slog.New(slog.DiscardHandler))
		given := func(role string) int64 {
			t.Helper()
			a, err := protocol.ParseAssignment(bundleOf(t, p, role)[protocol.AssignmentSecret])
			if err != nil {
				t.Fatal(err)
			}
			return a.Generation
		}
		synctest.Wait()
		gates := map[int64]bool{}
		for g := int64(1001); g <= 1200; g++ { // for 200 seconds
			s.change(func(in *snapshot.Input) { in.Assignment.Generation = g })
			pass(time.Second + time.Millisecond)
			if got := given(protocol.AttemptResource); got != g {
				t.Fatalf("attempts have assignment %d, want %d", got, g)
			}
			gates[given(protocol.GateResource)] = true
		}
		if len(gates) < 3 || len(gates) > 5 {
			t.Errorf("gates had %d assignments in 200 seconds", len(gates))
		}
		pass(2 * time.Minute)
		if got := given(protocol.GateResource); got != 1200 {
			t.Errorf("in the end gates have assignment %d", got)
		}
		s.change(func(in *snapshot.Input) { in.Token = secret.New("CANARY_another_token") })
		pass(time.Second)
		if got := string(bundleOf(t, p, protocol.GateResource)[protocol.TokenSecret]); got != "CANARY_another_token" {
			t.Errorf("gates have the token %q", got)
		}
	})
}

func bundleOf(t *testing.T, p *snapshot.Publisher, role string) protocol.Bundle {
	t.Helper()
	snap, err := p.Cache().(cachev3.SnapshotCache).GetSnapshot("every")
	if err != nil {
		t.Fatal(err)
	}
	return bundle(t, snap.(*cachev3.Snapshot), role)
}

func TestABadStateNeverReplacesAGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log loggingtest.Buffer
		s := &state{in: input(2), changed: make(chan struct{}, 1)}
		p := publish(t, s, slog.New(slog.NewTextHandler(&log, nil)))
		synctest.Wait()
		good := p.Version()
		s.change(func(in *snapshot.Input) {
			in.Assignment.Keys = slices.Clone(in.Assignment.Keys)
			in.Assignment.Keys[0].Credential = "1.2"
		})
		pass(10 * time.Second)
		if p.Version() != good || strings.Count(log.String(), "cannot be pushed") != 1 {
			t.Errorf("version %s after %s, log:\n%s", p.Version(), good, log.String())
		}
		s.mu.Lock() // the secret comes without a signal of its own
		s.in.Secrets = map[protocol.CredentialID]secret.Key{"1.2": secret.New("gsk_new"), "2.1": secret.New("gsk_2")}
		s.mu.Unlock()
		pass(2 * time.Second)
		if p.Version() == good {
			t.Error("not pushed when it was complete")
		}
	})
}

func TestRefreshSeesTheStateOfThisMoment(t *testing.T) {
	s := &state{in: input(1), changed: make(chan struct{}, 1)}
	p := snapshot.NewPublisher(snapshot.Config{
		Source: s, Secrets: func() map[protocol.CredentialID]secret.Key { return s.in.Secrets },
		Token: func() secret.Key { return s.in.Token }, WasmPath: "/x.wasm", Interval: time.Hour,
	})
	for i, want := range []bool{true, false} {
		if pushed, err := p.Refresh(context.Background()); pushed != want || err != nil {
			t.Errorf("refresh %d: %v, %v", i, pushed, err)
		}
	}
	s.in.Assignment.Generation++
	before, given := p.GateOnly()
	if pushed, err := p.Refresh(context.Background()); !pushed || err != nil || p.Version() == before {
		t.Errorf("%v, %v", pushed, err)
	}
	if after, newer := p.GateOnly(); before == "" || after != p.Version() || bytes.Equal(given, newer) {
		t.Errorf("given as version %q, then %q", before, after)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	s.in.Assignment.Generation++
	if _, err := p.Refresh(cancelled); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := p.Redact("a gsk_CANARY_1 b CANARY_token c"); got != "a [redacted] b [redacted] c" {
		t.Error(got)
	}
}
