package cli

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"keywheel/shared/quota"
	"keywheel/xds/admin"
)

const (
	barCells = 10
	maxName  = 40 // columns for "Key 1 (Label)"
)

// statusWords are the statuses as the picture shows them.
var statusWords = map[quota.Status]string{
	quota.Disabled:  "🚫 Disabled",
	quota.Invalid:   "⛔ Invalid",
	quota.Exhausted: "🔴 Exhausted",
	quota.Cooling:   "🧊 Cooling",
	quota.Critical:  "🟠 Critical",
	quota.Warning:   "🟡 Warning",
	quota.Active:    "✅ Active",
	quota.Standby:   "⏸ Standby",
}

// picture draws the account: the pool's health, a bar for each key, and when all begins anew.
func picture(pool admin.Pool, keys []admin.Key) string {
	names, widest := make([]string, len(keys)), 0
	for i, key := range keys {
		names[i] = shorten(keyName(key.ID, key.Label), maxName)
		widest = max(widest, columns(names[i]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s Groq (%s) - Health: %.0f%%\n", light(pool, keys), count(len(keys), "key"), math.Floor(pool.Health+0.5))
	for i, key := range keys {
		b.WriteString(pad(names[i], widest+2) + gauge(key) + " " + statusText(key) + "\n")
	}
	fmt.Fprintf(&b, "Resets in: %s\n", countdown(pool.ResetsAt.Sub(pool.Now)))
	b.WriteString(poolLine(pool) + "\n")
	return b.String()
}

// light is green while all is well, yellow below 80 % health, and red below 50 % or with no key that serves.
func light(pool admin.Pool, keys []admin.Key) string {
	serving := false
	for _, key := range keys {
		serving = serving || quota.Status(key.Status).Serves()
	}
	switch {
	case !serving || pool.Health < 50:
		return "🔴"
	case pool.Health < 80:
		return "🟡"
	}
	return "🟢"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// gauge is a key's bar and percentage; empty with a dash where there is no limit to measure by.
func gauge(key admin.Key) string {
	percent, ok := usedPercent(key)
	if !ok {
		return strings.Repeat("░", barCells) + "    -"
	}
	full := cells(percent)
	return strings.Repeat("█", full) + strings.Repeat("░", barCells-full) + fmt.Sprintf(" %3d%%", wholePercent(percent))
}

// usedPercent is how much of its limit a key has used: of tokens, or else of requests.
func usedPercent(key admin.Key) (float64, bool) {
	switch {
	case key.Percent != nil:
		return *key.Percent, true
	case key.LimitRequests != nil:
		return quota.Percent(key.Requests, *key.LimitRequests), true
	}
	return 0, false
}

// cells is percent ÷ 10, rounded; all of them only at 100 %.
func cells(percent float64) int {
	if percent >= 100 {
		return barCells
	}
	return min(max(int(math.Floor(percent/barCells+0.5)), 0), barCells-1)
}

// wholePercent is percent rounded; 100 only when it is reached.
func wholePercent(percent float64) int {
	whole := int(math.Floor(max(percent, 0) + 0.5))
	if percent < 100 {
		return min(whole, 99)
	}
	return whole
}

// statusText is a key's status, and apart from it whether it is the key in use and has no limit.
func statusText(key admin.Key) string {
	text := cmp.Or(statusWords[quota.Status(key.Status)], printable(key.Status))
	var notes []string
	if key.Active && quota.Status(key.Status) != quota.Active {
		notes = append(notes, "in use")
	}
	if _, limited := usedPercent(key); !limited {
		notes = append(notes, "no limit")
	}
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	return text
}

// countdown writes a time to come: "10h 00m".
func countdown(d time.Duration) string {
	minutes := int64(max(d, 0) / time.Minute)
	return fmt.Sprintf("%dh %02dm", minutes/60, minutes%60)
}

// poolLine is the capacity of all keys together.
func poolLine(pool admin.Pool) string {
	if pool.Limit == nil {
		return "Pool: " + quota.Group(pool.Used) + " tokens (no limit)"
	}
	return fmt.Sprintf("Pool: %s / %s tokens (%s)", quota.Group(pool.Used), quota.Group(*pool.Limit), quota.FormatPercent(pool.Used, *pool.Limit))
}
