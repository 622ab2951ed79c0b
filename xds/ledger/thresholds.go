package ledger

import (
	"cmp"
	"maps"
	"slices"

	"keywheel/shared/quota"
	"keywheel/xds/event"
	"keywheel/xds/threshold"
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
		t.crossLevel(a, level, &a.tokens, event.Tokens)
	}
	for _, level := range requests {
		t.crossLevel(a, level, &a.requests, event.Requests)
	}
}

// crossedOf returns what was told of a key in a window, and makes it where there is nothing yet.
func (t *tx) crossedOf(w quota.Window, keyID string) *crossed {
	id := crossedID{w, keyID}
	c := t.l.crossed[id]
	if c == nil {
		c = &crossed{window: w, key: keyID}
		put(t, t.l.crossed, id, c)
		made := c
		t.undo = append(t.undo, func() { made.gone = true })
	}
	return c
}

// crossLevel records one level, unless it was recorded for this key and window before.
func (t *tx) crossLevel(a *account, level int, m *meter, unit string) {
	c := t.crossedOf(a.window, a.key.ID)
	if slices.Contains(c.Levels, level) {
		return
	}
	change(t, c)
	c.Levels = append(slices.Clone(c.Levels), level)
	text, severity := thresholdLine(a.key, level, m, unit)
	lines := []line{{severity, text, nil}}
	if level >= quota.CriticalPercent && level < 100 {
		lines = append(lines, t.backupLines(a)...)
	}
	t.tell(event.Event{
		Kind: event.Threshold, Level: thresholdLevel(level), Key: a.key.ID, Window: a.window.String(), Percent: level,
		Used: m.spent, Limit: m.limit, Remaining: max(0, m.remaining()), Unit: unit, Late: a.window < t.window,
	}, lines...)
}

func thresholdLevel(percent int) event.Level {
	switch {
	case percent >= 100:
		return event.Info
	case percent >= quota.CriticalPercent:
		return event.Critical
	}
	return event.Warning
}
