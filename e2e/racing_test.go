package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

const (
	workers   = 2   // of Envoy, as the harness starts it
	racers    = 32  // clients that spend at once
	crossings = 20  // limits that they race across
	reserved  = 100 // tokens that each call is taken to need
)

// 32 clients on two workers race across the limits of 20 keys, one after the other. A key is overspent by no more than
// what the calls in flight at the crossing cost above their reservation: by nothing, where answers stay within it. The
// ledger agrees with the simulated Groq after each crossing.
func TestRaceAcrossTheLimit(t *testing.T) {
	for what, most := range map[string]int64{"answers stay within their reservation": reserved, "answers exceed their reservation": 4 * reserved} {
		t.Run(what, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			var keys []harness.Key
			for i := range crossings {
				limit := 10_000 + random.Int64N(10_000)
				if i%5 == 4 {
					limit += 50_000 // so much is not allotted to one Envoy all at once
				}
				keys = append(keys, harness.Key{ID: strconv.Itoa(i + 1), LimitTokens: limit})
			}
			keys = append(keys, harness.Key{ID: strconv.Itoa(crossings + 1)}) // takes what the others cannot
			s := harness.Start(t, harness.Options{
				Keys:     keys,
				Groq:     fakegroq.Options{TokensFor: harness.SpreadTokens(seed, 20, most), Remember: 50_000},
				Settings: map[string]string{"KEYWHEEL_REQUIRED_TOKENS": strconv.Itoa(reserved)},
			})
			var over int64
			for _, k := range s.Keys[:crossings] {
				over += cross(t, s, k)
			}
			if most > reserved && over == 0 {
				t.Error("no key was overspent by a token: the crossings were no race")
			}
			if most <= reserved && over != 0 {
				t.Errorf("keys were overspent by %d tokens", over)
			}
			bothWorkersServed(t, s)
		})
	}
}

// cross spends a key to its limit, checks by how much it was overspent, and returns that.
func cross(t *testing.T, s *harness.Stack, k harness.Key) int64 {
	t.Helper()
	spent := harness.Oracle(s.Groq, s.Keys)[k.ID] // by calls that found no room in the keys before
	load := harness.StartLoad(t, s.H1, racers, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
		if err != nil || a.Err != nil || a.Status != 200 {
			t.Errorf("key %s: %v, %s", k.ID, err, a)
			return false
		}
		if a.Key == k.ID {
			spent += a.Tokens()
		}
		return spent+reserved <= k.LimitTokens // the key has room for one more
	})
	load.Wait(t)
	if t.Failed() {
		t.FailNow()
	}
	s.AssertOracle(t)
	truth := s.Groq.Truth()
	total := truth.Accounts[k.Secret].Tokens.Total()
	over, most := max(0, total-k.LimitTokens), mostOver(truth, k)
	t.Logf("key %2s: limit %6d, served %6d, overspent by %4d, at most %4d", k.ID, k.LimitTokens, total, over, most)
	if over > most {
		t.Errorf("key %s was overspent by %d tokens, at most %d are explained by calls in flight", k.ID, over, most)
	}
	if total+reserved <= k.LimitTokens {
		t.Errorf("key %s was not crossed: %d of %d tokens are spent", k.ID, total, k.LimitTokens)
	}
	return over
}

// mostOver is what the calls in flight at the crossing cost above their reservations. A call was in flight when the last
// one was sent with this key only if it is its client's last one with it, as each client makes one at a time.
func mostOver(truth fakegroq.Truth, k harness.Key) int64 {
	last := map[string]int64{}
	for _, r := range truth.Requests {
		if r.Key == k.ID {
			last[r.Tag] = r.Tokens.Total()
		}
	}
	var sum int64
	for _, tokens := range last {
		sum += max(0, tokens-reserved)
	}
	return sum
}

// bothWorkersServed fails a test about races if all clients were one worker's.
func bothWorkersServed(t *testing.T, s *harness.Stack) {
	t.Helper()
	connections := s.Envoy.Stats(t, `^listener\.[^a].*\.worker_\d+\.downstream_cx_total$`)
	if len(connections) != 2 {
		t.Errorf("want two workers, got %v", connections)
	}
	for worker, n := range connections {
		if n == 0 {
			t.Errorf("%s is 0: it was no race of two workers", worker)
		}
	}
}

// Calls that ask for far more than they take do not lock the pool: with 32 clients whose max_tokens is 8,192 and whose
// answers take 100 tokens, nobody is refused before nine tenths of the pool are spent.
func TestLargeMaxTokensDoNotLockThePool(t *testing.T) {
	const limit, pool = 14_400, 3 * 14_400
	s := harness.Start(t, harness.Options{
		Keys: harness.Keys(3, limit),
		Groq: fakegroq.Options{TokensFor: fakegroq.FixedTokens(20, 80)},
	})
	var spent int64
	first := ""
	load := harness.StartLoad(t, s.H1, racers, harness.Call{MaxTokens: 8192}, func(_ int, a harness.Answer, err error) bool {
		switch {
		case first != "":
			return false
		case err == nil && a.Err == nil && a.Status == 200:
			spent += a.Tokens()
			return true
		}
		first = fmt.Sprintf("%v %s", err, a)
		if err != nil || a.Status != 429 {
			t.Errorf("after %d tokens: %s", spent, first)
		}
		return false
	})
	load.Wait(t)
	t.Logf("the first 429 came after %d of %d tokens (%.1f %%): %s", spent, pool, 100*float64(spent)/pool, first)
	if 10*spent < 9*pool {
		t.Errorf("a call was refused after %d of %d tokens", spent, pool)
	}
	s.AssertOracle(t)
	bothWorkersServed(t, s)
}
