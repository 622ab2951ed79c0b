package admin

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"keywheel/shared/secret"
)

const (
	timings = 200_000 // of each comparison
	leaks   = 4.5     // |t| from which the literature (TVLA) calls a difference certain
	retries = 3       // chance exceeds 4.5 once in 150,000 times; a busy machine may more often, but not thrice running
)

// welch returns Welch's t of two samples, each without its slowest tenth: that is the machine's doing.
func welch(a, b []float64) float64 {
	mean := func(x []float64) (mean, variance float64) {
		slices.Sort(x)
		x = x[:len(x)*9/10]
		for _, v := range x {
			mean += v / float64(len(x))
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / float64(len(x)-1)
		}
		return mean, variance / float64(len(x))
	}
	ma, va := mean(a)
	mb, vb := mean(b)
	return (ma - mb) / math.Sqrt(va+vb)
}

// measure times compare for each of two tokens, in an order that chance makes, and returns t.
func measure(compare func(token string), tokens [2]string) float64 {
	var samples [2][]float64
	for range timings {
		i := rand.IntN(2)
		token := strings.Clone(tokens[i]) // where it lies in memory tells nothing
		start := time.Now()
		compare(token)
		samples[i] = append(samples[i], float64(time.Since(start)))
	}
	return welch(samples[0], samples[1])
}

var equal, admitted bool // so that no comparison is left out as useless

// TestComparisonTellsNothing compares how long it takes to refuse a token that is wrong from the first byte and one that
// is wrong in the last, and lets the same measure find out a comparison that stops at the first difference.
func TestComparisonTellsNothing(t *testing.T) {
	const right = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	long := strings.Repeat(right, 4)
	first, last := "X"+long[1:], long[:len(long)-1]+"X"
	g := newGuard(Options{Token: secret.New(long), ReadToken: secret.New(right), Now: time.Now})

	naive := measure(func(token string) {
		equal = true
		for i := range len(token) {
			if token[i] != long[i] {
				equal = false
				return
			}
		}
	}, [2]string{first, last})
	if math.Abs(naive) < leaks {
		t.Fatalf("a comparison that leaks has t = %.2f: the measure finds nothing", naive)
	}
	for name, tokens := range map[string][2]string{
		"first or last byte":        {first, last},
		"like the admin's or none":  {last, strings.Repeat("z", len(long))},
		"like the reader's or none": {right[:len(right)-1] + "X", strings.Repeat("z", len(right))},
	} {
		var found []float64
		for range retries {
			found = append(found, measure(func(token string) {
				admitted = admitted || g.level(bearerDigest([]string{"Bearer " + token})) != accessNone
			}, tokens))
			if math.Abs(found[len(found)-1]) < leaks {
				break
			}
		}
		t.Logf("%s: t = %.2f of %d samples; a comparison that leaks: %.0f", name, found, timings, naive)
		if len(found) == retries {
			t.Errorf("%s: the time tells which: t = %.2f", name, found)
		}
	}
	if admitted {
		t.Error("a wrong token was admitted")
	}
}
