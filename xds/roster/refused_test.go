package roster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"keywheel/shared/secret"
	"keywheel/xds/audit"
	"keywheel/xds/config"
	"keywheel/xds/roster"
)

// TestRefused has what cannot be a key's: the message says what to change, without the value, and nothing is changed.
func TestRefused(t *testing.T) {
	const canary = "gsk_CANARYvalue5vLq0Zb7"
	long := strings.Repeat("x", 41)
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("model-", i)
	}
	h := newHouse(t)
	for name, c := range map[string]struct {
		patch roster.Patch
		says  string
	}{
		"a long label":         {roster.Patch{Label: &long}, "label: it is longer than 40 characters"},
		"a secret as label":    {roster.Patch{Label: new(canary)}, "label: it looks like a key, and it is shown to everybody"},
		"a label with escapes": {roster.Patch{Label: new("a\x1b[31m")}, "label: it has characters that cannot be printed"},
		"a label of two lines": {roster.Patch{Label: new("a\nb")}, "label: it has characters that cannot be printed"},
		"a secret as org":      {roster.Patch{Org: new(canary)}, "org: it looks like a key"},
		"a long org":           {roster.Patch{Org: &long}, "org: it is longer than 40 characters"},
		"priority 0":           {roster.Patch{Priority: new(0)}, "priority is a number from 1 to 1000000"},
		"priority -1":          {roster.Patch{Priority: new(-1)}, "priority is a number from 1 to 1000000"},
		"priority too large":   {roster.Patch{Priority: new(1_000_001)}, "priority is a number from 1 to 1000000"},
		"another tier":         {roster.Patch{Tier: new("gold")}, "tier is free or paid"},
		"no tier":              {roster.Patch{Tier: new("")}, "tier is free or paid"},
		"a negative limit":     {roster.Patch{LimitTokens: new(int64(-1))}, "limit_tokens is a number above 0, or null for no limit"},
		"a huge limit":         {roster.Patch{LimitTokens: new(int64(config.MaxCount + 1))}, "limit_tokens is a number"},
		"negative requests":    {roster.Patch{LimitRequests: new(int64(-1))}, "limit_requests is a number above 0, or null for no limit"},
		"huge requests":        {roster.Patch{LimitRequests: new(int64(config.MaxCount + 1))}, "limit_requests is a number"},
		"no thresholds":        {roster.Patch{Thresholds: new([]int{})}, "thresholds are different whole percentages from 1 to 100"},
		"threshold 0":          {roster.Patch{Thresholds: new([]int{0, 50})}, "thresholds are"},
		"threshold 101":        {roster.Patch{Thresholds: new([]int{101})}, "thresholds are"},
		"a threshold twice":    {roster.Patch{Thresholds: new([]int{90, 75, 90})}, "thresholds are"},
		"too many models":      {roster.Patch{Models: &many}, "models: it has more than 100 names"},
		"a model without name": {roster.Patch{Models: new([]string{"a", ""})}, "models: its entry 2 is not the name of a model"},
		"a secret as model":    {roster.Patch{Models: new([]string{canary})}, "models: its entry 1 is not the name of a model"},
		"a model of blanks":    {roster.Patch{Models: new([]string{"a b"})}, "models: its entry 1 is not the name of a model"},
		"a model twice":        {roster.Patch{Models: new([]string{"a", "b", "a"})}, "models: its entry 3 is the same as entry 1"},
		"a placeholder":        {roster.Patch{Secret: secret.New("gsk_your_key_here")}, "secret: it is a placeholder"},
		"a secret with blanks": {roster.Patch{Secret: secret.New(canary + " " + canary)}, "secret: it has a blank inside"},
		"a secret in quotes":   {roster.Patch{Secret: secret.New(`"` + canary + `"`)}, "secret: it has quotes in it"},
		"a secret not ASCII":   {roster.Patch{Secret: secret.New(canary + "é")}, "secret: it has a character that is not plain ASCII"},
		"a header in a secret": {roster.Patch{Secret: secret.New(canary + "\r\nx: y")}, "secret: it has a blank inside"},
		"a long secret":        {roster.Patch{Secret: secret.New(canary + strings.Repeat("x", 4096))}, "secret: it is longer than 4096 characters"},
		"another's secret":     {roster.Patch{Secret: hidden("A")}, "Groq Key 2 has the same secret as Groq Key 1; give one of them another, or leave it out"},
	} {
		before := h.look()
		p := c.patch
		err := second(h.Change(t.Context(), "2", p, admin))
		if !errors.Is(err, roster.ErrInvalid) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s, changing: got %v", name, err)
		}
		if p.Secret.IsZero() {
			p.Secret = hidden("D")
		}
		_, _, err = h.Add(t.Context(), "", p, admin)
		if !errors.Is(err, roster.ErrInvalid) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s, adding: got %v", name, err)
		}
		h.unchanged(before)
	}
}

