package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"keywheel/shared/protocol"
	"keywheel/xds/server"
)

func TestAStreamBeginsWithTheStateOfTheMoment(t *testing.T) {
	for _, addr := range []string{socket(t), "127.0.0.1:0"} {
		r := serve(t, addr, nil)
		gate := r.connect(t, node("n", 1, 40), protocol.GateResource)
		first := gate.next(t)
		if first == "" || first != r.publisher.Version() {
			t.Errorf("version %q", first)
		}
		gate.accept(t)
		r.change(2) // and nobody says so
		attempt := r.connect(t, node("n", 1, 40), protocol.AttemptResource)
		second := attempt.next(t)
		if second == first || second != r.publisher.Version() {
			t.Errorf("a new stream began with version %q, current is %q", second, r.publisher.Version())
		}
		if got := gate.next(t); got != second {
			t.Errorf("the old stream got %q", got)
		}
		r.hears(t, "seen n 1.40.3 1")
		r.hears(t, "seen n 1.40.3 2")
	}
}

func TestUnchangedContentIsNotPushed(t *testing.T) {
	r := serve(t, socket(t), nil)
	e := r.connect(t, node("n", 1, 40), protocol.GateResource)
	first := e.next(t)
	e.accept(t)
	for range 3 {
		r.refresh(t)
	}
	r.change(2)
	r.refresh(t)
	second := e.next(t) // were the first one pushed again, it would come here
	if second == first {
		t.Error("the same version was pushed twice")
	}
	e.accept(t)
	r.change(1)
	r.refresh(t)
	if third := e.next(t); third != first {
		t.Errorf("the same state had version %s, then %s", first, third)
	}
}

func TestARefusalIsRecordedAndNotAnsweredAtOnce(t *testing.T) {
	r := serve(t, socket(t), nil)
	e := r.connect(t, node("n", 1, 40), protocol.AttemptResource)
	good := e.next(t)
	e.accept(t)
	r.change(2)
	r.refresh(t)
	bad := e.next(t)
	e.refuse(t, "cannot take gsk_CANARY_1 with CANARY_token"+strings.Repeat("é", 1000))
	const said = "cannot take [redacted] with [redacted]"
	r.hears(t, "rejected by n: "+said+strings.Repeat("é", (512-len(said))/2))
	r.change(3)
	r.refresh(t)
	if got := e.next(t); got == bad || got == good {
		t.Errorf("after %s was refused came %s", bad, got)
	}
	e.accept(t)
	e.refuse(t, "late") // of something that is already in force: counted, no harm
	r.hears(t, "rejected by n: late")
	r.change(4)
	r.refresh(t)
	e.next(t)
}

func TestAnEnvoyThatRefusedAsksAgain(t *testing.T) {
	waits := make(chan int, 10)
	r := serve(t, socket(t), func(c *server.Config) {
		c.RetryAfter = func(n int) time.Duration { waits <- n; return time.Millisecond }
	})
	for n := 1; n <= 3; n++ {
		e := r.connect(t, node("n", 1, 40), protocol.GateResource)
		e.next(t)
		e.refuse(t, "no such file")
		if _, err := e.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the stream did not end: %v", err)
		}
		if got := <-waits; got != n {
			t.Errorf("refusal %d was counted as %d", n, got)
		}
		r.hears(t, fmt.Sprintf("gone n %d", n))
	}
	e := r.connect(t, node("n", 1, 40), protocol.GateResource)
	e.next(t)
	e.accept(t)
	r.change(2)
	r.refresh(t)
	e.next(t)
	e.refuse(t, "again")
	if got := <-waits; got != 1 {
		t.Errorf("after one that was taken over, a refusal was counted as %d", got)
	}
}

func TestAnOldEnvoyIsReported(t *testing.T) {
	r := serve(t, socket(t), nil)
	r.connect(t, node("o", 1, 38), protocol.GateResource).next(t)
	r.connect(t, node("new", 2, 0), protocol.GateResource).next(t)
	r.connect(t, &corev3.Node{Id: "unknown"}, protocol.GateResource).next(t)
	r.hears(t, "old o 1.38.3")
	r.hears(t, "seen unknown  3")
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.told, func(s string) bool { return strings.HasPrefix(s, "old new") || strings.HasPrefix(s, "old unknown") }) {
		t.Error(r.told)
	}
}

