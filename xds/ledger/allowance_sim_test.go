package ledger

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"keywheel/shared/protocol"
	"keywheel/xds/audit"
)

// sim is one key, several Envoys that keep the protocol, and a network that delays, reorders, repeats and loses.
type sim struct {
	*testing.T
	r       *rand.Rand
	w       *world
	limit   int64
	living  []*simEnvoy
	flying  []flight
	answers []landing
	// prompt: whoever spends from a fresh slice reports it before anything else happens.
	prompt bool

	total      int64 // really spent
	unreported int64 // of it, what killed Envoys never told
	nameless   int64 // of it, what was spent from fresh slices
}

type simEnvoy struct {
	*envoy
	credential protocol.CredentialID
	need       []int64          // reserved by requests in flight
	told       map[string]int64 // the highest that reached the ledger, by credential
}

type flight struct {
	from   *simEnvoy
	report *protocol.Report
}

type landing struct {
	to     *simEnvoy
	answer *protocol.Answer
}

func newSim(t *testing.T, seed uint64, prompt bool) *sim {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &sim{T: t, r: r, limit: []int64{1, 7, 50, 101, 999, 14_400, 50_000, 50_001, 123_456, 5_000_000}[r.IntN(10)], prompt: prompt}
	s.w = newWorld(t, []KeyConfig{{ID: "1", Org: "o", LimitTokens: s.limit, Thresholds: []int{75, 90, 100}}})
	s.w.policy.RequiredTokens = 0
	return s
}

// start adds an Envoy.
func (s *sim) start() {
	if len(s.living) >= 4 {
		return
	}
	s.living = append(s.living, &simEnvoy{envoy: s.w.newEnvoy(), credential: s.credential(), told: map[string]int64{}})
}

func (s *sim) credential() protocol.CredentialID { return s.w.Assignment().Keys[0].Credential }

func (s *sim) any() *simEnvoy {
	if len(s.living) == 0 {
		return nil
	}
	return s.living[s.r.IntN(len(s.living))]
}

// allowance is how far an Envoy may spend, and whether that is only a fresh slice.
func (s *sim) allowance(e *simEnvoy) (tokens int64, fresh bool) {
	if a, ok := e.allowed[e.credential+" "+today]; ok {
		return a, false
	}
	k := s.w.Assignment().Keys[0]
	if k.Credential != e.credential {
		return 0, true
	}
	return k.Fresh[0].Tokens, true
}

// pick reserves tokens for a request.
func (s *sim) pick() {
	e := s.any()
	if e == nil {
		return
	}
	allowance, fresh := s.allowance(e)
	spent := e.spent(today, e.credential)
	need := 1 + s.r.Int64N(max(1, s.limit/[]int64{5, 20, 60}[s.r.IntN(3)]))
	var reserved int64
	for _, n := range e.need {
		reserved += n
	}
	if spent+reserved+need > allowance {
		return
	}
	if fresh {
		s.spend(e, need)
		s.nameless += need
		if s.prompt {
			s.send(e)
			s.deliver(len(s.flying) - 1)
			s.land(len(s.answers) - 1)
		}
		return
	}
	e.need = append(e.need, need)
	e.held = []protocol.CredentialUse{{Credential: e.credential, Tokens: reserved + need, Requests: int64(len(e.need))}}
}

// finish ends a request, which took at most what was reserved.
func (s *sim) finish() {
	e := s.any()
	if e == nil || len(e.need) == 0 {
		return
	}
	need := e.need[0]
	e.need = e.need[1:]
	s.spend(e, need-s.r.Int64N(1+need/4))
	e.held[0].Tokens -= need
	e.held[0].Requests--
}

func (s *sim) spend(e *simEnvoy, tokens int64) {
	e.spend(today, e.credential, tokens)
	s.total += tokens
}

func (s *sim) send(e *simEnvoy) {
	if e != nil {
		s.flying = append(s.flying, flight{e, e.report(s.w.Now())})
	}
}

// deliver takes a report to the ledger.
func (s *sim) deliver(i int) {
	f := s.flying[i]
	s.flying = slices.Delete(s.flying, i, i+1)
	a, err := s.w.Apply(context.Background(), f.from.peer, f.report)
	if err != nil {
		s.Fatal(err)
	}
	for _, w := range f.report.Windows {
		for _, c := range w.Credentials {
			f.from.told[c.Credential] = max(f.from.told[c.Credential], c.Models[0].Total)
		}
	}
	s.answers = append(s.answers, landing{f.from, a})
}

// land takes an answer to its Envoy.
func (s *sim) land(i int) {
	l := s.answers[i]
	s.answers = slices.Delete(s.answers, i, i+1)
	l.to.take(l.answer)
}

