package harness

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Soak says whether tests are to run in their long form: KEYWHEEL_SOAK=1, as `make soak` sets it.
func Soak() bool { return os.Getenv("KEYWHEEL_SOAK") == "1" }

// Scale is short, or long in a soak.
func Scale(short, long int) int {
	if Soak() {
		return long
	}
	return short
}

// Seed is what a test draws its chances from, and is shown in its log: KEYWHEEL_SEED does the same again.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv("KEYWHEEL_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("KEYWHEEL_SEED: %v", err)
		}
	}
	t.Logf("seed %d (KEYWHEEL_SEED=%[1]d does the same again)", seed)
	return seed
}

// Random draws from a seed; another stream draws other numbers from the same seed.
func Random(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