func TestAggregatedAndDeltaStreams(t *testing.T) {
	r := serve(t, socket(t), nil)
	conn, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const typeURL = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	both := []string{protocol.GateResource, protocol.AttemptResource}
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)

	all, err := ads.StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Send(&discoveryv3.DiscoveryRequest{Node: node("ads", 1, 40), TypeUrl: typeURL, ResourceNames: both}); err != nil {
		t.Fatal(err)
	}
	if got, err := all.Recv(); err != nil || len(got.GetResources()) != 2 {
		t.Errorf("ADS: %d resources, %v", len(got.GetResources()), err)
	}

	delta, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).DeltaExtensionConfigs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node("delta", 1, 40), TypeUrl: typeURL, ResourceNamesSubscribe: both}); err != nil {
		t.Fatal(err)
	}
	got, err := delta.Recv()
	if err != nil || len(got.GetResources()) != 2 {
		t.Fatalf("delta: %d resources, %v", len(got.GetResources()), err)
	}
	refusal := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: got.GetNonce(), ErrorDetail: &status.Status{Message: "no"}}
	if err := delta.Send(refusal); err != nil {
		t.Fatal(err)
	}
	r.hears(t, "rejected by delta: no")
}

func TestReportsAndConnections(t *testing.T) {
	type seen struct {
		conn  server.Conn
		proto int
	}
	reports := make(chan seen, 10)
	r := serve(t, "127.0.0.1:0", func(c *server.Config) {
		c.Reports = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			conn, ok := server.ConnFrom(r.Context())
			if !ok {
				t.Error("no connection")
			}
			reports <- seen{conn, r.ProtoMajor}
		})
	})
	for _, http2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetUnencryptedHTTP2(http2)
		transport := &http.Transport{Protocols: protocols}
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		post := func(path string) int {
			res, err := client.Post("http://"+r.addr+path, "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
			return res.StatusCode
		}
		if got := post(protocol.ReportPath); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		post(protocol.ReportPath)
		one, two := <-reports, <-reports
		if one != two || !one.conn.Local || one.conn.ID == 0 || (one.proto == 2) != http2 {
			t.Errorf("%+v, then %+v", one, two)
		}
		for _, path := range []string{"/other", protocol.AssignmentPath} { // nothing is handed out here
			if got := post(path); got != http.StatusNotFound {
				t.Errorf("%s: %d", path, got)
			}
		}
		// A connection is idle a moment after its last answer was read.
		r.hears(t, fmt.Sprintf("closed %d", one.conn.ID), transport.CloseIdleConnections)
	}
	if _, ok := server.ConnFrom(context.Background()); ok {
		t.Error("a connection from nowhere")
	}
}

func TestAGateAloneGetsItsConfiguration(t *testing.T) {
	r := serve(t, "127.0.0.1:0", func(c *server.Config) {
		c.Handout = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	e := r.connect(t, node("n", 1, 40), protocol.GateOnlyResource)
	if got := e.next(t); got != r.publisher.Version() {
		t.Errorf("version %q", got)
	}
	e.accept(t)
	r.change(2)
	r.refresh(t)
	if got := e.next(t); got != r.publisher.Version() {
		t.Errorf("version %q", got)
	}
	res, err := http.Get("http://" + r.addr + protocol.AssignmentPath)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if res.StatusCode != http.StatusTeapot {
		t.Errorf("who fetches its assignment gets %d", res.StatusCode)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	r := serve(t, socket(t), nil)
	e := r.connect(t, node("n", 1, 40), protocol.GateResource)
	e.next(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := e.Recv(); err == nil {
		t.Error("the stream goes on")
	}
	r.hears(t, "gone n 1")
	if c, err := net.Dial("unix", strings.TrimPrefix(r.addr, "unix:")); err == nil {
		c.Close()
		t.Error("still listens")
	}
}
