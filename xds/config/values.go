package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// word is one of the values that a setting takes.
type word[T any] struct {
	text  string
	means T
	also  string // another way to write it; empty: none
}

var (
	strategies = []word[Strategy]{{"priority", Priority, ""}, {"balanced", Balanced, ""}}
	tiers      = []word[string]{{TierFree, TierFree, ""}, {TierPaid, TierPaid, ""}}
	booleans   = []word[bool]{{"true", true, "1"}, {"false", false, "0"}}
	logFormats = []word[LogFormat]{{"text", LogText, ""}, {"json", LogJSON, ""}}
	logLevels  = []word[slog.Level]{
		{"debug", slog.LevelDebug, ""}, {"info", slog.LevelInfo, ""}, {"warning", slog.LevelWarn, "warn"}, {"error", slog.LevelError, ""},
	}
)

// choice reads one of a few words, in any case of letters.
func choice[T any](l *loader, name string, def T, words []word[T]) T {
	e, set := l.lookup(name)
	if !set {
		return def
	}
	texts := make([]string, len(words))
	for i, w := range words {
		if strings.EqualFold(w.text, e.value) || strings.EqualFold(w.also, e.value) {
			return w.means
		}
		texts[i] = w.text
	}
	l.problem(name, e, l.show(e.value)+" is not one of its values", "write "+orList(texts))
	return def
}

// orList writes "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// duration reads a time with its unit.
func (l *loader) duration(name string, def, least, most time.Duration) time.Duration {
	e, set := l.lookup(name)
	if !set {
		return def
	}
	fix := fmt.Sprintf("write a time with its unit from %s to %s, such as %s", short(least), short(most), short(def))
	d, err := time.ParseDuration(e.value)
	switch {
	case err != nil:
		l.problem(name, e, l.show(e.value)+" is not a time", fix)
	case d < least:
		l.problem(name, e, l.show(e.value)+" is too short", fix)
	case d > most:
		l.problem(name, e, l.show(e.value)+" is too long", fix)
	default:
		return d
	}
	return def
}

// short writes whole seconds and milliseconds without zero units: 60s, 100ms.
func short(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// number reads a whole number between least and most.
func (l *loader) number(name string, def, least, most int) int {
	e, set := l.lookup(name)
	if !set {
		return def
	}
	n, err := strconv.Atoi(e.value)
	if err != nil || n < least || n > most {
		wrong := fmt.Sprintf("%s is not a whole number from %d to %d", l.show(e.value), least, most)
		l.problem(name, e, wrong, "write a number such as "+strconv.Itoa(def))
		return def
	}
	return n
}

// count reads a number of at least 1. The word none, as leaving it out, gives 0.
func (l *loader) count(name, none string, most int64) int64 {
	e, set := l.lookup(name)
	if !set || strings.EqualFold(e.value, none) {
		return 0
	}
	n, err := strconv.ParseInt(e.value, 10, 64)
	if err == nil && n >= 1 && n <= most {
		return n
	}
	fix := fmt.Sprintf("write a number such as 1000, or leave it out for %q", none)
	if plain, ok := withoutSeparators(e.value, most); ok {
		fix = "write " + plain
	}
	l.problem(name, e, fmt.Sprintf("%s is not a whole number from 1 to %d", l.show(e.value), most), fix)
	return 0
}

// withoutSeparators returns the digits of a number that is written with signs between thousands.
func withoutSeparators(s string, most int64) (string, bool) {
	plain := strings.NewReplacer(",", "", "_", "", ".", "", "'", "", " ", "").Replace(s)
	if plain == s || strings.HasPrefix(plain, "+") {
		return "", false
	}
	n, err := strconv.ParseInt(plain, 10, 64)
	return plain, err == nil && n >= 1 && n <= most
}

// boolean reads true or false.
func (l *loader) boolean(name string) bool {
	return choice(l, name, false, booleans)
}

// thresholds reads percentages such as "75,90,100" and sorts them.
func (l *loader) thresholds(name string, def []int) []int {
	e, set := l.lookup(name)
	if !set {
		return slices.Clone(def)
	}
	const fix = "write whole percentages from 1 to 100, such as 75,90,100"
	var levels []int
	for _, part := range e.list() {
		n, err := strconv.Atoi(part.value)
		switch {
		case err != nil || !ValidThresholds([]int{n}):
			l.problem(name, e, l.show(e.value)+" is not a list of percentages", fix)
			return slices.Clone(def)
		case slices.Contains(levels, n):
			l.problem(name, e, strconv.Itoa(n)+" stands in it twice", fix)
			return slices.Clone(def)
		case len(levels) == MaxThresholds:
			l.problem(name, e, fmt.Sprintf("it has more than %d levels", MaxThresholds), fix)
			return slices.Clone(def)
		}
		levels = append(levels, n)
	}
	slices.Sort(levels)
	return levels
}

// models reads the names of models.
func (l *loader) models(name string) []string {
	e, set := l.lookup(name)
	if !set {
		return nil
	}
	var names []string
	for _, part := range e.list() {
		names = append(names, part.value)
	}
	if wrong := CheckModels(names); wrong != "" {
		l.problem(name, e, wrong, "write names as Groq has them, such as llama-3.1-8b-instant,openai/gpt-oss-120b")
		return nil
	}
	return names
}
