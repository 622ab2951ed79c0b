// Package selection decides which key serves a request. Its functions are pure: the filter uses them to choose, the
// control plane to show.
package selection

import "math"

// Strategy names a way of preferring one key to another.
type Strategy string

// The strategies.
const (
	// Priority fills keys in priority order; among equal priorities it prefers more remaining quota.
	Priority Strategy = "priority"
	// Balanced prefers the highest score without rank, which spreads load evenly.
	Balanced Strategy = "balanced"
)

// Strategies are all that can be configured.
var Strategies = []Strategy{Priority, Balanced}

// Reason says why a key cannot serve a request. The empty reason: it can.
type Reason string

// The reasons, as they stand in reports, log lines and refusals.
const (
	Disabled   Reason = "disabled"
	Invalid    Reason = "invalid"
	Restricted Reason = "restricted"
	Blocked    Reason = "blocked" // the organization may not use this model
	Exhausted  Reason = "exhausted"
	Cooling    Reason = "cooling"
	Busy       Reason = "busy" // only reservations or an outstanding allowance stand in the way
)

// Candidate is what is known of a key when a request needs one.
type Candidate struct {
	Priority  int     // lower first
	Rank      float64 // 1 for the first priority … 0 for the last; see Rank
	Remaining int64   // tokens; negative is taken as 0
	Limit     int64   // tokens; 0: no limit
	Health    float64 // 0…1
	Speed     float64 // 0…1: fastest key's median time ÷ this key's; 0 until measured
}

// Rank is the rank term of the i-th of n keys.
func Rank(i, n int) float64 {
	if n < 2 {
		return 1
	}
	return 1 - float64(i)/float64(n-1)
}

// Speed is the speed term of a key whose median response time is median where the fastest key's is fastest.
func Speed(median, fastest int64) float64 {
	if median <= 0 || fastest <= 0 {
		return 0
	}
	return min(1, float64(fastest)/float64(median))
}

// Weights of the score's terms; they sum to 100.
const (
	quotaWeight  = 40
	healthWeight = 30
	speedWeight  = 20
	rankWeight   = 10
)

// Score is 0…100: 40 × remaining share + 30 × health + 20 × speed + 10 × rank. Balanced leaves rank out.
func Score(c Candidate, s Strategy) float64 {
	score := quotaWeight*c.share() + healthWeight*unit(c.Health) + speedWeight*unit(c.Speed)
	if s != Balanced {
		score += rankWeight * unit(c.Rank)
	}
	return score
}

func (c Candidate) share() float64 {
	if c.Limit <= 0 {
		return 1
	}
	return unit(float64(c.Remaining) / float64(c.Limit))
}

func unit(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return max(0, min(1, x))
}

// Better says whether a is to be preferred to b. It is a strict weak order; equals keep their order.
func Better(a, b Candidate, s Strategy) bool {
	if s == Balanced {
		return Score(a, s) > Score(b, s)
	}
	if a.Priority != b.Priority {
		return a.Priority < b.Priority
	}
	return a.quota() > b.quota()
}

// quota is what remains, where a key without a limit has the most.
func (c Candidate) quota() int64 {
	if c.Limit <= 0 {
		return math.MaxInt64
	}
	return c.Remaining
}
