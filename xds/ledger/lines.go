package ledger

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"keywheel/shared/quota"
	"keywheel/shared/selection"
)

// The log lines of the user's story, word for word.

// share is use as a percentage without a needless decimal: "0%", "59.3%"; "no limit" where there is none.
func share(used, limit int64) string {
	if limit <= 0 {
		return "no limit"
	}
	return strings.Replace(quota.FormatPercent(used, limit), ".0%", "%", 1)
}

// total is "123 / 14,400".
func total(used, limit int64) string {
	if limit <= 0 {
		return quota.Group(used) + ", no limit"
	}
	return quota.Group(used) + " / " + quota.Group(limit)
}

func thresholdLine(k *key, level int, m *meter, unit string) (string, slog.Level) {
	switch {
	case level >= 100:
		return fmt.Sprintf("%s: %d%% quota reached (%s)", k.name(), level, total(m.spent, m.limit)), slog.LevelInfo
	case level >= quota.CriticalPercent:
		return fmt.Sprintf("🚨 %s: %d%% quota used - near exhaustion!", k.name(), level), slog.LevelError
	}
	return fmt.Sprintf("%s at %d%% quota - %s %s remaining", k.name(), level, quota.Group(max(0, m.remaining())), unit), slog.LevelWarn
}

// backupLines name the keys after this one that can take over.
func (t *tx) backupLines(a *account) []line {
	var lines []line
	troubles := t.l.troubles(t.now)
	for i, k := range t.l.keys {
		b := k.account(a.window)
		if k.Rank <= a.key.Rank || !t.l.status(b, troubles[k], false).Serves() {
			continue
		}
		word := "backup"
		if i > 1 {
			word = "emergency backup"
		}
		used := share(b.tokens.spent, b.tokens.limit)
		if b.tokens.limit > 0 {
			used += " used"
		}
		lines = append(lines, line{slog.LevelInfo, fmt.Sprintf("%s ready as %s (%s)", k.name(), word, used), nil})
	}
	return lines
}

// skipWords say why a key was skipped.
var skipWords = map[selection.Reason]string{
	selection.Exhausted: "quota exhausted",
	selection.Cooling:   "cooling down",
}

func skippingLine(k *key, reason string) string {
	word, ok := skipWords[selection.Reason(reason)]
	if !ok {
		word = reason
	}
	if word == "" {
		word = "cannot serve"
	}
	return fmt.Sprintf("Skipping %s - %s", k.name(), word)
}

func selectedLine(k *key, used, limit int64) string {
	text := share(used, limit)
	if limit > 0 {
		text += " used"
	}
	return fmt.Sprintf("Selected %s (Priority %d, %s)", k.name(), k.Priority, text)
}

func completedLine(k *key, ordinal int64) string {
	return "✅ Request #" + strconv.FormatInt(ordinal, 10) + " completed via " + k.name()
}

func addedLine(k *key, tokens, used, limit int64) string {
	return fmt.Sprintf("%s: +%s tokens (total: %s)", k.name(), quota.Group(tokens), total(used, limit))
}

// quarterLine is what is said of the key in use every quarter of an hour.
func quarterLine(k *key, m *meter) string {
	percent := "no limit"
	if m.limit > 0 {
		percent = quota.FormatPercent(m.spent, m.limit)
	}
	return fmt.Sprintf("%s: %s tokens used (%s)", k.name(), quota.Group(m.spent), percent)
}
