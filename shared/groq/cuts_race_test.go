//go:build race

package groq

// The race detector makes everySplit twenty times slower and has nothing to find in it.
const (
	raceDetector = true

	cutTwice    = 0
	cutFresh    = 500
	cutEvery    = 500
	cutFirst    = 100
	cutLast     = 300
	cutAtRandom = 10
)
