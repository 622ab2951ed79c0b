package threshold_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keywheel/xds/threshold"
)

func TestCrossed(t *testing.T) {
	levels := []int{75, 90, 100}
	for _, c := range []struct {
		name                 string
		before, after, limit int64
		levels               []int
		want                 []int
	}{
		{"just below", 0, 10799, 14400, levels, nil},
		{"exactly at", 10799, 10800, 14400, levels, []int{75}},
		{"already there", 10800, 12959, 14400, levels, nil},
		{"a jump over two", 10080, 13680, 14400, levels, []int{75, 90}},
		{"beyond the limit", 14000, 20000, 14400, levels, []int{100}},
		{"rounds up but is below", 0, 8996, 10000, []int{90}, nil},
		{"no limit", 0, math.MaxInt64, 0, levels, nil},
		{"fell", 14400, 1, 14400, levels, nil},
		{"any order, each once", 0, 100, 100, []int{90, 75, 90, 0, -3}, []int{75, 90}},
		{"largest numbers", 0, math.MaxInt64, math.MaxInt64, levels, []int{75, 90, 100}},
		{"limit of one", 0, 1, 1, levels, []int{75, 90, 100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := threshold.Crossed(c.before, c.after, c.limit, c.levels); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Whatever the steps on the way, each level is crossed once, and by the step that reaches it.
func TestStepsCrossEachLevelOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, math.MaxInt64).Draw(t, "limit")
		levels := rapid.SliceOfN(rapid.IntRange(1, 120), 0, 5).Draw(t, "levels")
		uses := rapid.SliceOf(rapid.Int64Range(0, math.MaxInt64)).Draw(t, "uses")
		slices.Sort(uses)
		var got []int
		before := int64(0)
		for _, use := range uses {
			got = append(got, threshold.Crossed(before, use, limit, levels)...)
			before = use
		}
		var want []int
		for _, level := range levels {
			share := new(big.Int).Mul(big.NewInt(limit), big.NewInt(int64(level)))
			if new(big.Int).Mul(big.NewInt(before), big.NewInt(100)).Cmp(share) >= 0 {
				want = append(want, level)
			}
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Fatalf("crossed %v, want %v", got, want)
		}
	})
}
