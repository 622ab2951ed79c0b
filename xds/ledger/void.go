package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
	"keywheel/xds/event"
	"keywheel/xds/threshold"
)

// ErrNoIncarnation is an incarnation that never reported, or was forgotten.
var ErrNoIncarnation = errors.New("there is no such Envoy")

// Void takes out of the account what an incarnation counted in the windows that can still change, yesterday's to
// tomorrow's, and refuses its reports from then on. What it might have spent is free for others. by says who did it.
func (l *Ledger) Void(ctx context.Context, incarnation string, by audit.Entry) error {
	return l.do(ctx, func(t *tx) error {
		inc := l.incarnations[incarnation]
		if inc == nil {
			return fmt.Errorf("%w: %s", ErrNoIncarnation, incarnation)
		}
		tokens := t.empty(inc)
		if !inc.Dead {
			t.bury(inc)
		}
		t.uncross()
		change(t, inc).Voided = true
		by.What, by.Outcome = "void proxy", audit.Done
		by.Detail = fmt.Sprintf("%s, %d tokens", incarnation, tokens)
		t.audit(by)
		t.tell(event.Event{Kind: event.Voided, Level: event.Warning, Node: inc.Node, Detail: inc.id, Used: tokens, By: by.Who},
			line{slog.LevelWarn, "Envoy voided: what it counted is no longer in the account, and its reports are refused",
				[]any{"node", inc.Node, "incarnation", inc.id, "tokens", tokens}})
		return nil
	})
}

// empty drops all that an incarnation counted, and returns the tokens that were in it.
func (t *tx) empty(inc *incarnation) (tokens int64) {
	l := t.l
	t.members = true
	for s := range maps.Clone(inc.sources) {
		tokens += s.spent
		t.unplot(s)
		if a := s.account; a != nil {
			save(t, a)
			a.leave(s)
			if a.own[inc] == s {
				drop(t, a.own, inc)
			}
		}
		change(t, s).gone = true
		drop(t, l.sources, s.id)
		drop(t, inc.sources, s)
		if _, ok := inc.replaced[s]; ok {
			drop(t, inc.replaced, s)
		}
	}
	for id, g := range l.gates {
		if id.incarnation == inc.id {
			change(t, g).gone = true
			drop(t, l.gates, id)
		}
	}
	for id, c := range l.callers {
		if id.incarnation == inc.id {
			change(t, c).gone = true
			drop(t, l.callers, id)
			drop(t, l.tallies, id.window) // it is made anew of the records
		}
	}
	return tokens
}

// uncross forgets the thresholds of today that are not reached any more, so that they are told when they really are.
func (t *tx) uncross() {
	for _, k := range t.l.keys {
		a, c := k.account(t.window), t.l.crossed[crossedID{t.window, k.ID}]
		if c == nil {
			continue
		}
		reached := append(threshold.Crossed(0, a.tokens.spent, a.tokens.limit, c.Levels), threshold.Crossed(0, a.requests.spent, a.requests.limit, c.Levels)...)
		change(t, c).Levels = slices.DeleteFunc(slices.Clone(c.Levels), func(level int) bool { return !slices.Contains(reached, level) })
	}
}

// unplot takes what a source used out of its key's series, from the newest bucket on: it is not known in which it was.
func (t *tx) unplot(s *source) {
	id, _, _ := protocol.SplitCredential(s.id.credential)
	series := t.l.series[crossedID{s.id.window, id}]
	if series == nil {
		return
	}
	change(t, series)
	series.Tokens, series.Requests = takeBack(series.Tokens, s.spent), takeBack(series.Requests, s.Requests)
}

// takeBack returns a copy of values with n less in all, from the last on.
func takeBack(values []int64, n int64) []int64 {
	out := append([]int64(nil), values...)
	for i := len(out) - 1; i >= 0 && n > 0; i-- {
		less := min(out[i], n)
		out[i] -= less
		n -= less
	}
	return out
}
