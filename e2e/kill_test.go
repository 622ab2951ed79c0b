package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// loaded is a stack whose key 1 has a limit and whose key 2 has none, with answers that stay within what is reserved.
func loaded(t *testing.T, seed uint64, limit int64, bootstrap func(harness.Bootstrap)) *harness.Stack {
	t.Helper()
	return harness.Start(t, harness.Options{
		Keys:      []harness.Key{{ID: "1", LimitTokens: limit}, {ID: "2"}},
		Groq:      fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, reserved), Remember: -1},
		Settings:  map[string]string{"KEYWHEEL_REQUIRED_TOKENS": strconv.Itoa(reserved)},
		Bootstrap: bootstrap,
	})
}

// Envoy is killed at random moments until 95 % of key 1's limit are spent, and started again each time, while clients go on
// calling. What a dead Envoy had not reported is lost to the ledger, and to nobody else: no more than was served since
// its last acknowledged report was made, with what its busy workers had not yet told each other then, and key 1 serves at
// most its limit and that. Everything else the ledger has exactly.
func TestEnvoyKilledUnderLoad(t *testing.T) {
	kills := int64(harness.Scale(3, 50))
	limit := 300_000 * kills
	var relay *harness.Relay
	seed := harness.Seed(t)
	s := loaded(t, seed, limit, func(b harness.Bootstrap) { relay = b.PutRelay(t) })
	random := harness.Random(seed, 1)
	known := &lastKnown{}
	relay.Treat(func(r harness.Report) harness.Treatment {
		known.came(r, harness.Oracle(s.Groq, s.Keys))
		return harness.Delivered
	})
	load := harness.StartLoad(t, s.H1, racers, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
		if err == nil && a.Err == nil && a.Status != 200 && a.ErrorCode() != "no_assignment" {
			t.Errorf("a client got %s", a)
		}
		return true // calls that broke off and connections that were refused are what a kill is
	})
	lost := map[string]int64{}
	for i := range kills {
		share := 95 * limit / 100 / kills
		waitTold(t, s, share*i+share/2+random.Int64N(share/2))
		told := known.told(relay) // before the kill: what is acknowledged after this only makes less of it
		s.Envoy.Kill(t)
		missing := unreported(t, s)
		for id, n := range harness.Oracle(s.Groq, s.Keys) {
			if newly, most := missing[id]-lost[id], n-told[id]+(racers+workers*untold)*reserved; newly < 0 || newly > most {
				t.Errorf("kill %d: %d tokens of key %s are lost; %d were served since the last acknowledged report, with those in flight or untold at it",
					i+1, newly, id, most)
			}
		}
		t.Logf("kill %d of %d: in all %v tokens were served and not reported, of %v", i+1, kills, missing, harness.Oracle(s.Groq, s.Keys))
		lost = missing
		s.Envoy.Start(t)
	}
	s.Keywheel.WaitKey(t, "1", "is spent", func(k harness.KeyState) error {
		if k.UsedTokens+reserved <= limit {
			return fmt.Errorf("%d of %d tokens are used", k.UsedTokens, limit)
		}
		return nil
	})
	load.Stop()
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	told := harness.Oracle(s.Groq, s.Keys)
	t.Logf("key 1 served %d tokens: %d more than its limit, of which %d were unreported at the kills", told["1"], told["1"]-limit, lost["1"])
	if told["1"] > limit+lost["1"] {
		t.Errorf("key 1 served %d tokens, more than its limit of %d and the %d that were unreported", told["1"], limit, lost["1"])
	}
	s.Keywheel.WaitLedger(t, map[string]int64{"1": told["1"] - lost["1"], "2": told["2"] - lost["2"]})
}

// lastKnown is what the simulated Groq had told when each usage report came to the relay: all that it can tell of, but for
// what was in flight.
type lastKnown struct {
	mu sync.Mutex
	at map[string]map[string]int64 // by incarnation and number of the report
}

func (k *lastKnown) came(r harness.Report, told map[string]int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == nil {
		k.at = map[string]map[string]int64{}
	}
	k.at[fmt.Sprint(r.Incarnation, r.Seq)] = told
}

// told is what was told when the newest report came that is acknowledged.
func (k *lastKnown) told(relay *harness.Relay) map[string]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range slices.Backward(relay.Reports()) {
		if at := k.at[fmt.Sprint(r.Incarnation, r.Seq)]; at != nil && r.Status == 200 {
			return at
		}
	}
	return nil
}

// waitTold returns once the simulated Groq has told so many tokens of key 1.
func waitTold(t *testing.T, s *harness.Stack, tokens int64) {
	t.Helper()
	err := s.Groq.WaitFor(harness.Context(t), func(truth fakegroq.Truth) bool {
		return truth.Accounts[s.Keys[0].Secret].Tokens.Total() >= tokens
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unreported is what the simulated Groq has told and the ledger does not have, by key, once no Envoy is there any more.
func unreported(t *testing.T, s *harness.Stack) map[string]int64 {
	t.Helper()
	harness.Eventually(t, "the dead Envoy is gone", func() error {
		for _, p := range s.Keywheel.Proxies(t) {
			if p.Connected {
				return fmt.Errorf("%s is still there", p.Incarnation)
			}
		}
		return nil
	})
	if err := s.Groq.WaitIdle(harness.Context(t)); err != nil {
		t.Fatal(err)
	}
	missing := harness.Oracle(s.Groq, s.Keys)
	for id, k := range s.Keywheel.Keys(t) {
		missing[id] -= k.UsedTokens
		if missing[id] < 0 {
			t.Errorf("key %s: the ledger has %d tokens more than were served", id, -missing[id])
		}
	}
	return missing
}

// Two Envoys whose configuration gives them the same node id share key 1: together they serve no more than its limit,
// and nearly all of it.
func TestTwoEnvoysOfOneNode(t *testing.T) {
	const limit = 200_000
	s := loaded(t, harness.Seed(t), limit, nil)
	_, second := s.SecondEnvoy(t)
	var loads []*harness.Load
	for _, c := range []*harness.Client{s.H1, second} {
		loads = append(loads, harness.StartLoad(t, c, racers/2, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
			if err != nil || a.Err != nil || a.Status != 200 {
				t.Errorf("a client got %v, %s", err, a)
			}
			return true
		}))
	}
	// What one gives up the other gets, while both go on with key 2: in the end little is left.
	s.Keywheel.WaitKey(t, "1", "is nearly spent", func(k harness.KeyState) error {
		if k.UsedTokens < limit*95/100 {
			return fmt.Errorf("%d tokens are used", k.UsedTokens)
		}
		return nil
	})
	s.Keywheel.WaitKey(t, "2", "serves", func(k harness.KeyState) error {
		if k.UsedTokens < limit/4 {
			return fmt.Errorf("%d tokens are used", k.UsedTokens)
		}
		return nil
	})
	for _, load := range loads {
		load.Stop()
	}
	s.AssertOracle(t)
	served := harness.Oracle(s.Groq, s.Keys)["1"]
	t.Logf("two Envoys served %d tokens of key 1 (%.2f %% of its limit)", served, 100*float64(served)/limit)
	if served > limit || served < limit*95/100 {
		t.Errorf("two Envoys served %d tokens of key 1, whose limit is %d", served, limit)
	}
	nodes := map[string]int{}
	for _, p := range s.Keywheel.Proxies(t) {
		nodes[p.Node]++
	}
	if len(nodes) != 1 || len(s.Keywheel.Proxies(t)) != 2 {
		t.Errorf("want two Envoys of one node, got %+v", s.Keywheel.Proxies(t))
	}
}
