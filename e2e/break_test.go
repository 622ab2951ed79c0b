package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// breaks are the ways in which Groq's side of an answer can end early.
var breaks = map[string][]fakegroq.Rule{
	"plain": {{Fault: fakegroq.ResetMid}, {Fault: fakegroq.CloseMid}, {Fault: fakegroq.BadFraming}},
	"tls":   {{Fault: fakegroq.ResetMid}, {Fault: fakegroq.ResetMid, WholeConn: true}}, // HTTP/2: the stream, the connection
}

// Groq's answer breaks off: after its headers, in the middle of JSON or of a stream, and after its usage. The client sees
// the very break that it sees without Keywheel, and every byte before it. The call is charged once: what the answer has
// stated, or else an estimate of the prompt and of what came.
func TestUpstreamBreaksOff(t *testing.T) {
	t.Parallel()
	for name, groq := range upstreams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{
				Groq: groq, Settings: map[string]string{"KEYWHEEL_REPORT_INTERVAL": "100ms"},
				Bootstrap: func(b harness.Bootstrap) { addBareRoute(t, b) },
			})
			was := s.Keywheel.Proxies(t)
			b := &broken{Stack: s}
			for shape, call := range map[string]harness.Call{
				"json":              {},
				"json of responses": {Path: "/v1/responses"},
				"stream":            {Stream: true, IncludeUsage: true},
				"stream, limited":   {Stream: true, MaxTokens: 2},
				"events":            {Path: "/openai/v1/responses", Stream: true},
			} {
				for _, rule := range breaks[name] {
					t.Run(fmt.Sprintf("%s/%s", shape, rule), func(t *testing.T) {
						call.Script = rule
						b.everywhere(t, call)
						b.settled(t)
					})
				}
			}
			b.stillWell(t, was)
		})
	}
}

// broken is a stack whose Groq breaks its answers off, and what that must have cost.
type broken struct {
	*harness.Stack
	calls, served  int64
	told, estimate int64
}

// everywhere makes calls whose answers break off at each of their points, by each HTTP version, with and without Keywheel.
// They are in flight together: Envoy waits a second before it closes an HTTP/1.1 connection.
func (b *broken) everywhere(t *testing.T, call harness.Call) {
	t.Helper()
	type pair struct{ bare, with *inFlight }
	var pairs []pair
	for _, at := range []fakegroq.Point{fakegroq.AfterHeaders, fakegroq.AfterFirst, fakegroq.BeforeUsage, fakegroq.AfterUsage} {
		if !call.Stream && at == fakegroq.AfterUsage && call.Script.Fault != fakegroq.BadFraming {
			continue // nothing is left to break off
		}
		call.Script.At, call.Script.Hold = at, at
		for _, c := range b.Clients() {
			pairs = append(pairs, pair{b.begin(t, c, bare(b.Stack, call)), b.begin(t, c, call)})
		}
	}
	for _, p := range pairs {
		b.Groq.Release(p.bare.held.ID)
		b.Groq.Release(p.with.held.ID)
	}
	for _, p := range pairs {
		want, got := p.bare.end(t, b.Stack), p.with.end(t, b.Stack)
		if diff := cmp.Diff(want, got); diff != "" || p.with.stream.Key != "1" {
			t.Errorf("%s, by key %q: the break is not as without Keywheel (-want +got):\n%s", p.with.call.Script, p.with.stream.Key, diff)
		}
		b.charge(p.with)
	}
}

// inFlight is a call whose answer is about to break off.
type inFlight struct {
	call   harness.Call
	stream *harness.Stream
	held   fakegroq.Request
	body   []byte // as far as it came
}

// begin makes a call and reads its answer as far as it goes.
func (b *broken) begin(t *testing.T, c *harness.Client, call harness.Call) *inFlight {
	t.Helper()
	f := &inFlight{call: call, stream: c.Open(t, call)}
	err := b.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool {
		found := truth.Tagged(f.stream.Tag)
		f.held = found[len(found)-1]
		return f.held.Held == call.Script.At
	})
	if err != nil {
		t.Fatal(err)
	}
	f.body = make([]byte, f.held.AnswerBytes)
	if _, err := io.ReadFull(f.stream, f.body); err != nil {
		t.Fatalf("%s: the answer ended before it broke: %v", call.Script, err)
	}
	return f
}

