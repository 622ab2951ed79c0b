// Package threshold says which levels of a limit were crossed.
package threshold

import (
	"math/bits"
	"slices"
)

// Crossed returns the levels, in percent of limit, that use reached on its way from before to after: in ascending
// order, each once. There are none without a limit (0), for levels below 1, and where use did not rise. A level is
// reached by the exact share, not by the rounded one that is shown.
func Crossed(before, after, limit int64, levels []int) []int {
	if limit <= 0 || after <= before {
		return nil
	}
	var crossed []int
	for _, level := range levels {
		if level > 0 && !reached(before, limit, level) && reached(after, limit, level) {
			crossed = append(crossed, level)
		}
	}
	slices.Sort(crossed)
	return slices.Compact(crossed)
}

// reached says whether used is at least level percent of limit, which is above 0.
func reached(used, limit int64, level int) bool {
	if used < 0 {
		return false
	}
	usedHigh, usedLow := bits.Mul64(uint64(used), 100)
	limitHigh, limitLow := bits.Mul64(uint64(limit), uint64(level))
	return usedHigh > limitHigh || usedHigh == limitHigh && usedLow >= limitLow
}
