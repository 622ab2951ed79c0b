package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tidwall/gjson"
	"google.golang.org/protobuf/proto"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
	"keywheel/shared/protocol"
	"keywheel/xds/admin"
)

// generation is that of the attempt's assignment, by which keys are chosen. The gate's may be older: it is pushed more seldom.
func (p *byFile) generation(t *testing.T) int64 {
	t.Helper()
	var s tlsv3.Secret
	if err := proto.Unmarshal(p.good[protocol.AttemptResource].GetConfig().GetConfiguration().GetValue(), &s); err != nil {
		t.Fatal(err)
	}
	source := s.GetGenericSecret().GetSecrets()[protocol.AssignmentSecret]
	return gjson.GetBytes(append(source.GetInlineBytes(), source.GetInlineString()...), "generation").Int()
}

// numbered are pushes of different generations, oldest first, each of which puts another key first.
type numbered struct {
	push       *byFile
	generation int64
	key        string
}

func numberedPushes(t *testing.T, s *harness.Stack, dir string, n int) []numbered {
	t.Helper()
	api := adminOf(t, s.Keywheel)
	var all []numbered
	for i := range n {
		key, priority := s.Keys[i%len(s.Keys)].ID, 1000-i
		changed, err := api.ChangeKey(t.Context(), key, admin.KeyFields{Priority: &priority})
		if err != nil {
			t.Fatal(err)
		}
		x := numbered{generation: changed.Generation, key: key}
		harness.Eventually(t, "the control plane pushes it", func() error {
			x.push = fetchPush(t, s.Keywheel, dir)
			if got := x.push.generation(t); got < x.generation {
				return fmt.Errorf("generation %d", got)
			}
			return nil
		})
		if got := x.push.generation(t); got != x.generation {
			t.Fatalf("generation %d is pushed in place of %d", got, x.generation)
		}
		all = append(all, x)
	}
	return all
}

// Assignments come to a real Envoy under load out of order, twice and again after newer ones, and to its roles in any order.
// No call fails. From the newest that came on none goes by an older one; what is older is refused and shown.
func TestPushesOutOfOrder(t *testing.T) {
	const generations, each = 7, 5 // pushes until a newer one comes
	random := harness.Random(harness.Seed(t), 2)
	keys := harness.Keys(3, 0)
	for i := range keys {
		keys[i].Priority = 2000 + i
	}
	s := harness.Start(t, harness.Options{Keys: keys, Groq: fakegroq.Options{TokensFor: fakegroq.UniqueTokens(1000)}})
	all := numberedPushes(t, s, t.TempDir(), generations)
	all[0].push.push(t, "first", nil)
	s.Envoy.Terminate(t)
	all[0].push.use(t, map[string]any(s.Envoy.Bootstrap))
	s.Envoy.Start(t)
	s.Envoy.WaitAssigned(t)
	o := &ordered{Stack: s, newest: all[0]}
	o.goesBy(t)

	load := startServed(t, s, 4)
	for i := 1; i < generations*each; i++ {
		newest := i / each
		if i%each == 0 {
			o.push(t, all[newest], i, random)
		} else {
			o.push(t, all[random.IntN(newest+1)], i, random)
		}
		o.stays(t)
	}
	load.Stop()
	s.AssertOracle(t)
	t.Logf("%d pushes were newer, %d the same, %d older", o.newer, o.same, o.older)
	if o.newer != generations-1 || o.same == 0 || o.older == 0 {
		t.Error("the test tests nothing")
	}
}

// ordered is a stack whose Envoy is pushed assignments in any order.
type ordered struct {
	*harness.Stack
	newest             numbered // of those that were pushed
	newer, same, older int
}

// push hands out a version, as the n-th. Its bytes are its own, or Envoy would not hand it on to the filter.
func (o *ordered) push(t *testing.T, x numbered, n int, random *rand.Rand) {
	t.Helper()
	refused := o.rejected(t)
	order := x.push.order
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	x.push.push(t, fmt.Sprint(n), func(config []byte) []byte {
		return reassigned(t, config, func(a []byte) []byte { return fmt.Appendf(a[:len(a)-1], `,"n":%d}`, n) })
	})
	switch {
	case x.generation > o.newest.generation:
		o.newest = x
		o.newer++
		o.goesBy(t)
	case x.generation == o.newest.generation:
		o.same++
	default:
		o.older++
		harness.Eventually(t, "the older one is refused", func() error {
			if got := o.rejected(t); got <= refused {
				return fmt.Errorf("%d are, as before", got)
			}
			return nil
		})
	}
}

// rejected is how many assignments the Envoy that runs says it refused.
func (o *ordered) rejected(t *testing.T) (n int64) {
	t.Helper()
	for _, p := range o.Keywheel.Proxies(t) {
		if p.Connected {
			n += p.Rejected
		}
	}
	return n
}

// goesBy waits until calls go by the newest assignment, and the control plane is told of it.
func (o *ordered) goesBy(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "the newest is in force", func() error { return o.inForce(t) })
	harness.Eventually(t, "the newest is shown", func() error { return o.shown(t) })
}

// stays sees that calls go by the newest assignment, and that none older is shown.
func (o *ordered) stays(t *testing.T) {
	t.Helper()
	if err := errors.Join(o.inForce(t), o.shown(t)); err != nil {
		t.Fatal(err)
	}
}

// inForce is an error unless calls go by the newest, by each worker if need be.
func (o *ordered) inForce(t *testing.T) error {
	for range 4 {
		for version, c := range o.Clients() {
			c.HTTP().CloseIdleConnections() // so that the next is on another worker, perhaps
			if a := c.Do(t, harness.Call{}); a.Status != 200 || a.Key != o.newest.key {
				return fmt.Errorf("%s: want key %s of generation %d: %s", version, o.newest.key, o.newest.generation, a)
			}
		}
	}
	return nil
}

// shown is an error unless Envoy tells that it goes by the newest.
func (o *ordered) shown(t *testing.T) error {
	for _, p := range o.Keywheel.Proxies(t) {
		if p.Connected && p.Config != o.newest.generation {
			return fmt.Errorf("generation %d is shown, want %d", p.Config, o.newest.generation)
		}
	}
	return nil
}
