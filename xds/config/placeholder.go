package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// trueKey is the shape of Groq's own keys. Words inside one are chance.
var trueKey = regexp.MustCompile(`^gsk_[A-Za-z0-9]{40,}$`)

// placeholderWords stand in the examples that people copy: gsk_your_key_here, <your-api-key>, changeme.
var placeholderWords = []string{
	"your", "yours", "yourkey", "yourapikey", "changeme", "change", "replace", "replaceme", "placeholder", "insert", "paste", "here", "todo", "example",
}

// wholePlaceholders are values that stand for no value.
var wholePlaceholders = []string{
	"none", "null", "nil", "undefined", "true", "false", "key", "apikey", "api_key", "api-key", "secret", "token", "password", "gsk", "gsk_", "groq_api_key",
}

// placeholder says whether a key's value is what an example holds in its place.
func placeholder(value string) bool {
	if trueKey.MatchString(value) {
		return fewCharacters(strings.TrimPrefix(value, "gsk_"))
	}
	lower := strings.ToLower(value)
	if strings.ContainsAny(lower, "<>{}…") || strings.Contains(lower, "...") || strings.Contains(lower, "***") || strings.HasPrefix(lower, "$") ||
		slices.Contains(wholePlaceholders, lower) {
		return true
	}
	words := strings.FieldsFunc(lower, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains(placeholderWords, w) || len(w) >= 3 && strings.Trim(w, "x") == ""
	})
}

// fewCharacters says whether s is made of one or two different characters only, such as xxxx or 0000.
func fewCharacters(s string) bool {
	var different []rune
	for _, r := range s {
		if !slices.Contains(different, r) {
			different = append(different, r)
		}
	}
	return len(different) <= 2
}
