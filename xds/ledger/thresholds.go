package ledger

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"

	"keywheel/shared/quota"
	"keywheel/xds/threshold"
)

// Units of a threshold.
const (
	unitTokens   = "tokens"
	unitRequests = "requests"
)

// cross records the thresholds that a report crossed, in the order of keys.
func (t *tx) cross(in *incoming) {
	byRank := func(a, b *account) int {
		return cmp.Or(cmp.Compare(a.key.Rank, b.key.Rank), cmp.Compare(a.window, b.window))
	}
	for _, a := range slices.SortedFunc(maps.Keys(in.before), byRank) {
		t.crossFrom(a, in.before[a])
	}
}

// crossLimits records the thresholds that changed limits and levels put below today's use.
func (t *tx) crossLimits() {
	for _, k := range t.l.keys {
		t.crossFrom(k.account(t.window), used{})
	}
}

func (t *tx) crossFrom(a *account, before used) {
	levels := a.key.Thresholds
	tokens := threshold.Crossed(before.tokens, a.tokens.spent, a.tokens.limit, levels)
	requests := threshold.Crossed(before.requests, a.requests.spent, a.requests.limit, levels)
	for _, level := range tokens {
		t.crossLevel(a, level, &a.tokens, unitTokens)
	}
	for _, level := range requests {
		t.crossLevel(a, level, &a.requests, unitRequests)
	}
}

// crossLevel records one level, unless it was recorded for this key and window before.
func (t *tx) crossLevel(a *account, level int, m *meter, unit string) {
	id := crossedID{a.window, a.key.ID}
	c := t.l.crossed[id]
	if c == nil {
		c = &crossed{window: a.window, key: a.key.ID}
		put(t, t.l.crossed, id, c)
		made := c
		t.undo = append(t.undo, func() { made.gone = true })
	}
	if slices.Contains(c.Levels, level) {
		return
	}
	change(t, c)
	c.Levels = append(slices.Clone(c.Levels), level)
	late := a.window < t.window
	t.event(Event{
		Kind: EventThreshold, Level: thresholdLevel(level), Key: a.key.ID, Window: a.window.String(), Percent: level,
		Used: m.spent, Limit: m.limit, Remaining: max(0, m.remaining()), Unit: unit, Late: late,
	})
	if late {
		return
	}
	text, severity := thresholdLine(a.key, level, m, unit)
	t.log(severity, text)
	if level >= quota.CriticalPercent && level < 100 {
		for _, text := range t.backupLines(a) {
			t.log(slog.LevelInfo, text)
		}
	}
}

func thresholdLevel(percent int) EventLevel {
	switch {
	case percent >= 100:
		return LevelInfo
	case percent >= quota.CriticalPercent:
		return LevelCritical
	}
	return LevelWarning
}
