package ledger

import (
	"testing"

	"keywheel/xds/event"
)

func TestPossible(t *testing.T) {
	const none = 1 << 62 // no limit
	for name, c := range map[string]struct {
		tokens, estimated, requests, room int64
		want                              bool
	}{
		"nothing":                              {0, 0, 0, 0, true},
		"a small answer":                       {900, 0, 1, 14400, true},
		"the largest context":                  {262_144 + 65_536, 0, 1, 14400, true},
		"a compound system's":                  {8 * 262_144, 0, 1, none, true},
		"more than any request":                {5 << 20, 0, 1, none, false},
		"tokens of no request":                 {5 << 20, 0, 0, none, false},
		"many requests":                        {1000 * 200_000, 0, 1000, none, true},
		"more than many requests":              {1002 * (1 << 21), 0, 1000, none, false},
		"an estimate of a large body":          {8 << 20, 8 << 20, 1, none, true},
		"an estimate of no body":               {1 << 40, 1 << 40, 1, none, false},
		"as many at once as an Envoy can have": {10_000 * 131_072, 0, 10_000, 100, true},
		"a flipped bit":                        {1<<52 + 900, 0, 1 << 33, 14400, false},
		"beyond allowance and what is held":    {1 << 40, 0, 1 << 30, 14400, false},
		"the same without a limit":             {1 << 40, 0, 1 << 30, none, true},
	} {
		if got := possible(c.tokens, c.estimated, c.requests, c.room); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A step that is set aside is told once, is not in the account, the day or the chart, and what comes after is.
func TestStepBeyondTheAllowanceIsSetAside(t *testing.T) {
	w := newWorld(t, threeKeys())
	e := w.newEnvoy()
	e.spend(today, "1.1", 100)
	w.send(e)
	u := e.credential(today, "1.1")
	u.Requests += 1 << 30 // as many as would explain it, but the allowance does not
	e.spend(today, "1.1", 1<<40)
	for range 3 {
		w.send(e)
	}
	e.spend(today, "1.1", 50)
	w.send(e)
	if k := w.key("1"); k.Used != 150 || k.Remaining != 14_250 {
		t.Errorf("used %d", k.Used)
	}
	told := w.eventsOf(event.Quarantined)
	if len(told) != 1 || told[0].Level != event.Warning || told[0].Key != "1" || told[0].Used != 1<<40 || w.Stats().Quarantined != 1 {
		t.Errorf("told %+v", told)
	}
	for _, now := range []string{"08:00", "24:05"} { // today's, then yesterday's
		w.jump(at(now))
		w.tick()
		if p := w.View().Proxies; len(p) != 1 || p[0].Quarantined != 1<<40 {
			t.Errorf("at %s shown is %+v", now, p)
		}
	}
	if by, _ := w.Series(window(today)); sumOf(by["1"].Tokens) != 150 {
		t.Errorf("the chart has %v", by["1"].Tokens)
	}
	w.check()
}
