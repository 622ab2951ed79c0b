package e2e

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/xds/admin"
)

// held is a stream of which the simulated Groq has sent the first content only.
func held(t *testing.T, c *harness.Client, key string) *harness.Stream {
	t.Helper()
	stream := c.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterFirst}})
	if stream.Status != 200 || stream.Key != key {
		t.Fatalf("the stream is %s, want key %s", stream.Answer, key)
	}
	if _, err := stream.Next(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// finish lets a stream go on to its orderly end.
func finish(t *testing.T, g *fakegroq.Server, stream *harness.Stream) {
	t.Helper()
	g.Release(stream.ID)
	stream.ReadUntil(t, "[DONE]")
	if e, err := stream.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end of key %s's stream there is %+v, %v", stream.Key, e, err)
	}
}

// A key is removed, one disabled, and one given another secret, each while a stream is under way with it, and the control
// plane is started anew before the streams go on. Each comes to its end and is charged to its key; nobody else is sent
// there, and the new secret starts at zero.
func TestStreamsInFlightOfKeysThatChange(t *testing.T) {
	keys := harness.Keys(4, 1_000_000)
	s := harness.Start(t, harness.Options{
		Keys: keys, Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)},
		Settings: map[string]string{"KEYWHEEL_MASTER_KEY": masterKey}, Args: onStoryDay,
	})
	for name, c := range s.Clients() {
		c.Do(t, harness.Call{Tag: name + " warms up"})
	}
	api := adminOf(t, s.Keywheel)
	newSecret := harness.Keys(1, 0)[0].Secret
	s.Groq.AddKey(fakegroq.Key{Secret: newSecret, Name: "3"})
	var streams []*harness.Stream
	for _, change := range []struct {
		key  string
		make func() (admin.Changed, error)
	}{
		{"1", func() (admin.Changed, error) { return api.RemoveKey(t.Context(), "1") }},
		{"2", func() (admin.Changed, error) {
			return api.ChangeKey(t.Context(), "2", admin.KeyFields{Disabled: pointer(true)})
		}},
		{"3", func() (admin.Changed, error) {
			return api.ChangeKey(t.Context(), "3", admin.KeyFields{Secret: &newSecret})
		}},
	} {
		for _, c := range s.Clients() {
			streams = append(streams, held(t, c, change.key))
		}
		changed, err := change.make()
		if err != nil {
			t.Fatal(err)
		}
		s.Keywheel.WaitGranted(t, changed.Generation)
	}
	harness.Eventually(t, "calls go out with the new secret", func() error {
		a := s.H1.Do(t, harness.Call{})
		if r := s.Attempts(t, a.Tag); a.Status != 200 || len(r) != 1 || r[0].Secret != newSecret {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	s.Keywheel.Terminate(t)
	s.Keywheel.Start(t, "serve")
	for _, stream := range streams {
		finish(t, s.Groq, stream)
	}
	assertFlights(t, s, newSecret)
}

// assertFlights holds the account of the day against what each secret was told.
func assertFlights(t *testing.T, s *harness.Stack, newSecret string) {
	t.Helper()
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	want := harness.Oracle(s.Groq, s.Keys[:3])
	fresh := s.Groq.Ledger()[newSecret].Tokens.Total()
	want["3"] += fresh
	if want["1"] == 0 || want["2"] == 0 || fresh == 0 {
		t.Fatalf("key 1, 2 and 3's new secret were to serve: %v", want)
	}
	s.Keywheel.WaitLedger(t, map[string]int64{"2": want["2"], "3": fresh, "4": 0})
	const day = "2025-11-18"
	var summary admin.Summary
	harness.Eventually(t, "the summary agrees", func() error {
		s.Keywheel.API(t, "/api/v1/summaries/"+day, &summary)
		got, labels := map[string]int64{}, map[string]string{}
		for _, k := range summary.Keys {
			labels[k.ID] = k.Label
			if k.Tokens > 0 {
				got[k.ID] = k.Tokens
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || labels["1"] != "removed" {
			return fmt.Errorf("labels %v, tokens by key (-want +got):\n%s", labels, diff)
		}
		return nil
	})
	if summary.EstimatedTokens != 0 || summary.Cut+summary.Failed+summary.Refused != 0 {
		t.Errorf("%+v", summary)
	}
	for _, step := range []string{"5m", "1h", "1d"} {
		if diff := cmp.Diff(want, usageOf(t, s.Keywheel, day, "by=key&step="+step)); diff != "" {
			t.Errorf("usage in steps of %s, by key (-want +got):\n%s", step, diff)
		}
	}
	if got := fmt.Sprint(summary.RotationLog); summary.Rotations != 2 || len(summary.RotationLog) != 2 || summary.RotationLog[0].To != "2" || summary.RotationLog[1].To != "3" {
		t.Errorf("a key that was removed and one that was disabled left, nothing else: %s", got)
	}
	for _, r := range s.Groq.Truth().Requests {
		if r.Fault != "" || r.Status != 200 {
			t.Errorf("Groq saw %+v", r.Status)
		}
	}
}