func TestRefusedAdds(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	before := h.look()
	for name, c := range map[string]struct {
		id     string
		secret secret.Key
		is     error
		says   string
	}{
		"no secret":             {"", secret.Key{}, roster.ErrInvalid, "a new key needs its secret"},
		"there already":         {"1", hidden("E"), roster.ErrExists, "Groq Key 1"},
		"added already":         {"4", hidden("E"), roster.ErrExists, "Groq Key 4"},
		"the secret of another": {"", hidden("D"), roster.ErrInvalid, "Groq Key 5 has the same secret as Groq Key 4"},
		"a path as ID":          {"../1", hidden("E"), roster.ErrInvalid, "its ID is at most 32 letters, digits, - and _, and no secret"},
		"a credential as ID":    {"1.1", hidden("E"), roster.ErrInvalid, "its ID is"},
		"a long ID":             {strings.Repeat("a", 33), hidden("E"), roster.ErrInvalid, "its ID is"},
		"a secret as ID":        {"gsk_CANARYshort", hidden("E"), roster.ErrInvalid, "its ID is"},
	} {
		_, _, err := h.Add(t.Context(), c.id, roster.Patch{Secret: c.secret}, admin)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v", name, err)
		}
		h.unchanged(before)
	}
}

// TestNoMasterKey refuses secrets, and nothing else.
func TestNoMasterKey(t *testing.T) {
	h := newHouse(t)
	h.sealer = nil
	h.reopen()
	before := h.look()
	for name, err := range map[string]error{
		"a new key":  third(h.Add(t.Context(), "", roster.Patch{Secret: hidden("D")}, admin)),
		"a secret":   second(h.Change(t.Context(), "1", roster.Patch{Secret: hidden("D")}, admin)),
		"everything": second(h.Change(t.Context(), "1", all("D"), admin)),
	} {
		if !errors.Is(err, roster.ErrNoMaster) || !strings.Contains(err.Error(), "set it, or put the key into the settings") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	h.unchanged(before)
	h.changed("1", roster.Patch{Label: new("mine"), Disabled: new(true)})
	h.removed("2")
	h.reopen()
	if got := h.ids(); got != "1 3" || h.key("1").Label != "mine" || !h.key("1").Disabled {
		t.Errorf("got %s, %q", got, h.key("1").Label)
	}
}

func third(_ string, _ int64, err error) error { return err }

// TestRefusedSettings keeps the last good ones.
func TestRefusedSettings(t *testing.T) {
	h := newHouse(t)
	h.added("", roster.Patch{Secret: hidden("D")})
	h.removed("1")
	h.removed("2")
	before := h.look()
	for name, c := range map[string]struct {
		keys []config.Key
		says string
	}{
		"the secret of a key of the API's": {append(h.settings[:3:3], setting("5", "D")), "Groq Key 5 has the same secret as Groq Key 4"},
		"an ID twice":                      {[]config.Key{setting("5", "E"), setting("5", "F")}, `key ID "5"`},
	} {
		err := second(h.Configure(t.Context(), c.keys, audit.Entry{Who: audit.File}))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
		h.unchanged(before)
	}
	h.removed("4")
	before = h.look()
	err := second(h.Configure(t.Context(), h.settings[:2], audit.Entry{Who: audit.File}))
	if !errors.Is(err, roster.ErrInvalid) || !strings.Contains(err.Error(), "no key would be left, as the API removed what these settings have; add another first") {
		t.Errorf("no key left: got %v", err)
	}
	h.unchanged(before)
	h.changed("3", roster.Patch{Label: new("on the last good settings")})
	h.inForce("3", "C")
}
