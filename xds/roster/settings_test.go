package roster_test

import (
	"strings"
	"testing"

	"keywheel/xds/config"
	"keywheel/xds/roster"
)

// with is a key with a change.
func with(k config.Key, change func(*config.Key)) config.Key {
	change(&k)
	return k
}

// TestEditsStayOverSettings keeps what the API set, and takes the rest from settings as they change.
func TestEditsStayOverSettings(t *testing.T) {
	h := newHouse(t)
	h.changed("2", roster.Patch{Label: new("mine"), LimitTokens: new(int64(500)), Secret: hidden("E")})
	h.configured(h.settings[0], with(setting("2", "F"), func(k *config.Key) {
		k.Label, k.LabelByRank, k.LimitTokens, k.LimitRequests, k.Tier = "theirs", false, 9, 80, "paid"
	}), h.settings[2])
	for range 2 {
		k := h.key("2")
		if k.Label != "mine" || k.LimitTokens != 500 || k.LimitRequests != 80 || k.Tier != "paid" {
			t.Errorf("got %q, %d tokens, %d requests, %s", k.Label, k.LimitTokens, k.LimitRequests, k.Tier)
		}
		if c := h.inForce("2", "E"); c != "2.2" {
			t.Errorf("credential %s", c)
		}
		if got := strings.Join(k.Changed, " "); got != "label limit_tokens secret" {
			t.Errorf("set by the API: %s", got)
		}
		h.reopen()
	}
}

// TestSettingsWhileRunning adds, changes and removes keys by the settings alone.
func TestSettingsWhileRunning(t *testing.T) {
	h := newHouse(t)
	h.spend(1, "1.1", 100)
	h.spend(2, "3.1", 300)
	h.configured(setting("1", "D"), h.settings[2], setting("4", "E"))
	if got := h.ids(); got != "1 3 4" {
		t.Errorf("in force: %s", got)
	}
	if h.inForce("1", "D") != "1.2" || h.inForce("3", "C") != "3.1" || h.inForce("4", "E") != "4.1" {
		t.Error("the credentials are others")
	}
	h.uses("1", 0)
	h.uses("3", 300)
	if h.key("4").Label != "Emergency" {
		t.Errorf("key 4 is named %q", h.key("4").Label)
	}
	h.configured(h.settings[1], with(setting("1", "D"), func(k *config.Key) { k.Disabled = true }))
	if got := h.ids(); got != "1 3" || !h.key("1").Disabled {
		t.Errorf("in force: %s", got)
	}
	h.configured(h.settings...) // once more, the same
	if got := h.ids(); got != "1 3" {
		t.Errorf("in force: %s", got)
	}
}

// TestRemovedStaysAway with the same secret, over restarts and changes of the settings, and comes back with another.
func TestRemovedStaysAway(t *testing.T) {
	h := newHouse(t)
	h.changed("2", roster.Patch{Label: new("mine")})
	h.removed("2")
	away := func(what string) {
		t.Helper()
		if got := h.ids(); strings.Contains(got, "2") {
			t.Errorf("%s: in force: %s", what, got)
		}
	}
	h.reopen()
	away("a restart")
	h.configured(h.settings[0], with(h.settings[1], func(k *config.Key) { k.LimitTokens = 7 }), h.settings[2])
	away("another limit")
	h.configured(h.settings[0])
	away("not in the settings")
	h.reopen()
	h.configured(setting("1", "A"), setting("2", "B"), setting("3", "C"))
	away("in the settings again")

	h.configured(setting("1", "A"), setting("2", "D"), setting("3", "C"))
	for range 2 {
		if c := h.inForce("2", "D"); c != "2.2" || h.key("2").Label != "Backup" {
			t.Errorf("another secret: credential %s, label %q", c, h.key("2").Label)
		}
		h.reopen()
	}
	h.changed("2", roster.Patch{Label: new("again")})
	h.removed("2")
	away("removed again")
	h.reopen()
	away("removed again, after a restart")
}

// TestKeysOfBoth has a key of the API's that the settings come to have too.
func TestKeysOfBoth(t *testing.T) {
	h := newHouse(t)
	h.added("4", roster.Patch{Secret: hidden("D"), Label: new("mine")})
	h.configured(append(h.settings[:3:3], setting("4", "E"))...)
	for range 2 {
		h.inForce("4", "D")
		if k := h.key("4"); k.Label != "mine" || k.LimitTokens != 14400 || k.Source != config.SourceEnvironment {
			t.Errorf("got %q, %d tokens, of the %s", k.Label, k.LimitTokens, k.Source)
		}
		h.reopen()
	}
	h.configured(h.settings[:3]...)
	h.inForce("4", "D")
	if k := h.key("4"); k.LimitTokens != 0 || k.Source != config.SourceAPI {
		t.Errorf("got %d tokens, of the %s", k.LimitTokens, k.Source)
	}
	h.configured(append(h.settings[:3:3], setting("4", "E"))...)
	h.removed("4")
	h.configured(h.settings[:3]...)
	h.reopen()
	if got := h.ids(); got != "1 2 3" {
		t.Errorf("in force: %s", got)
	}
}

// TestSettingsThatClashAtTheStart are refused, with what to change.
func TestSettingsThatClashAtTheStart(t *testing.T) {
	h := newHouse(t)
	h.added("4", roster.Patch{Secret: hidden("D")})
	h.settings = append(h.settings, setting("5", "D"))
	err := h.tryReopen()
	if err == nil || !strings.Contains(err.Error(), "Groq Key 5 has the same secret as Groq Key 4; give one of them another, or leave it out") {
		t.Errorf("got %v", err)
	}
	if err != nil {
		leakless(t, "the error", err.Error(), "D")
	}
}
