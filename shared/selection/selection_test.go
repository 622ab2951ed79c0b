package selection

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestScoreOfTheScenario(t *testing.T) {
	fresh := Candidate{Priority: 3, Rank: Rank(2, 3), Remaining: 14400, Limit: 14400, Health: 1}
	if got := Score(fresh, Priority); got != 70 {
		t.Errorf("a fresh last-ranked key scores %v, want 70", got)
	}
	first := fresh
	first.Rank, first.Speed = Rank(0, 3), 1
	if got := Score(first, Priority); got != 100 {
		t.Errorf("a perfect key scores %v, want 100", got)
	}
	if got := Score(first, Balanced); got != 90 {
		t.Errorf("balanced counts rank: %v, want 90", got)
	}
}

func TestBetterPriority(t *testing.T) {
	keys := []Candidate{
		{Priority: 2, Remaining: 100, Limit: 100},
		{Priority: 1, Remaining: 10, Limit: 100},
		{Priority: 1, Remaining: 20, Limit: 100},
		{Priority: 1, Limit: 0},
	}
	slices.SortStableFunc(keys, func(a, b Candidate) int {
		if Better(a, b, Priority) {
			return -1
		}
		if Better(b, a, Priority) {
			return 1
		}
		return 0
	})
	want := []Candidate{{Priority: 1}, {Priority: 1, Remaining: 20, Limit: 100}, {Priority: 1, Remaining: 10, Limit: 100}, {Priority: 2, Remaining: 100, Limit: 100}}
	if !slices.Equal(keys, want) {
		t.Errorf("order %+v, want %+v", keys, want)
	}
}

func TestBetterIsAStrictWeakOrder(t *testing.T) {
	cand := rapid.Custom(func(t *rapid.T) Candidate {
		return Candidate{
			Priority: rapid.IntRange(1, 3).Draw(t, "priority"), Remaining: rapid.Int64Range(-5, 20).Draw(t, "remaining"),
			Limit: rapid.Int64Range(0, 20).Draw(t, "limit"), Health: rapid.Float64Range(0, 1).Draw(t, "health"),
			Speed: rapid.Float64Range(0, 1).Draw(t, "speed"), Rank: rapid.Float64Range(0, 1).Draw(t, "rank"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(Strategies).Draw(t, "strategy")
		a, b, c := cand.Draw(t, "a"), cand.Draw(t, "b"), cand.Draw(t, "c")
		if Better(a, a, s) {
			t.Fatal("better than itself")
		}
		if Better(a, b, s) && Better(b, a, s) {
			t.Fatal("both better")
		}
		if Better(a, b, s) && Better(b, c, s) && !Better(a, c, s) {
			t.Fatal("not transitive")
		}
		if v := Score(a, s); v < 0 || v > 100 || math.IsNaN(v) {
			t.Fatalf("score %v", v)
		}
	})
}

func TestStrangeNumbersStayInRange(t *testing.T) {
	c := Candidate{Remaining: math.MaxInt64, Limit: 1, Health: math.NaN(), Speed: math.Inf(1), Rank: -3}
	if got := Score(c, Priority); got != 60 {
		t.Errorf("got %v, want 60", got)
	}
	if Speed(0, 10) != 0 || Speed(10, 0) != 0 || Speed(10, 20) != 1 || Speed(20, 10) != 0.5 || Rank(0, 1) != 1 {
		t.Error("terms")
	}
}
