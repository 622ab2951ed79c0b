package config

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	"keywheel/shared/secret"
)

// loadPolicy reads what holds for all keys.
func (l *loader) loadPolicy(c *Config) {
	c.Strategy = choice(l, "KEYWHEEL_STRATEGY", Priority, strategies)
	c.RequiredTokens = l.count("KEYWHEEL_REQUIRED_TOKENS", "estimated", MaxCount)
	c.ReportInterval = l.duration("KEYWHEEL_REPORT_INTERVAL", time.Second, 100*time.Millisecond, time.Minute)
	c.PushInterval = l.duration("KEYWHEEL_PUSH_INTERVAL", time.Second, 50*time.Millisecond, time.Minute)
	c.HistoryDays = l.number("KEYWHEEL_HISTORY_DAYS", 35, 2, 3650)
	c.EnvoyConcurrency = int(l.count("KEYWHEEL_ENVOY_CONCURRENCY", "cores", 1024))
}

// loadLogging reads how log lines are written.
func (l *loader) loadLogging(c *Config) {
	c.LogLevel = choice(l, "KEYWHEEL_LOG_LEVEL", slog.LevelInfo, logLevels)
	c.LogFormat = choice(l, "KEYWHEEL_LOG_FORMAT", LogText, logFormats)
}

// minToken is the shortest token that is not warned of.
const minToken = 16

// loadTokens reads the tokens of the admin API and of filters.
func (l *loader) loadTokens(c *Config) {
	c.AdminToken = l.token("KEYWHEEL_ADMIN_TOKEN")
	c.AdminReadToken = l.token("KEYWHEEL_ADMIN_READ_TOKEN")
	if !c.AdminToken.IsZero() && c.AdminToken.Equal(c.AdminReadToken) {
		name := "KEYWHEEL_ADMIN_READ_TOKEN"
		l.problem(l.called(name), entry{}, "it is the same as "+l.called("KEYWHEEL_ADMIN_TOKEN"), "write another one, or leave it out")
	}
	c.ProxyToken = l.token("KEYWHEEL_PROXY_TOKEN")
	for _, other := range []struct {
		name string
		key  secret.Key
	}{{"KEYWHEEL_ADMIN_TOKEN", c.AdminToken}, {"KEYWHEEL_ADMIN_READ_TOKEN", c.AdminReadToken}} {
		if !c.ProxyToken.IsZero() && c.ProxyToken.Equal(other.key) {
			l.problem(l.called("KEYWHEEL_PROXY_TOKEN"), entry{}, "it is the same as "+l.called(other.name), "write another one: every Envoy has it")
		}
	}
	c.MasterKeys = l.masterKeys()
}

func (l *loader) token(name string) secret.Key {
	e, set := l.lookupSecret(name)
	if !set {
		return secret.Key{}
	}
	if wrong := unprintable(e.value); wrong != "" {
		l.problem(name, e, wrong, "write a token of letters, digits and signs")
		return secret.Key{}
	}
	if len(e.value) < minToken {
		l.warn(name, fmt.Sprintf("it has fewer than %d characters and can be guessed", minToken))
	}
	return secret.New(e.value)
}

// A master key can be tried against a stolen store for as long as one likes.
const (
	minMaster  = 16 // characters; shorter ones are refused
	goodMaster = 32 // shorter ones are warned of
)

// masterKeys reads the master keys, the one that seals first.
func (l *loader) masterKeys() []secret.Key {
	const name, fix = "KEYWHEEL_MASTER_KEY", "write a long random text, such as `openssl rand -hex 32` makes; behind it, after a comma, the one it replaces"
	e, set := l.lookupSecret(name)
	if !set {
		return nil
	}
	var keys []secret.Key
	list := e.list()
	for i, part := range list {
		which := "it"
		if len(list) > 1 {
			which = fmt.Sprintf("its entry %d", i+1)
		}
		key, length := secret.New(part.value), utf8.RuneCountInString(part.value)
		switch {
		case !printable(part.value):
			l.problem(name, e, which+" has characters that cannot be printed", fix)
		case length < minMaster:
			l.problem(name, e, fmt.Sprintf("%s has fewer than %d characters", which, minMaster), fix)
		case slices.ContainsFunc(keys, key.Equal):
			l.problem(name, e, which+" stands in it twice", fix)
		case length < goodMaster:
			l.warn(name, fmt.Sprintf("%s has fewer than %d characters: whoever has the store may guess it", which, goodMaster))
		}
		keys = append(keys, key)
	}
	return keys
}
