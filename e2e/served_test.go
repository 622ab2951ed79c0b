package e2e

import (
	"slices"
	"testing"

	"keywheel/e2e/harness"
)

// served counts calls of a load that must all be answered 200, and as the test wants besides.
type served struct {
	*harness.Load
	calls int
}

func startServed(t *testing.T, s *harness.Stack, clients int, wanted ...func(harness.Answer) bool) *served {
	t.Helper()
	l := &served{}
	failed := 0
	l.Load = harness.StartLoad(t, s.H1, clients, harness.Call{}, func(_ int, a harness.Answer, err error) bool {
		l.calls++
		unwanted := slices.ContainsFunc(wanted, func(want func(harness.Answer) bool) bool { return !want(a) })
		if err != nil || a.Err != nil || a.Status != 200 || unwanted {
			t.Errorf("call %d: %v, %s", l.calls, err, a)
			failed++
		}
		return failed < 10
	})
	return l
}

// more waits until so many more calls are answered.
func (l *served) more(t *testing.T, calls int) {
	t.Helper()
	from := 0
	l.Look(func() { from = l.calls })
	l.WaitFor(t, "more calls are answered", func() bool { return l.calls >= from+calls || t.Failed() })
	if t.Failed() {
		t.FailNow()
	}
}
