package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"keywheel/shared/protocol"
	"keywheel/shared/secret"
	"keywheel/xds/logging/loggingtest"
	"keywheel/xds/snapshot"
)

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
