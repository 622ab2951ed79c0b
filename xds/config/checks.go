package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what a key is given.
const (
	MaxPriority   = 1_000_000
	MaxCount      = 1 << 53 // tokens or requests a day: what a JSON number holds exactly
	MaxSecret     = 4096    // bytes
	MaxText       = 40      // characters of a label or an organization
	MaxThresholds = 16
	MaxModels     = 100
)

// DefaultThresholds are the percentages of a limit that people are told of, unless settings say otherwise.
func DefaultThresholds() []int { return []int{75, 90, 100} }

// OwnOrg is the organization of a key that names none: one of its own.
func OwnOrg(keyID string) string { return "key-" + keyID }

// CheckSecret says what keeps a value from being a Groq key's secret, without repeating it; empty: nothing.
func CheckSecret(value string) (wrong string) {
	if value == "" {
		return "it is empty"
	}
	if placeholder(value) {
		return "it is a placeholder"
	}
	if wrong = unprintable(value); wrong != "" {
		return wrong
	}
	if strings.ContainsAny(value, `"'`) {
		return "it has quotes in it"
	}
	if len(value) > MaxSecret {
		return fmt.Sprintf("it is longer than %d characters", MaxSecret)
	}
	return ""
}

// looksLikeKey is what is wrong with a secret in a place that shows it.
const looksLikeKey = "it looks like a key, and it is shown to everybody"

// CheckText says what keeps a value from being a label or the name of an organization, without repeating it; empty:
// nothing.
func CheckText(value string) (wrong string) {
	switch {
	case !printable(value):
		return "it has characters that cannot be printed"
	case strings.Contains(strings.ToLower(value), "gsk_"):
		return looksLikeKey
	case utf8.RuneCountInString(value) > MaxText:
		return fmt.Sprintf("it is longer than %d characters", MaxText)
	}
	return ""
}

// ValidThresholds says whether levels are percentages that people can be told of, in any order.
func ValidThresholds(levels []int) bool {
	sorted := slices.Sorted(slices.Values(levels))
	return len(sorted) >= 1 && len(sorted) <= MaxThresholds && sorted[0] >= 1 && sorted[len(sorted)-1] <= 100 &&
		len(slices.Compact(sorted)) == len(levels)
}

// modelName is how Groq writes models: llama-3.1-8b-instant, openai/gpt-oss-120b.
var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$`)

// CheckModels says what keeps names from being the models that a key serves, without repeating them; empty: nothing.
func CheckModels(names []string) (wrong string) {
	if len(names) > MaxModels {
		return fmt.Sprintf("it has more than %d names", MaxModels)
	}
	for i, name := range names {
		switch first := slices.Index(names, name); {
		case !modelName.MatchString(name) || strings.Contains(strings.ToLower(name), "gsk_"):
			return fmt.Sprintf("its entry %d is not the name of a model", i+1)
		case first < i:
			return fmt.Sprintf("its entry %d is the same as entry %d", i+1, first+1)
		}
	}
	return ""
}

// unprintable says what keeps a secret from standing in an HTTP header; empty: nothing.
func unprintable(s string) string {
	for _, r := range s {
		switch {
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			return "it has a blank inside"
		case r < 0x21 || r > 0x7e:
			return "it has a character that is not plain ASCII"
		}
	}
	return ""
}