// kill ends an Envoy. Reports of its that are on their way are lost, and its connection closes.
func (s *sim) kill(e *simEnvoy) {
	s.flying = slices.DeleteFunc(s.flying, func(f flight) bool { return f.from == e })
	s.answers = slices.DeleteFunc(s.answers, func(l landing) bool { return l.to == e })
	s.living = slices.DeleteFunc(s.living, func(o *simEnvoy) bool { return o == e })
	for _, u := range e.window(today).Credentials {
		s.unreported += u.Models[0].Total - e.told[u.Credential]
	}
	if err := s.w.ConnClosed(context.Background(), e.peer.ConnID); err != nil {
		s.Fatal(err)
	}
}

// step does one thing at random.
func (s *sim) step() {
	switch what := s.r.IntN(100); {
	case what < 3:
		s.start()
	case what < 5:
		if e := s.any(); e != nil {
			s.kill(e)
		}
	case what < 6:
		s.w.reopen() // the control plane restarts
	case what < 7 && !s.prompt:
		if _, err := s.w.Clear(context.Background(), "1", audit.Entry{}); err != nil {
			s.Fatal(err)
		}
	case what < 12 && !s.prompt:
		if e := s.any(); e != nil && len(e.need) == 0 {
			e.credential = s.credential() // a push arrives
		}
	case what < 40:
		s.pick()
	case what < 60:
		s.finish()
	case what < 72:
		s.send(s.any())
	case what < 87 && len(s.flying) > 0:
		i := s.r.IntN(len(s.flying))
		switch s.r.IntN(6) {
		case 0: // lost
			s.flying = slices.Delete(s.flying, i, i+1)
		case 1: // twice
			s.flying = append(s.flying, s.flying[i])
			s.deliver(i)
		default:
			s.deliver(i)
		}
	case len(s.answers) > 0:
		i := s.r.IntN(len(s.answers))
		if s.r.IntN(6) == 0 {
			s.answers = slices.Delete(s.answers, i, i+1)
		} else {
			s.land(i)
		}
	}
}

// within checks that no more was spent than may be.
func (s *sim) within(seed uint64) {
	bound := s.limit + s.unreported
	if !s.prompt {
		bound += s.nameless
	}
	if s.total > bound {
		s.Fatalf("seed %d: %d spent of %d; %d by the dead without telling, %d from fresh slices", seed, s.total, s.limit, s.unreported, s.nameless)
	}
}

// useUp lets one Envoy alone spend in small steps and checks that nothing is left.
func (s *sim) useUp(seed uint64) {
	for len(s.living) > 0 {
		e := s.living[0]
		s.send(e)
		s.deliver(len(s.flying) - 1)
		s.kill(e)
	}
	s.w.wait(4 * time.Second) // connections from before a restart are not known
	s.w.tick()
	s.start()
	e := s.living[0]
	step := max(1, s.limit/200)
	for idle := 0; idle < 4; {
		s.send(e)
		s.deliver(len(s.flying) - 1)
		s.land(len(s.answers) - 1)
		idle++
		for {
			allowance, _ := s.allowance(e)
			room := min(step, allowance-e.spent(today, e.credential))
			if room <= 0 {
				break
			}
			s.spend(e, room)
			idle = 0
			if e.spent(today, e.credential)%(10*step) == 0 {
				break // time for a report
			}
		}
	}
	if s.total < s.limit {
		s.Fatalf("seed %d: %d of %d cannot be used", seed, s.limit-s.total, s.limit)
	}
}

func TestEnvoysKeepWithinTheLimit(t *testing.T) {
	for _, prompt := range []bool{true, false} {
		name := "fresh slices are reported late"
		if prompt {
			name = "fresh slices are reported at once"
		}
		t.Run(name, func(t *testing.T) {
			first := rand.Uint64()
			nearly := 0
			for seed := first; seed < first+250; seed++ {
				s := newSim(t, seed, prompt)
				for range 300 {
					s.step()
					s.within(seed)
				}
				if s.total > s.limit*9/10 {
					nearly++
				}
				s.w.check()
				s.useUp(seed)
				s.within(seed)
				s.w.check()
			}
			t.Logf("seeds from %d; %d of 250 came near the limit", first, nearly)
		})
	}
}

// An idle Envoy does not keep its half for itself: a busy one gets nearly all in the end.
func TestBusyEnvoyGetsWhatAnIdleOneGivesUp(t *testing.T) {
	w := newWorld(t, []KeyConfig{{ID: "1", Org: "o", LimitTokens: 14400}})
	busy, idle := w.newEnvoy(), w.newEnvoy()
	w.send(busy)
	answers := map[int64]bool{}
	for range 400 {
		w.wait(time.Second)
		w.send(busy)
		answers[w.send(idle).Generation] = true
		for range 3 {
			if busy.spent(today, "1.1")+100 <= busy.allowed["1.1 "+today] {
				busy.spend(today, "1.1", 100)
			}
		}
	}
	if got := busy.spent(today, "1.1"); got < 14400*95/100 {
		t.Errorf("a busy Envoy beside an idle one could spend %d of 14400", got)
	}
	if len(answers) > 60 {
		t.Errorf("the idle Envoy's allowance changed %d times", len(answers))
	}
	w.check()
}
