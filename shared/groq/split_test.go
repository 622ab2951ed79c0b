package groq

import (
	"math/rand/v2"
	"testing"
)

// reading is all that a meter tells of an answer.
type reading struct {
	Usage  Usage
	Events int
	Done   bool
	Bytes  int64
	Failed bool
	Status int
	Code   string
}

// readingOf ends an answer and returns what m tells of it.
func readingOf(m *Meter) reading {
	m.End()
	r := reading{Usage: m.Usage(), Events: m.Events(), Done: m.Done(), Bytes: m.Bytes()}
	r.Status, r.Code, r.Failed = m.StreamError()
	m.End()
	if m.Events() != r.Events {
		r.Events = -1 // a second End must change nothing
	}
	return r
}

// meterPieces meters an answer that comes in pieces. They are overwritten once read, as a host's buffers are.
func meterPieces(contentType string, pieces ...[]byte) reading {
	m := NewMeter(contentType)
	for _, p := range pieces {
		feedOnce(m, p)
	}
	return readingOf(m)
}

var scratch [1 << 19]byte // tests that feed do not run in parallel

func feedOnce(m *Meter, p []byte) {
	b := append(scratch[:0], p...)
	m.Feed(b)
	clear(b)
}

// everySplit checks that an answer gives want wherever it is cut in two, by the byte, and, where it is short, wherever
// it is cut in three. Very long ones are cut at the first and last positions and at random ones.
func everySplit(t *testing.T, contentType string, body []byte, want reading) {
	t.Helper()
	check := func(got reading, how string, at ...int) {
		if got != want {
			t.Helper()
			t.Fatalf("cut %s %v of %d:\n got %+v\nwant %+v", how, at, len(body), got, want)
		}
	}
	check(meterPieces(contentType, body), "nowhere")
	n := len(body)
	if n <= cutFresh {
		for i := range n + 1 {
			check(meterPieces(contentType, body[:i], body[i:]), "at", i)
		}
	}
	m, last := NewMeter(contentType), min(n, cutFirst)
	if n <= cutEvery {
		last = n
	}
	cutOnward(m, body, 0, last, func(r reading, i int) { check(r, "by the byte up to", i) })
	if n > cutEvery {
		feedOnce(m, body[last:n-cutLast])
		cutOnward(m, body, n-cutLast, n, func(r reading, i int) { check(r, "by the byte from the end to", i) })
		random := rand.New(rand.NewPCG(1, uint64(n)))
		for range cutAtRandom {
			i := random.IntN(n)
			check(meterPieces(contentType, body[:i], body[i:]), "at", i)
		}
	}
	for i := 0; n <= cutTwice && i <= n; i++ {
		m := NewMeter(contentType)
		feedOnce(m, body[:i])
		for j := i; j <= n; j++ {
			c := *m
			feedOnce(&c, body[i:j])
			feedOnce(&c, body[j:])
			check(readingOf(&c), "at", i, j)
		}
	}
}

// cutOnward feeds body[from:to] to m by the byte; before each byte and after the last it reports what the rest of the
// body as one piece would make of it.
func cutOnward(m *Meter, body []byte, from, to int, report func(reading, int)) {
	for i := from; ; i++ {
		c := *m
		feedOnce(&c, body[i:])
		report(readingOf(&c), i)
		if i == to {
			return
		}
		feedOnce(m, body[i:i+1])
	}
}
