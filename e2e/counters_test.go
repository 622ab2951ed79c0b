package e2e

import (
	"fmt"
	"testing"

	"keywheel/e2e/fakegroq"
	"keywheel/e2e/harness"
)

// A million adds of two workers of a real Envoy, to entries of the product's own account that both create at the same
// moment and to one that both use all the time, lose nothing.
func TestCountersOfTwoWorkersLoseNothing(t *testing.T) {
	const adds, names = 1_000_000, 2_001
	harness.EnvoyBinary(t)
	groq := harness.StartGroq(t, fakegroq.Options{}, nil)
	listen := harness.FreeAddr(t)
	b := harness.PlainProxy(t, listen, harness.FreeAddr(t), groq.Addr())
	b.AddWasmFilter(t, harness.BuildWasm(t, "e2e/testdata/racer"))
	e := harness.NewEnvoy(t, b)
	e.Start(t)

	joinWorkers(t, e, listen)
	var got map[string]int64
	harness.Eventually(t, "the race is over", func() error {
		if got = e.Stats(t, `^wasmcustom\.racer\.`); got["wasmcustom.racer.done"] == 0 {
			return fmt.Errorf("it is not: %v", got)
		}
		return nil
	})
	t.Logf("%v", got)
	for name, want := range map[string]int64{"added": adds, "requests": adds, "tokens": adds, "names": names} {
		if n := got["wasmcustom.racer."+name]; n != want {
			t.Errorf("racer.%s is %d, want %d", name, n, want)
		}
	}
}

// joinWorkers makes calls, each on a connection of its own, until each worker had one.
func joinWorkers(t *testing.T, e *harness.Envoy, listen string) {
	t.Helper()
	harness.Eventually(t, "both workers take part", func() error {
		c := harness.NewClient(t, listen, false)
		c.Do(t, harness.Call{})
		c.HTTP().CloseIdleConnections()
		if n := e.Stats(t, `^wasmcustom\.racer\.joined$`)["wasmcustom.racer.joined"]; n < 2 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
}
