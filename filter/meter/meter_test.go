package meter

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNeed(t *testing.T) {
	for _, c := range []struct{ prompt, max, learned, want int64 }{
		{10, 0, 0, 522}, {10, 8192, 0, 522}, {10, 100, 0, 110}, {10, 8192, 90, 100}, {10, 50, 90, 60}, {0, 0, 0, 512},
	} {
		if got := Need(c.prompt, c.max, c.learned); got != c.want {
			t.Errorf("Need(%d, %d, %d) = %d, want %d", c.prompt, c.max, c.learned, got, c.want)
		}
	}
	if Prompt(-1) != 0 || Prompt(400) != 100 || Prompt(30<<20) != maxPrompt {
		t.Error("prompt")
	}
	if Cut(10, 7, 9999, 0) != 17 || Cut(10, 0, 400, 0) != 110 || Cut(10, 0, 400, 20) != 30 || Cut(10, 7, 9999, 20) != 17 {
		t.Error("cut")
	}
}

func TestLearnerKnowsThe95thPercentile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Learner
		low := rapid.Int64Range(1, 100_000).Draw(t, "low")
		high := low * 3
		n := rapid.IntRange(20, 9000).Draw(t, "n")
		for i := range n {
			if i%25 == 24 { // 4 % are long
				l.Add("m", high)
			} else {
				l.Add("m", low)
			}
		}
		if got := l.Completion("m"); got < low*99/100 || got > low*12/10+1 {
			t.Fatalf("95%% took %d or less, learned %d", low, got)
		}
	})
}

func TestLearnerWaitsAndForgets(t *testing.T) {
	var l Learner
	for range enough - 1 {
		l.Add("m", 100)
	}
	if l.Completion("m") != 0 || l.Completion("other") != 0 {
		t.Error("believed too early")
	}
	l.Add("m", 100)
	if got := l.Completion("m"); got < 100 || got > 110 {
		t.Errorf("learned %d", got)
	}
	for range 20 * half {
		l.Add("m", 1000)
	}
	if got := l.Completion("m"); got < 1000 || got > 1100 {
		t.Errorf("a change of use was not learned: %d", got)
	}
	for i := range 1000 {
		l.Add(string(rune('a'+i)), 1)
	}
	if len(l.models) > maxModels {
		t.Errorf("%d models", len(l.models))
	}
}