// ending is what a client sees of an answer that breaks off.
type ending struct {
	Status int
	Proto  string
	Names  []string // of its headers
	Err    string
}

// end reads on.
func (f *inFlight) end(t *testing.T, s *harness.Stack) ending {
	t.Helper()
	more, err := io.ReadAll(f.stream)
	attempts := s.Attempts(t, f.stream.Tag)
	sum := sha256.Sum256(f.body)
	if err == nil || len(more) > 0 || len(attempts) != 1 || attempts[0].AnswerSHA256 != hex.EncodeToString(sum[:]) {
		t.Fatalf("%s: error %v after %q and %q; Groq saw %+v", f.call.Script, err, f.body, more, attempts)
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(f.stream.Header)), func(name string) bool { return name == "X-Keywheel-Key" })
	return ending{f.stream.Status, f.stream.Proto, names, streamNumber.ReplaceAllString(err.Error(), "stream ID …")}
}

// charge adds what a call must cost: what its answer stated, else an estimate of the prompt and of what came.
func (b *broken) charge(f *inFlight) {
	b.calls++
	if f.held.Told {
		b.told += f.held.Tokens.Total()
		return
	}
	produced := int64(bytes.Count(f.body, []byte("\n\n")))
	if !f.call.Stream {
		produced = int64(len(f.body)) / 4
	}
	if f.call.MaxTokens > 0 {
		produced = min(produced, f.call.MaxTokens)
	}
	b.estimate += f.held.BodyBytes/4 + produced
}

var streamNumber = regexp.MustCompile(`stream ID \d+`)

// settled waits until the ledger has exactly what was stated, and the estimates of what was not.
func (b *broken) settled(t *testing.T) {
	t.Helper()
	if told := harness.Oracle(b.Groq, b.Keys)["1"]; told != b.told {
		t.Fatalf("Groq told %d tokens by key 1, and %d by these calls", told, b.told)
	}
	b.Keywheel.WaitKey(t, "1", "is charged once", func(k harness.KeyState) error {
		if k.UsedTokens != b.told+b.estimate || k.EstimatedTokens != b.estimate || k.Requests != b.calls {
			return fmt.Errorf("%d calls cost %d tokens, %d of them estimated; want %d calls, %d and %d",
				k.Requests, k.UsedTokens, k.EstimatedTokens, b.calls, b.told+b.estimate, b.estimate)
		}
		return nil
	})
}

// stillWell makes whole calls, by which no break stands in the way, and sees that no VM ended or met a bug.
func (b *broken) stillWell(t *testing.T, was []harness.ProxyState) {
	t.Helper()
	for version, c := range b.Clients() {
		for _, stream := range []bool{false, true} {
			a := c.Do(t, harness.Call{Stream: stream})
			if a.Status != 200 || a.Err != nil || a.Key != "1" {
				t.Errorf("%s: afterwards: %s", version, a)
			}
			b.told += b.Attempts(t, a.Tag)[0].Tokens.Total()
			b.calls++
			b.served++
		}
	}
	b.settled(t)
	c := adminOf(t, b.Keywheel)
	harness.Eventually(t, "the calls are counted as cut", func() error {
		day, err := c.Summary(t.Context(), time.Now().UTC().Format(time.DateOnly))
		if err != nil {
			return err
		}
		if day.Requests != b.calls || day.Cut != b.calls-b.served || day.Failed != 0 {
			return fmt.Errorf("%d calls, %d cut, %d failed; want %d, %d, 0", day.Requests, day.Cut, day.Failed, b.calls, b.calls-b.served)
		}
		return nil
	})
	assertUnharmed(t, b.Stack, was)
}
