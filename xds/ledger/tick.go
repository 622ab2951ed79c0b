package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/event"
)

// settled is how long a day must have been today's, by the host's clock, before older ones are folded: a clock that
// jumps ahead for a moment does no harm.
const settled = 10 * time.Minute

// Tick does what is due by the clock: it takes back what silent Envoys hold, begins a new day, folds old ones, says
// what the key in use has spent. It is to be called about every second; nothing depends on how often.
func (l *Ledger) Tick(ctx context.Context) error {
	return l.do(ctx, func(t *tx) error {
		t.buryTheSilent()
		t.expire()
		t.tellQuarter()
		t.newDay()
		t.foresee()
		var oldest quota.Window // of what is kept
		if l.window != t.window {
			window, mono := t.window, t.mono
			t.after = append(t.after, func() { l.window, l.windowAt = window, mono })
		} else {
			t.tellSummaries()
			if t.mono.Sub(l.windowAt) >= settled {
				oldest = t.window - quota.Window(l.historyDays)
				t.fold()
				t.forgetOld(oldest)
			}
		}
		t.pruneEvents(oldest)
		t.pruneNotices(oldest)
		return nil
	})
}

// newDay says once that a window began.
func (t *tx) newDay() {
	name := t.window.String()
	if name <= t.l.meta.Announced { // dates sort as text
		return
	}
	change(t, t.l.meta).Announced = name
	t.tell(event.Event{Kind: event.Reset, Level: event.Info, Window: name},
		line{slog.LevelInfo, fmt.Sprintf("New day %s (UTC): all keys at 0", name), nil})
}

// tellQuarter says on each quarter of an hour what the key in use has spent.
func (t *tx) tellQuarter() {
	l := t.l
	quarter := t.now.Unix() / 900
	if quarter == l.quarter {
		return
	}
	if k := l.keyInUse(t.now); k != nil && quarter > l.quarter && l.quarter != 0 {
		if m := &k.account(t.window).tokens; m.spent > 0 {
			t.log(slog.LevelInfo, quarterLine(k, m))
		}
	}
	t.after = append(t.after, func() { l.quarter = quarter })
}
