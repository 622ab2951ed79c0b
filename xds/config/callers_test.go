package config_test

import (
	"strings"
	"testing"
)

func TestHeadersOfCallers(t *testing.T) {
	for value, want := range map[string]string{
		"x-team": "x-team", "X-Team": "x-team", "x_team2": "x_team2", "openai-organization": "openai-organization", "accepted": "accepted",
	} {
		if c := mustLoad(t, "", "GROQ_API_KEY=gsk_a", "KEYWHEEL_CALLER_HEADER="+value); c.CallerHeader != want {
			t.Errorf("%s: %q, want %q", value, c.CallerHeader, want)
		}
	}
	for _, value := range []string{
		"x team", "x:team", "-x", "x-", "x-t\u00e9am", ":path", strings.Repeat("x", 65), "authorization", "Cookie", "host", "user-agent", "content-type",
		"content-length", "accept", "accept-encoding", "x-request-id", "x-envoy-anything", "x-keywheel-use-key", "x-keywheel-key", "proxy-authorization",
		"x-forwarded-for", "te", "x-api-key",
	} {
		c, _, err := load("", "GROQ_API_KEY=gsk_a", "KEYWHEEL_CALLER_HEADER="+value)
		if err == nil || !strings.Contains(err.Error(), "KEYWHEEL_CALLER_HEADER: ") || !strings.Contains(err.Error(), "such as x-team") {
			t.Errorf("%s: %v, %v", value, c, err)
		}
	}
}
