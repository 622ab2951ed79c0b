package e2e

import (
	"fmt"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// A client that goes after the usage has passed Envoy is charged exactly that: after the usage event, and after [DONE].
func TestAbortAfterTheUsageIsChargedExactly(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	for version, c := range s.Clients() {
		for _, includeUsage := range []bool{false, true} {
			for hold, read := range map[fakegroq.Point]string{fakegroq.AfterUsage: `"total_tokens"`, fakegroq.AfterDone: "[DONE]"} {
				t.Run(fmt.Sprintf("%s/%s/include_usage %v", version, hold, includeUsage), func(t *testing.T) {
					call := harness.Call{Stream: true, IncludeUsage: includeUsage, Script: fakegroq.Rule{Hold: hold}}
					stream := c.Open(t, call)
					stream.ReadUntil(t, read)
					stream.Abort()
					got := s.Attempts(t, stream.Tag)
					if harness.KeysOf(got) != "1" || !got[0].Told || got[0].Complete {
						t.Fatalf("Groq saw %+v", got)
					}
					s.AssertOracle(t)
				})
			}
		}
	}
	// Nothing is added once such streams were settled.
	if a := s.H1.Do(t, harness.Call{}); a.Status != 200 {
		t.Errorf("afterwards: %s", a)
	}
	s.AssertOracle(t)
}

// A client that goes before any usage has passed is charged an estimate, once: more than nothing, as Groq may charge it
// too, and not more than the call may need.
func TestAbortBeforeTheUsageIsEstimated(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	for _, point := range []fakegroq.Point{fakegroq.BeforeHeaders, fakegroq.AfterFirst, fakegroq.BeforeUsage} {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream %v", point, stream), func(t *testing.T) { abortAt(t, s, point, stream) })
		}
	}
}

// abortAt starts two calls, one of each HTTP version, and goes away at this point of their answers.
func abortAt(t *testing.T, s *harness.Stack, point fakegroq.Point, stream bool) {
	t.Helper()
	const maxTokens, promptBytes = 200, 400
	for version, c := range s.Clients() {
		before := s.Keywheel.Keys(t)["1"]
		tag := fmt.Sprintf("abort-%s-%s-%v", version, point, stream)
		call := harness.Call{
			Stream: stream, MaxTokens: maxTokens, Pad: promptBytes - 100, Tag: tag, Script: fakegroq.Rule{Hold: point, ContentBytes: 64 << 10},
		}
		leave := c.Begin(t, call)
		err := s.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool {
			held := truth.Tagged(tag)
			return len(held) == 1 && held[0].Held == point
		})
		if err != nil {
			t.Fatal(err)
		}
		leave()
		if got := s.Attempts(t, tag); harness.KeysOf(got) != "1" || got[0].Told || got[0].Complete {
			t.Fatalf("%s: Groq saw %+v", version, got)
		}
		s.Keywheel.WaitKey(t, "1", "is charged an estimate", func(k harness.KeyState) error {
			used := k.UsedTokens - before.UsedTokens
			switch {
			case used <= 0:
				return fmt.Errorf("it is charged nothing")
			case used > promptBytes/2+maxTokens: // the prompt by its bytes, and what may have been produced
				t.Fatalf("%s: it is charged %d tokens", version, used)
			case k.EstimatedTokens-before.EstimatedTokens != used:
				t.Fatalf("%s: of %d tokens %d are marked as an estimate", version, used, k.EstimatedTokens-before.EstimatedTokens)
			}
			return nil
		})
	}
	// An answer that is whole is charged exactly what it states, on top.
	before := s.Keywheel.Keys(t)["1"].UsedTokens
	a := s.H2.Do(t, harness.Call{Script: fakegroq.Rule{Prompt: 300, Completion: 21}})
	if a.Status != 200 || a.Key != "1" {
		t.Fatalf("afterwards: %s", a)
	}
	s.Keywheel.WaitLedger(t, map[string]int64{"1": before + 321, "2": 0, "3": 0})
}

// What aborted calls held is given back: a key can still be spent to its limit.
func TestAbortGivesBackWhatWasHeld(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Keys:     harness.Keys(1, 2000),
		Groq:     fakegroq.Options{TokensFor: fakegroq.FixedTokens(60, 40)},
		Settings: map[string]string{"KEYWHEEL_REQUIRED_TOKENS": "100"},
	})
	for range 10 {
		stream := s.H2.Open(t, harness.Call{Stream: true, Script: fakegroq.Rule{Hold: fakegroq.AfterUsage}})
		stream.ReadUntil(t, "total_tokens")
		stream.Abort()
	}
	s.AssertOracle(t)
	served := 10
	harness.Eventually(t, "the key is spent", func() error {
		for {
			switch a := s.H1.Do(t, harness.Call{}); {
			case a.Status == 200:
				served++
			case a.ErrorCode() == "all_keys_exhausted":
				return nil
			case a.ErrorCode() == "keys_busy":
				return fmt.Errorf("the key is busy after %d answers", served)
			default:
				t.Fatalf("after %d answers: %s", served, a)
			}
		}
	})
	if served != 20 {
		t.Errorf("%d calls of 100 tokens were served from a limit of 2,000", served)
	}
	s.AssertOracle(t)
}
