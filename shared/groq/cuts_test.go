//go:build !race

package groq

// How often everySplit cuts: sizes up to which a body is cut at every pair of positions and at every one, and the
// numbers of first, last and random positions for longer ones.
const (
	raceDetector = false

	cutTwice    = 700
	cutFresh    = 16 << 10 // and both pieces are whole ones; beyond, the first is fed by the byte
	cutEvery    = 64 << 10
	cutFirst    = 500
	cutLast     = 2500
	cutAtRandom = 200
)
