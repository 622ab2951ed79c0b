package config_test

import (
	"slices"
	"strings"
	"testing"

	"keywheel/xds/config"
)

func TestChecksOfOneValue(t *testing.T) {
	long := strings.Repeat("é", config.MaxText)
	for _, tc := range []struct {
		name  string
		check func(string) string
		value string
		wrong string
	}{
		{"secret", config.CheckSecret, "gsk_good", ""},
		{"secret", config.CheckSecret, "", "it is empty"},
		{"secret", config.CheckSecret, "gsk_your_key_here", "it is a placeholder"},
		{"secret", config.CheckSecret, "gsk_a b", "it has a blank inside"},
		{"secret", config.CheckSecret, "gsk_ä", "it has a character that is not plain ASCII"},
		{"secret", config.CheckSecret, "'gsk_a'", "it has quotes in it"},
		{"secret", config.CheckSecret, strings.Repeat("ab", config.MaxSecret/2), ""},
		{"secret", config.CheckSecret, strings.Repeat("ab", config.MaxSecret/2) + "a", "it is longer than 4096 characters"},
		{"text", config.CheckText, "Our spare – №2", ""},
		{"text", config.CheckText, long, ""},
		{"text", config.CheckText, long + "é", "it is longer than 40 characters"},
		{"text", config.CheckText, "a\x1b[31m", "it has characters that cannot be printed"},
		{"text", config.CheckText, "my GSK_abc", "it looks like a key, and it is shown to everybody"},
	} {
		if got := tc.check(tc.value); got != tc.wrong {
			t.Errorf("%s %.20q: %q, want %q", tc.name, tc.value, got, tc.wrong)
		}
	}
}

func TestChecksOfLists(t *testing.T) {
	for _, levels := range [][]int{{75, 90, 100}, {100, 1}, {50}, config.DefaultThresholds(), sequence(config.MaxThresholds)} {
		if before := slices.Clone(levels); !config.ValidThresholds(levels) || !slices.Equal(levels, before) {
			t.Errorf("%v is refused, or changed", before)
		}
	}
	for _, levels := range [][]int{nil, {0}, {101}, {-1, 50}, {75, 90, 75}, sequence(config.MaxThresholds + 1)} {
		if config.ValidThresholds(levels) {
			t.Errorf("%v is taken", levels)
		}
	}
	names := make([]string, config.MaxModels+1)
	for i := range names {
		names[i] = strings.Repeat("m", i+1)
	}
	for _, tc := range []struct {
		names []string
		wrong string
	}{
		{nil, ""},
		{[]string{"llama-3.1-8b-instant", "openai/gpt-oss-120b", "a:b@1_2"}, ""},
		{names[:config.MaxModels], ""},
		{names, "it has more than 100 names"},
		{[]string{"a", ""}, "its entry 2 is not the name of a model"},
		{[]string{"a b"}, "its entry 1 is not the name of a model"},
		{[]string{"Gsk_a"}, "its entry 1 is not the name of a model"},
		{[]string{"-a"}, "its entry 1 is not the name of a model"},
		{[]string{strings.Repeat("a", 129)}, "its entry 1 is not the name of a model"},
		{[]string{"a", "b", "a"}, "its entry 3 is the same as entry 1"},
	} {
		if got := config.CheckModels(tc.names); got != tc.wrong {
			t.Errorf("%q: %q, want %q", tc.names, got, tc.wrong)
		}
	}
}

func sequence(n int) []int {
	var levels []int
	for i := range n {
		levels = append(levels, i+1)
	}
	return levels
}

// Changing what a caller was given changes no default.
func TestDefaultThresholdsAreACopy(t *testing.T) {
	config.DefaultThresholds()[0] = 1
	if got := config.DefaultThresholds(); !slices.Equal(got, []int{75, 90, 100}) {
		t.Errorf("the defaults have become %v", got)
	}
}
